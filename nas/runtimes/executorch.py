"""A ``.pte`` file for ExecuTorch with XNNPACK's kernels, and ExecuTorch running it.

The int8 file comes from the same quantized network as the ONNX one and holds the same integers. It takes one image at a
time, as a device does, and XNNPACK computes every layer: what it cannot take is refused here, not run slowly there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.quantization.dialect import Dialect
from nas.store.files import replace_file
from search_spaces.errors import UserError, install_hint

from .runtime import NEEDS, DeviceCode, ImageShape, NoFormError
from .silence import silence

if TYPE_CHECKING:
    from torch import Tensor, fx

    from .runtime import Network

_HINT = install_hint(".[executorch]")
_METADATA = "metadata"
_LAYERS = ("convolution", "addmm", "mm", "linear", "bmm")
_XNNPACK = Dialect(float_biases=True, whole_sums=True, spelled_out=frozenset({"hardsigmoid"}))


class Executorch:
    """The runtime "executorch", see :class:`nas.runtimes.runtime.Runtime`."""

    suffix = ".pte"
    dialects: Mapping[str, Dialect] = {"executorch": _XNNPACK}
    fragile = True

    def write(
        self, network: Network, image_shape: ImageShape, path: Path, metadata: Mapping[str, str], dialect: Dialect
    ) -> None:
        """Input ``[1, C, H, W]`` float, output ``[1, outputs]``. Raises NoFormError: weights have fewer than 8 bits, or
        a layer would not run in XNNPACK; UserError: ExecuTorch is missing, or the file cannot be written."""
        from nas.quantization.quantize import QuantizedModel

        if isinstance(network, QuantizedModel) and any(layer.bits < 8 for layer in network.layers.values()):
            reason = f"a .pte file stores weights in 8 bits or as floats, its precision is {network.policy}"
            raise NoFormError("ExecuTorch", reason)
        lowered = lower(network, image_shape, metadata, dialect)
        left = layers_outside(lowered.exported_program().graph)
        if left:
            raise NoFormError("ExecuTorch", f"XNNPACK does not take {', '.join(left)}")
        with silence():
            try:
                content = lowered.to_executorch().buffer
            except RuntimeError as error:
                raise UserError(f"cannot write this network for ExecuTorch: {_first_line(error)}") from None
        replace_file(path, content)

    def open(self, path: Path, threads: int = 1) -> ExecutorchModel:
        """Open a file in ExecuTorch. ``threads`` are those of one inference, for all files of this process. Raises
        UserError: ExecuTorch is missing, it cannot read the file, or the file was not written by this project."""
        with silence():
            try:
                from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
                from executorch.runtime import Runtime
            except ImportError as error:
                raise UserError(f"running a .pte file needs the package '{error.name}'; {_HINT}") from None
            if not path.is_file():
                raise UserError(f"no file '{path}'")
            content = path.read_bytes()
            try:
                _unsafe_reset_threadpool(threads)
                program = Runtime.get().load_program(content)
                method = program.load_method("forward")
                stored = program.load_method(_METADATA) if _METADATA in program.method_names else None
                metadata = json.loads(stored.execute([])[0]) if stored is not None else None
            except (RuntimeError, ValueError) as error:
                raise UserError(f"'{path}' is not a readable ExecuTorch file: {_first_line(error)}") from None
        if method is None or not isinstance(metadata, dict):
            raise UserError(f"{path} was not exported by nas: it says nothing of its input")
        return ExecutorchModel((program, content), method, metadata)

    def timing_file(self, network: Network, image_shape: ImageShape, dialect: Dialect) -> None:
        """There is none: the runner of ``nas profile`` doesn't run ExecuTorch."""

    def device_code(self) -> DeviceCode:
        source = Path(__file__).with_name("executorch_device.py").read_text(encoding="utf-8")
        return DeviceCode({"torch": "", "executorch": "1.5"}, source)


def lower(network: Network, image_shape: ImageShape, metadata: Mapping[str, str], dialect: Dialect) -> Any:
    """The network handed to XNNPACK: ExecuTorch's ``EdgeProgramManager``. Raises UserError: ExecuTorch is missing."""
    import torch

    from nas.quantization.decomposed import decompose
    from nas.quantization.graph import without_stack_traces
    from nas.quantization.quantize import QuantizedModel

    with silence():
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
        except ImportError as error:
            raise UserError(f"exporting to ExecuTorch needs the package '{error.name}'; {_HINT}") from None
        module = decompose(network, dialect) if isinstance(network, QuantizedModel) else network
        needs = {"torch": "", "executorch": ".".join(version("executorch").split(".")[:2])}  # an older one may not do
        with torch.no_grad(), without_stack_traces():
            program = torch.export.export(module, (torch.zeros(1, *image_shape),), strict=False)
        return to_edge_transform_and_lower(
            program,
            partitioner=[XnnpackPartitioner()],
            constant_methods={_METADATA: json.dumps({NEEDS: json.dumps(needs), **metadata})},
            compile_config=EdgeCompileConfig(_check_ir_validity=False),  # it does not know the quantize operators
        )


def layers_outside(graph: fx.Graph) -> list[str]:
    """Operators with weights that were left out of XNNPACK's part of a lowered graph."""
    called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    return sorted({op for text in called for op in _LAYERS if f"aten.{op}." in text})


@dataclass(frozen=True)
class ExecutorchModel:
    """A loaded file; calling it gives outputs. ``program`` holds the bytes of the file too: a method reads both
    while it runs."""

    program: tuple[Any, bytes]
    method: Any
    metadata: dict[str, str]
    remark: str = ""

    def __call__(self, images: NDArray[np.float32] | Tensor) -> NDArray[np.float32]:
        """Logits ``[n, classes]`` of normalised images ``[n, C, H, W]``, one after the other."""
        import torch

        tensor = torch.as_tensor(images).contiguous()
        # a result lies in the method's own memory, which the next call writes to
        return np.concatenate([self.method.execute([image[None]])[0].numpy().copy() for image in tensor])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
