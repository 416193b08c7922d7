"""What an image shows, on a board: python classify.py model.int8.onnx image.npy (uint8 [height, width, channels])"""

import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
pixels = np.load(sys.argv[2]).astype(np.float32) / 255  # at the size that facts["input"]["input_size"] says
image = (pixels - np.float32(facts["input"]["mean"])) / np.float32(facts["input"]["std"])
(logits,) = session.run(None, {session.get_inputs()[0].name: image.transpose(2, 0, 1)[None]})
print(facts["classes"][int(logits[0].argmax())], f"{np.exp(logits[0] - np.logaddexp.reduce(logits[0])).max():.3f}")
