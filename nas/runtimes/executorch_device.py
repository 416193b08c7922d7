"""How a device opens an ExecuTorch file: a part of the script that lies beside it, without this project."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray


def open_network(path: str) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], Mapping[str, str]]:
    """The network, from images ``[1, C, H, W]`` to outputs ``[1, ...]``, and the texts stored with it."""
    import torch
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    stored = json.loads(program.load_method("metadata").execute([])[0])
    method = program.load_method("forward")
    return lambda images: method.execute([torch.from_numpy(images)])[0].numpy().copy(), stored
