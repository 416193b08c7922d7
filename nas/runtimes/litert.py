"""A ``.tflite`` file, and LiteRT (formerly TensorFlow Lite) running it with XNNPACK's kernels.

The file is written from the captured graph, without a converter: it holds the integers of the quantized network, and
XNNPACK computes with them what the simulator does. It takes one image at a time, channels last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.quantization.dialect import Dialect
from nas.store.files import replace_file
from nas.tasks.task import INPUT, OUTPUT
from search_spaces.errors import UserError, first_line, install_hint

from .runtime import NEEDS, DeviceCode, ImageShape, NoFormError
from .silence import silence

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from .runtime import Network

HINT = install_hint(".[litert]")
OLDEST = "2.3"
"""The oldest LiteRT that files are tried with."""
_DELEGATE = "DELEGATE"
_LARGE = "DEPTHWISE_CONV_2D"
"""What files hold in such a form where it is large that XNNPACK leaves it, see :mod:`nas.runtimes.tflite.layers`."""


class Litert:
    """The runtime "litert", see :class:`nas.runtimes.runtime.Runtime`."""

    suffix = ".tflite"
    dialects: Mapping[str, Dialect] = {"litert": Dialect()}
    fragile = True

    def write(
        self, network: Network, image_shape: ImageShape, path: Path, metadata: Mapping[str, str], dialect: Dialect
    ) -> None:
        """Input ``images [1, H, W, C]`` float, output ``[1, outputs]``. Raises NoFormError: it has no form of an
        operator; UserError: LiteRT is missing, or the file cannot be written."""
        from .tflite.metadata import TABLE, table, with_archive

        texts = {NEEDS: json.dumps({"ai_edge_litert": OLDEST}), **metadata}
        about = table(texts, (INPUT, OUTPUT))
        content = self._content(network, image_shape, {} if about is None else {TABLE: about})
        replace_file(path, with_archive(content, texts))

    def _content(
        self, network: Network, image_shape: ImageShape, tables: Mapping[str, bytes], constant: bool = False
    ) -> bytes:
        """A network as a file; ``constant``: with one number in place of all weights. Errors as of :meth:`write`."""
        import torch

        from nas.quantization.quantize import QuantizedModel

        from .tflite.graph import write_graph
        from .tflite.writer import Unwritable

        _import("ai_edge_litert.schema_py_generated", "exporting to LiteRT needs the package")
        try:
            with torch.no_grad():
                if isinstance(network, QuantizedModel):
                    graph, grids, layers = network.graph, network.activations, network.layers
                else:
                    graph = network if isinstance(network, torch.fx.GraphModule) else _captured(network, image_shape)
                    grids, layers = {}, {}
                return write_graph(_constant(graph) if constant else graph, grids, layers, image_shape, tables)
        except Unwritable as error:
            raise NoFormError("LiteRT", f"there is no form of {error} in a .tflite file") from None

    def open(self, path: Path, threads: int = 1) -> LitertModel:
        """Open a file in LiteRT, for inferences of so many threads. Raises UserError: LiteRT is missing, or it cannot
        read the file, or not run it."""
        from .tflite.metadata import read_texts

        interpreters = _import("ai_edge_litert.interpreter", "running a .tflite file needs the package")
        if not path.is_file():
            raise UserError(f"no file '{path}'")
        content = path.read_bytes()
        with silence():
            try:
                interpreter = interpreters.Interpreter(model_content=content, num_threads=threads)
                interpreter.allocate_tensors()
                ends = interpreter.get_input_details(), interpreter.get_output_details()
            except (RuntimeError, ValueError) as error:  # the latter: a name that is no text, too
                raise UserError(f"'{path}' is not a readable LiteRT file: {first_line(error)}") from None
        if any(len(end) != 1 or end[0]["dtype"] != np.float32 for end in ends) or len(ends[0][0]["shape"]) != 4:
            raise UserError(f"'{path}' was not exported by nas: it does not take one image of floats")
        return LitertModel(interpreter, content, read_texts(path))

    def timing_file(self, network: Network, image_shape: ImageShape, dialect: Dialect) -> bytes:
        """Input and outputs as of :meth:`write`; constants in place of the weights, which stand there in full."""
        return self._content(network, image_shape, {}, constant=True)

    def device_code(self) -> DeviceCode:
        source = Path(__file__).with_name("litert_device.py").read_text(encoding="utf-8")
        return DeviceCode({"ai_edge_litert": OLDEST}, source, channels_last=True)


@dataclass(frozen=True)
class LitertModel:
    """A loaded file, an ``ai_edge_litert.interpreter.Interpreter`` and the bytes that it reads while it runs; calling
    it gives outputs."""

    interpreter: Any
    content: bytes
    metadata: dict[str, str]

    def __call__(self, images: NDArray[np.float32] | Tensor) -> NDArray[np.float32]:
        """Logits ``[n, classes]`` of normalised images ``[n, C, H, W]``, one after the other."""
        array = np.asarray(images, np.float32).transpose(0, 2, 3, 1)
        place, result = (
            each()[0]["index"] for each in (self.interpreter.get_input_details, self.interpreter.get_output_details)
        )
        outputs = []
        for image in array:
            self.interpreter.set_tensor(place, np.ascontiguousarray(image[None]))
            self.interpreter.invoke()
            outputs.append(self.interpreter.get_tensor(result))
        return np.concatenate(outputs)

    @property
    def remark(self) -> str:
        """Operators that XNNPACK did not take, which LiteRT's own kernels compute; empty: it took all."""
        left = outside(self.interpreter)
        others = [name for name in left if name not in (_LARGE, "RESHAPE")]  # the latter only hands numbers on
        said = []
        if _LARGE in left:
            said.append(
                "depthwise kernels above 5 x 5 run in LiteRT's own way, since XNNPACK's takes many times longer"
            )
        if others:
            names = ", ".join(others)
            said.append(f"XNNPACK does not run {names}; LiteRT's own kernels do, more slowly, and may round otherwise")
        return "; ".join(said)


