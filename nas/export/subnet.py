"""A candidate as a folder: a plain timm model, a quantized file that was run in its runtime, and a model card."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from predictors.target import Target
from search_spaces.architecture import Architecture
from search_spaces.errors import InfeasibleError

from .. import data
from ..evaluate import Accuracy, accuracy
from ..files import atomic_write, save_tensors, write_json
from ..measure import EVALUATION_BATCH, Candidate, ship
from ..objectives import misfits
from ..quantize import QuantizedModel
from ..search import accuracy_dict
from ..workflow import ONNX_FILE, Trained
from .card import input_config, model_card
from .onnx import export_onnx, load_onnx


def export_candidate(
    trained: Trained, member: dict[str, Any], target: Target, out: Path, finetuned: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write the folder of one member of a front and run its ONNX file on the whole test split.

    Args:
        member: entry of ``front`` in a search result.
        out: folder; files in it are replaced one by one.
        finetuned: of a fine-tuned candidate: ``before``, its accuracy on the search split until then, and what is
            told as provenance: ``weights`` (the supernet's), ``epochs``, ``lr``, ``netaug``, ``seed``.

    Returns:
        The content of ``architecture.json``; ``results`` holds the table's accuracy and the file's own.

    Raises:
        InfeasibleError: it does not fit into the device's memory.
    """
    if found := misfits(target, member["size_bytes"], member["peak_activation_bytes"]):
        raise InfeasibleError(f"{member['id']}: {'; '.join(found)}; search again: nas search --target {target.name}")
    candidate = Candidate(Architecture.from_dict(member["architecture"]), member["precision"])
    resolution = candidate.architecture.resolution
    info = trained.dataset.info
    shipped = ship(trained.net, trained.dataset, candidate, trained.calibration)
    out.mkdir(parents=True, exist_ok=True)
    spec = trained.space.family.timm_spec(candidate.architecture, len(info.classes), info.in_chans)
    content = trained.run.read()
    origin = dict(finetuned or {})
    simulator = "simulator" if origin else "simulator (search)"
    before = [{"what": "before fine-tuning", "split": "search", **origin.pop("before")}] if origin else []
    facts: dict[str, Any] = {
        "candidate": candidate.id,
        "precision": candidate.precision,
        "architecture": candidate.architecture.to_dict(),
        "timm": spec,
        "input": input_config(info, resolution),
        "classes": list(info.classes),
        "costs": {k: member[k] for k in ("macs", "params", "size_bytes", "peak_activation_bytes")},
        "target": {
            "name": target.name,
            "runtime": target.runtime,
            "latency_ms": member["latency_ms"],
            "label": target.label(candidate.precision),
        },
        "results": [
            *before,
            {"what": simulator, "split": "search", **member["accuracy"]},
            {"what": simulator, "split": "test", **member["test"]},
        ],
        "provenance": {
            "data": info.source,
            "weights": content["weights"],
            "seed": content["config"]["seed"],
            "calibration_images": trained.calibration_images,
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "timm")},
            **({"finetuned_from": origin} if origin else {}),
        },
    }
    save_tensors(out / "model.safetensors", shipped.model.state_dict(), {"candidate": candidate.id})
    if isinstance(shipped.run, QuantizedModel):
        metadata = {"classes": list(info.classes), "input": facts["input"], "candidate": candidate.id,
                    "test_accuracy": member["test"]["value"], "provenance": facts["provenance"]}  # fmt: skip
        texts = {key: json.dumps(value) for key, value in metadata.items()}
        export_onnx(shipped.run, out / ONNX_FILE, texts, uint8=target.model == "onnx-uint8")
        own = run_file(out / ONNX_FILE, trained.dataset, "test", resolution)
        facts["results"].append({"what": ONNX_FILE, "split": "test", **accuracy_dict(own)})
    write_json(out / "architecture.json", facts)
    atomic_write(out / "README.md", model_card(facts).encode())
    return facts


def run_file(path: Path, dataset: data.Dataset, split: str, resolution: int) -> Accuracy:
    """Accuracy of an ONNX file in onnxruntime on a whole split."""
    session = load_onnx(path)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session(images.contiguous().numpy()))

    return accuracy(run, data.eval_batches(dataset, split, resolution, EVALUATION_BATCH))
