"""An ONNX file, float or quantized (quantize/dequantize operators around float ones), and onnxruntime running it.

onnxruntime and OpenVINO recognise the pattern and run integer kernels; float islands have no such operators inside.
onnxruntime wants uint8 activations on x86 and int8 on ARM; both files hold the same numbers.
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
from search_spaces.errors import UserError

from .onnx_export import HINT, export_model
from .onnx_packing import pack_weights
from .onnx_timing import shrink
from .onnx_version import OLDEST, lower_version, oldest_runtime
from .runtime import NEEDS, DeviceCode, ImageShape

if TYPE_CHECKING:
    from torch import Tensor

    from .runtime import Network

_BATCH = 64


class Onnx:
    """The runtime "onnx", see :class:`nas.runtimes.runtime.Runtime`."""

    suffix = ".onnx"
    dialects: Mapping[str, Dialect] = {"onnx": Dialect(), "onnx-uint8": Dialect(unsigned=True)}
    fragile = False

    def write(
        self, network: Network, image_shape: ImageShape, path: Path, metadata: Mapping[str, str], dialect: Dialect
    ) -> None:
        """Input ``images [batch, C, H, W]`` float, output ``[batch, outputs]``.

        Written from the flat graph; a network that is not flat, or has an operator without a row in the table, goes
        through PyTorch's exporter, see :func:`nas.runtimes.onnx_export.export_model`."""
        model = export_model(network, image_shape, dialect)
        from onnx import helper

        from nas.quantization.quantize import QuantizedModel

        if isinstance(network, QuantizedModel):
            pack_weights(model, {f"{name}_weight": x.bits for name, x in network.layers.items() if x.bits < 8})
        lower_version(model)
        needs = json.dumps({"onnxruntime": oldest_runtime(model)})
        helper.set_model_props(model, {NEEDS: needs, **metadata})
        replace_file(path, model.SerializeToString())

    def open(self, path: Path, threads: int = 1, optimized: Path | None = None) -> OnnxModel:
        """Open a file in onnxruntime.

        Args:
            threads: of one inference.
            optimized: also write the graph that onnxruntime runs to this file, to look at.

        Raises:
            UserError: onnxruntime is missing, or it cannot read the file.
        """
        try:
            import onnxruntime
        except ImportError:
            raise UserError(f"running an ONNX file needs the package 'onnxruntime'; {HINT}") from None
        if not path.is_file():
            raise UserError(f"no file '{path}'")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Off by default on x86, where signed activations would leave some convolutions in float.
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            metadata = dict(session.get_modelmeta().custom_metadata_map)  # in a damaged file it may not be text
        except Exception as error:  # onnxruntime's own classes share no base below Exception
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"'{path}' is not a readable ONNX file: {reason}") from None
        return OnnxModel(session, metadata)

    def timing_file(self, network: Network, image_shape: ImageShape, dialect: Dialect) -> bytes:
        """Input ``images [1, C, H, W]`` float, float outputs; constants in place of the weights."""
        return shrink(export_model(network, image_shape, dialect, batch=1)).SerializeToString()  # type: ignore[no-any-return]

    def device_code(self) -> DeviceCode:
        source = Path(__file__).with_name("onnx_device.py").read_text(encoding="utf-8")
        return DeviceCode({"onnxruntime": OLDEST}, source)


@dataclass(frozen=True)
class OnnxModel:
    """A loaded file, an ``onnxruntime.InferenceSession`` with the texts stored in it; calling it gives outputs."""

    session: Any
    metadata: dict[str, str]
    remark: str = ""

    def __call__(self, images: NDArray[np.float32] | Tensor) -> NDArray[np.float32]:
        """Logits ``[n, classes]`` of normalised images ``[n, C, H, W]``."""
        array = np.asarray(images)
        name = self.session.get_inputs()[0].name
        starts = range(0, max(len(array), 1), _BATCH)
        return np.concatenate([self.session.run(None, {name: array[i : i + _BATCH]})[0] for i in starts])