def outside(interpreter: Any) -> list[str]:
    """Names of the operators that XNNPACK did not take.

    LiteRT lists all operators of the file, and behind them the parts that XNNPACK took, with what these read and write.
    """
    operators = interpreter._get_ops_details()
    parts = [each for each in operators if each["op_name"] == _DELEGATE]
    plain = {i: each for i, each in enumerate(operators) if each["op_name"] != _DELEGATE}
    maker = {int(output): i for i, each in plain.items() for output in each["outputs"]}
    taken: set[int] = set()
    for part in parts:
        given, wanted = {int(each) for each in part["inputs"]}, [int(each) for each in part["outputs"]]
        while wanted:
            tensor = wanted.pop()
            if tensor in maker and tensor not in given and maker[tensor] not in taken:
                taken.add(maker[tensor])
                wanted.extend(int(each) for each in plain[maker[tensor]]["inputs"])
    return sorted({each["op_name"] for i, each in plain.items() if i not in taken})


def _constant(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy of a graph whose every large tensor has one value in all places: it compresses well."""
    import copy

    copied = copy.deepcopy(graph)
    for tensor in (*copied.parameters(), *copied.buffers()):
        if tensor.is_floating_point() and tensor.dim() > 1:
            tensor.data.fill_(1 / max(1, tensor[0].numel()))
    return copied


def _captured(network: nn.Module, image_shape: ImageShape) -> fx.GraphModule:
    """A float network as a flat graph, which those that can be quantized are."""
    from nas.quantization.graph import Unquantizable, capture

    try:
        return capture(network, image_shape)
    except Unquantizable as error:
        raise NoFormError("LiteRT", error.reason) from None


def _import(module: str, beginning: str) -> Any:
    import importlib

    try:
        with silence():
            return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{beginning} '{error.name}'; {HINT}") from None
