"""How a device opens a LiteRT file: a part of the script that lies beside it, without this project."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray


def open_network(path: str) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], Mapping[str, str]]:
    """The network, from images ``[1, C, H, W]`` to outputs ``[1, ...]``, and the texts stored with it."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    interpreter.allocate_tensors()
    images, outputs = (each()[0]["index"] for each in (interpreter.get_input_details, interpreter.get_output_details))

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(images, np.ascontiguousarray(batch.transpose(0, 2, 3, 1)))
        interpreter.invoke()
        return interpreter.get_tensor(outputs)  # type: ignore[no-any-return]

    with zipfile.ZipFile(path) as archive:
        return run, json.loads(archive.read("nas.json"))
