"""The script that lies beside an exported file: what a photo shows, on a device that has no part of this project.

Its pixels are those of timm's evaluation transform: shorter side to input / crop_pct, centre crop, mean and std.
"""

from __future__ import annotations

from nas.runtimes.runtime import DeviceCode
from nas.tasks.task import Task


def script_name(form: str) -> str:
    """For example ``classify_onnx.py``."""
    return f"classify_{form}.py"


def device_script(form: str, code: DeviceCode, task: Task) -> str:
    name = script_name(form)
    return f'''"""What a photo shows: python {name} MODEL PHOTO  (pip install numpy pillow {code.packages})"""

import json
import sys

{code.imports}

{code.opening}
given, classes = json.loads(stored["input"]), json.loads(stored["classes"])
channels, side, _ = given["input_size"]
image = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("L" if channels == 1 else "RGB")
size = [int(int(side / given["crop_pct"]) * n / min(image.size)) for n in image.size]
image = image.resize(size, Image.Resampling[given["interpolation"].upper()])
left, top = (round((n - side) / 2) for n in size)
pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.float32).reshape(side, side, channels) / 255
pixels = ((pixels - np.float32(given["mean"])) / np.float32(given["std"])).transpose(2, 0, 1)[None].copy()
{code.running}
{task.device_code}
'''
