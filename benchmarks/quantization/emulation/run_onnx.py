"""Logits of an .onnx file in onnxruntime, and marked inferences for the plugins to count. Needs numpy beside it.

    python run_onnx.py MODEL IMAGES LOGITS COUNT CHANNELS HEIGHT WIDTH MARKED

The same as ``run_pte.cpp``, for the other runtime.
"""

import os
import sys
import time

import numpy as np
import onnxruntime

MARK_START, MARK_STOP = 0x4D41524B, 0x4D41524C  # of plugin.h


def main(model: str, images: str, logits: str, *numbers: str) -> None:
    *shape, marked = map(int, numbers)
    pixels = np.fromfile(images, dtype=np.float32).reshape(shape)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs = []
    start = 0.0
    for i in range(len(pixels)):
        outputs += session.run(None, {name: pixels[i : i + 1]})
        if i == 0:
            start = time.perf_counter()
    seconds = time.perf_counter() - start
    last = {name: pixels[-1:]}
    for _ in range(marked):
        os.access("", MARK_START)
        session.run(None, last)
        os.access("", MARK_STOP)
    np.concatenate(outputs).astype(np.float32).tofile(logits)
    print(f"{seconds / max(len(pixels) - 1, 1):.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
