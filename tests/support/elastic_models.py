"""Models that the tests of ``search_spaces.tracing`` look at, with weights that hide no errors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from search_spaces.builders.timm_compat import timm
from search_spaces.tracing.copies import all_tensors
from search_spaces.tracing.elastic import ElasticModel, Values
from search_spaces.tracing.inputs import Inputs
from tests.support.own_models import CLASSES, OWN

TIMM = {
    "test_resnet": 64,
    "test_vit": 160,
    "test_convnext": 64,
    "ghostnet_050": 64,
    "regnety_002": 64,
    "mobilenetv3_small_050": 64,
}
MORE_TIMM = {
    "resnet10t": 64,
    "densenet121": 64,
    "swin_tiny_patch4_window7_224": 224,
    "convit_tiny": 224,
    "resnest14d": 64,
    "sequencer2d_s": 224,
    "fastvit_t8": 256,
    "coat_lite_tiny": 224,
    "repvit_m1": 64,
    "nfnet_f0": 64,
    "levit_128s": 224,
    "test_mambaout": 160,
    "skresnet18": 64,
    "res2net50_26w_4s": 64,
    "resnext50_32x4d": 64,
    "efficientvit_b0": 64,
}
"""timm's name -> side of the image."""
SHORT = (*OWN, *TIMM)
LONG = tuple(MORE_TIMM)


def builder(name: str) -> tuple[Callable[[], nn.Module], Tensor]:
    """What builds a model, and an input of batch 1."""
    if name in OWN:
        return OWN[name]
    side = (TIMM | MORE_TIMM)[name]
    options = {"img_size": side} if name == "test_vit" else {}
    return lambda: timm.create_model(name, num_classes=CLASSES, **options), torch.zeros(1, 3, side, side)


def example(x: Tensor, batch: int = 2, seed: int = 0) -> Tensor:
    """Random inputs like ``x``."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *x.shape[1:])
    if x.dtype == torch.long:
        return torch.randint(0, 100, shape, generator=generator)
    return torch.randn(shape, generator=generator)


def filled(build: Callable[[], nn.Module]) -> nn.Module:
    """A model in eval mode whose norms, statistics, biases and scales aren't the 0, 1 or 1e-6 that hide errors."""
    torch.manual_seed(0)
    model = build().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and (tensor.ndim <= 1 or not tensor.any()):
                noise = torch.rand(tensor.shape, generator=generator)
                positive = name.endswith(("running_var", "weight", "gamma", "scale"))
                tensor.copy_(noise + 0.5 if positive else 0.5 * (noise - 0.5))
    return model


def meta_of(name: str) -> tuple[nn.Module, Inputs]:
    build, x = builder(name)
    with torch.device("meta"):
        model = build().eval()
    return model, Inputs((x.to("meta"),))


def lend(elastic: ElasticModel, model: nn.Module, values: Values) -> nn.Module:
    """The network of a choice on parts of the model's tensors."""
    skeleton = elastic.build(values)
    source = all_tensors(model)
    parts = {cut.name: cut.take(source[cut.name]) for cut in elastic.cuts(values)}
    for path, module in skeleton.named_modules():
        old = {id(t): f"{path}.{k}".lstrip(".") for k, t in module._parameters.items() if t is not None}
        for name, value in vars(module).items():
            if type(value) is list and any(id(each) in old for each in value):
                vars(module)[name] = [parts[old[id(each)]] if id(each) in old else each for each in value]
        for table in (module._parameters, module._buffers):
            for key in table:
                if (part := parts.get(f"{path}.{key}".lstrip("."))) is not None:
                    table[key] = part
    return skeleton
