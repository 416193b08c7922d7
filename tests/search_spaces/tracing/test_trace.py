"""What a trace says of dimensions, against running the network with its channels in another order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from search_spaces.tracing.dimensions.layouts import kept
from search_spaces.tracing.inputs import Inputs
from search_spaces.tracing.trace import Trace, trace
from tests.support.elastic_models import LONG, SHORT, builder, example, filled, meta_of
from tests.support.long_forms import long_form

TENSORS = dict[str, torch.Tensor]


def permute(tensors: TENSORS, traced: Trace) -> None:
    """Put the things of every axis in a random order, in all tensors."""
    rng = np.random.default_rng(0)
    orders = {
        number: rng.permutation(axis.size)
        for number, axis in traced.axes.items()
        if not axis.ordered and not axis.kernel
    }
    with torch.no_grad():
        for name, layouts in traced.tensors.items():
            tensor = tensors[name]
            for d, layout in enumerate(layouts):
                index = torch.from_numpy(kept(layout, {}, orders))
                tensor.copy_(tensor.index_select(d, index))


def forget(module: torch.nn.Module) -> None:
    """What a module has worked out from its weights and kept."""
    for name, value in vars(module).items():
        tensors = isinstance(value, dict) and [isinstance(each, torch.Tensor) for each in value.values()]
        if tensors and all(tensors) and name not in ("_parameters", "_buffers"):
            value.clear()


@pytest.mark.parametrize("name", long_form(SHORT, LONG))
def test_axes_can_be_put_in_another_order(name: str) -> None:
    """The strongest test of the labels: whatever was called exchangeable is exchanged, all at once."""
    build, x = builder(name)
    model = filled(build)
    x = example(x)
    model, x = (model.double(), x.double()) if x.is_floating_point() else (model.double(), x)
    with torch.no_grad():
        before = model(x)
    for module in model.modules():
        forget(module)
    traced = trace(*meta_of(name))
    assert traced.axes
    permute({**dict(model.named_parameters()), **dict(model.named_buffers())}, traced)
    with torch.no_grad():
        after = model(x)
    scale = float(before.abs().max())
    assert float((after - before).abs().max()) < 1e-9 * scale


@pytest.mark.parametrize(
    ("name", "least"),
    [("functional", 2), ("super_resolution", 6), ("audio", 4), ("unet", 12), ("mixer", 7), ("packed_attention", 5),
     ("hard_heads", 1), ("lstm", 2), ("gru", 2), ("encoder", 4), ("dense", 8), ("test_resnet", 11), ("test_vit", 13)],
)  # fmt: skip
def test_as_many_axes_as_there_are(name: str, least: int) -> None:
    """Counted by hand."""
    traced = trace(*meta_of(name))
    assert len(traced.axes) >= least
    assert not traced.unknown


def test_the_model_stays_as_it_was() -> None:
    model, inputs = meta_of("packed_attention")
    before = {path: dict(vars(module)) for path, module in model.named_modules()}
    trace(model, inputs)
    assert {path: dict(vars(module)) for path, module in model.named_modules()} == before
    with pytest.raises(RuntimeError):
        trace(model, Inputs((torch.empty(1, 3, 2, 2, device="meta"),)))
    assert {path: dict(vars(module)) for path, module in model.named_modules()} == before


def test_heads_in_the_code_stay_and_the_reason_names_the_line() -> None:
    traced = trace(*meta_of("hard_heads"))
    reasons = [stays.reason for stays in traced.stays]
    assert any("own_models.py:" in reason and "written into the code" in reason for reason in reasons)


def test_hooks_that_a_run_adds_stay_in_the_copy() -> None:
    class Hooked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(8, 16), torch.nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.first.register_forward_hook(lambda module, args, out: out + 1)
            return self.second(self.first(x))  # type: ignore[no-any-return]

    with torch.device("meta"):
        model = Hooked().eval()
    trace(model, Inputs((torch.empty(1, 8, device="meta"),)))
    assert not model.first._forward_hooks


class Numbered(torch.nn.Module):
    """Frequencies that depend on their number, and sums of all channels before each."""

    def __init__(self) -> None:
        super().__init__()
        self.bands = 16
        self.mix, self.before = torch.nn.Linear(16, 24), torch.nn.Linear(24, 32)
        self.after = torch.nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        waves = 10 ** (torch.arange(self.bands, device=x.device) / self.bands)
        mixed = self.mix(x.mean(1, keepdim=True) * waves)
        out: torch.Tensor = self.after(self.before(mixed).cumsum(-1))
        return out


def test_what_the_code_numbers_stays_and_what_it_adds_up_keeps_its_order() -> None:
    with torch.device("meta"):
        model = Numbered().eval()
    traced = trace(model, Inputs((torch.empty(1, 3, device="meta"),)))
    assert any(each.size == 16 and "numbered by the code" in each.reason for each in traced.stays)
    assert {axis.name: axis.ordered for axis in traced.axes.values()} == {"mix.bias:0": False, "before.bias:0": True}
