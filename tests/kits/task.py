"""What every task must do, see :mod:`nas.tasks.task`. A test hands over labels and a perfect answer to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.tasks.losses import Loss
from nas.tasks.task import OUTPUT, TASKS, Task, get_task

SETTINGS = (Loss(), Loss(smoothing=0.1, distill="alpha"))


@dataclass(frozen=True)
class TaskKit:
    """A task, and what is known of it.

    Attributes:
        name: key in ``TASKS``.
        classes: names of what labels say.
        labels: of some images, ``[n]``, n even.
        perfect: labels -> an output without a mistake, ``[n, outputs]``.
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor
    perfect: Callable[[Tensor], Tensor]

    @property
    def task(self) -> Task:
        return get_task(self.name)

    @property
    def outputs(self) -> int:
        return self.task.interface(3, self.classes).outputs

    def output(self, seed: int = 0) -> Tensor:
        """What an untrained network might say of the images."""
        return torch.randn(len(self.labels), self.outputs, generator=torch.Generator().manual_seed(seed))

    def check(self) -> None:
        """All that follows."""
        self.is_in_the_table()
        self.has_a_loss_that_is_a_mean_over_images()
        self.teaches_without_a_gradient_to_the_teacher()
        self.blends_labels()
        self.knows_the_best_constant_answer()
        self.scores()
        self.has_code_that_runs()

    def is_in_the_table(self) -> None:
        assert (self.task.name, self.task) == (self.name, get_task(self.name))
        assert TASKS[self.name].summary
        assert self.task.interface(1, self.classes).in_chans == 1

    def has_a_loss_that_is_a_mean_over_images(self) -> None:
        """So that parts of a batch add up to it; its gradient leads to less, and a perfect answer has least."""
        half = len(self.labels) // 2
        for settings in SETTINGS:
            output = self.output().requires_grad_(True)
            whole = self.task.loss(output, self.labels, None, settings)
            halves = slice(half), slice(half, None)
            parts = [self.task.loss(output[part], self.labels[part], None, settings) for part in halves]
            assert whole.shape == ()
            torch.testing.assert_close(whole, (parts[0] + parts[1]) / 2)
            (gradient,) = torch.autograd.grad(whole, output)
            assert self.task.loss(output - 0.1 * gradient, self.labels, None, settings) < whole
        plain = [self.task.loss(each, self.labels, None, Loss()) for each in (self.perfect(self.labels), self.output())]
        assert plain[0] < plain[1]

    def teaches_without_a_gradient_to_the_teacher(self) -> None:
        for settings in SETTINGS:
            output, teacher = self.output(1).requires_grad_(True), self.output(2).requires_grad_(True)
            loss = self.task.imitate(output, teacher, settings)
            assert loss.shape == ()
            assert torch.autograd.grad(loss, teacher, allow_unused=True, retain_graph=True) in ((None,), (0,))
            same = teacher.detach().clone().requires_grad_(True)
            (there,) = torch.autograd.grad(self.task.imitate(same, teacher, settings), same)
            (here,) = torch.autograd.grad(loss, output)
            assert there.abs().max() < 1e-6 < here.abs().max()

    def blends_labels(self) -> None:
        """Blended labels have the same loss where nothing is mixed in."""
        blendable = self.task.blendable(self.labels, self.outputs)
        assert (len(blendable), blendable.dtype) == (len(self.labels), torch.float32)
        losses = [self.task.loss(self.output(), labels, None, Loss()) for labels in (self.labels, blendable)]
        torch.testing.assert_close(losses[0], losses[1])

    def knows_the_best_constant_answer(self) -> None:
        """No constant output is better, and some is as good."""
        for settings in SETTINGS:
            value = self.task.constant_loss(self.labels.numpy().astype(np.int64), self.outputs, settings, False)
            if value is None:
                continue
            output = torch.zeros(self.outputs, requires_grad=True)
            optimizer = torch.optim.LBFGS([output], max_iter=200, line_search_fn="strong_wolfe")

            def loss(output: Tensor = output, settings: Loss = settings) -> Tensor:
                return self.task.loss(output.expand(len(self.labels), -1), self.labels, None, settings)

            def closure(optimizer: torch.optim.Optimizer = optimizer, loss: Callable[[], Tensor] = loss) -> Tensor:
                optimizer.zero_grad()
                found = loss()
                found.backward()
                return found

            optimizer.step(closure)  # type: ignore[arg-type]
            assert loss().item() == pytest.approx(value, abs=1e-3)

    def scores(self) -> None:
        """A perfect network has 1 and others less; a journal's record is JSON and gives the score again."""
        images = torch.zeros(len(self.labels), 3, 4, 4)

        def score(output: Tensor, parts: int) -> tuple[float, str]:
            answers = iter(output.chunk(parts))
            batches = zip(images.chunk(parts), self.labels.chunk(parts), strict=True)
            found = self.task.score(lambda _: next(answers), batches, "cpu")
            low, high = found.interval()
            assert 0 <= low <= found.value <= high <= 1
            assert found.standard_error > 0
            record = json.loads(json.dumps(found.record()))
            assert self.task.score_of(record | {"other": 1}) == found
            return found.value, json.dumps(record)

        assert score(self.perfect(self.labels), 1)[0] == pytest.approx(1)
        wrong = self.perfect(self.labels.flip(0))
        assert score(wrong, 1)[0] < 1
        assert score(wrong, 2) == score(wrong, 1)
        with pytest.raises((ValueError, KeyError, TypeError)):
            self.task.score_of({})

    def has_code_that_runs(self) -> None:
        """A device's script says the class of a perfect network's outputs; the card's lines are Python."""
        assert self.task.meaning
        for output, label in zip(self.perfect(self.labels).numpy(), self.labels.tolist(), strict=True):
            said, remark = eval(self.task.device_code, {"np": np, OUTPUT: output, "classes": list(self.classes)})
            assert said == self.classes[label]
            assert isinstance(remark, str)
        compile(self.task.card_code, "card", "exec")
