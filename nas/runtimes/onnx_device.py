"""How a device opens an ONNX file: a part of the script that lies beside it, without this project."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray


def open_network(path: str) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], Mapping[str, str]]:
    """The network, from images ``[1, C, H, W]`` to outputs ``[1, ...]``, and the texts stored with it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", "1")  # as it was measured, on x86 too
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0], session.get_modelmeta().custom_metadata_map
