"""Parsers of files with tensors."""

from __future__ import annotations

import io
import random
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as tensors_of

from nas.store.run import Run
from nas.training import checkpoint as training_checkpoint
from search_spaces.architecture import Interface
from tests.robustness._fuzz_mutate import tensor_file, torch_file
from tests.robustness._fuzz_registry import Case, Seeds, ignore, parser
from tests.support.once_for_all import CLASSES, PUBLISHED, checkpoint

# tensors and what is made of them


@parser("tensors")
def _tensors(seeds: Seeds, folder: Path) -> Case:
    from nas.store.files import is_written_by_nas, load_tensors, save_tensors

    path = folder / "x.safetensors"
    tensors = {"a/weight": torch.rand(4, 3), "b": torch.tensor(3), "c.bias": torch.zeros(5, dtype=torch.float16)}
    save_tensors(path, tensors, {"step": 3, "config": {"space": "x", "lr": 0.1}, "classes": ["a", "b"]})
    valid = path.read_bytes()

    def case(rng: random.Random) -> None:
        path.write_bytes(tensor_file(valid, rng, folder))
        is_written_by_nas(path)
        load_tensors(path)

    return case


@parser("supernet")
def _supernet(seeds: Seeds, folder: Path) -> Case:
    from nas.training.weights import load_supernet

    run = Run(folder / "run")
    shutil.copytree(seeds.run, run.path, ignore=shutil.ignore_patterns("export", "checkpoint*"))
    valid = run.supernet.read_bytes()

    def case(rng: random.Random) -> None:
        run.supernet.write_bytes(tensor_file(valid, rng, folder))
        load_supernet(run)

    return case


@parser("checkpoint")
def _checkpoint(seeds: Seeds, folder: Path) -> Case:
    from nas.training.builders import make_optimizer, make_schedule, make_supernet
    from nas.training.collapse import Guard
    from nas.training.config import TrainConfig

    content = Run(seeds.run).read()
    config, info = TrainConfig(**content.config), content.data
    valid, run = (seeds.run / "checkpoint.safetensors").read_bytes(), Run(folder)
    net = make_supernet(config, info)

    def case(rng: random.Random) -> None:
        run.checkpoint.write_bytes(tensor_file(valid, rng, folder))
        state, _ = training_checkpoint.load(run)
        if state is not None:
            optimizer = make_optimizer(config, net.model)
            make_schedule(config, optimizer, 100)
            training_checkpoint.restore(run, state, net.model, optimizer, 100)
            Guard(1.0, 3, 100, state.health)
            for parameter in net.model.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()

    return case


@parser("teacher answers")
def _teacher(seeds: Seeds, folder: Path) -> Case:
    from nas.store.files import save_tensors
    from nas.training.teacher.answers import Question, answers_in

    asked = Question("x", 1.0, 3, "f", "o")
    run = Run(folder)
    answers = {"classes": torch.tensor([[0, 1, 2], [2, 0, 1]] * 4, dtype=torch.int32), "values": torch.rand(8, 3) / 3}
    save_tensors(run.teacher, answers, asdict(asked))
    valid = run.teacher.read_bytes()

    def case(rng: random.Random) -> None:
        run.teacher.write_bytes(tensor_file(valid, rng, folder))
        found = answers_in(run, asked, 8, 3, ignore)
        if found is not None:
            found.of(np.arange(8))

    return case


@parser("first weights")
def _init(seeds: Seeds, folder: Path) -> Case:
    from nas.supernet.first_weights import load_weights
    from nas.supernet.supernet import Supernet
    from search_spaces import get_space

    net = Supernet(get_space("mbv3-tiny"), Interface(3, 3))
    state = net.model.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    valid, plain = buffer.getvalue(), tensors_of({k: v.contiguous() for k, v in state.items()})
    ours = (seeds.run / "supernet.safetensors").read_bytes()

    def case(rng: random.Random) -> None:
        way = rng.randrange(4)
        path = folder / ("x.safetensors" if way > 1 else "x.pth")
        path.write_bytes(
            torch_file(state, valid, rng, folder) if way < 2 else tensor_file((plain, ours)[way - 2], rng, folder)
        )
        load_weights(net, path)

    return case


@parser("once-for-all weights")
def _ofa(seeds: Seeds, folder: Path) -> Case:
    from nas.supernet.first_weights import load_weights
    from nas.supernet.supernet import Supernet
    from search_spaces import get_space

    net = Supernet(get_space("ofa-mbv3-w1.0"), Interface(3, CLASSES))
    # the same number everywhere, stored once: the file stays small
    published = checkpoint(PUBLISHED["ofa-mbv3-w1.0"])
    state = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in published.items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    valid, path = buffer.getvalue(), folder / "x.pth"

    def case(rng: random.Random) -> None:
        path.write_bytes(torch_file(state, valid, rng, folder))
        load_weights(net, path)

    return case
