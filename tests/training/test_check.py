"""Settings that cannot train are refused, from Python as from the command line."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nas.data.opening import open_dataset
from nas.store.settings import declared_settings
from nas.training.check import batch_warnings, check_config
from nas.training.config import TrainConfig
from nas.training.quantized import check_quantizable
from search_spaces import get_space
from search_spaces.errors import UsageError, UserError

REFUSED = [
    ({"ema": 1.5}, "`ema` is 1.5; it must be from 0 to 0.99999"),
    ({"warmup": 3}, "`warmup` is 3; it must be from 0 to 1"),
    ({"epochs": float("inf")}, "`epochs` is inf; it must be a finite number"),
    ({"epochs": 10**400}, "it must be a finite number"),
    ({"lr_auto": float("nan")}, "`lr_auto` is nan; it must be a finite number"),
    ({"clip_norm": 0.0}, "`clip_norm` is 0; it must be above 0"),
    ({"clip_value": -1.0}, "`clip_value` is -1; it must be at least 0"),
    ({"adapt_share": 0.0}, "`adapt_share` is 0; it must be above 0 and at most 1"),
    ({"rollbacks": -1}, "`rollbacks` is -1; it must be at least 0"),
    ({"batch_size": True}, "`batch_size` is True; it must be a whole number"),
    ({"distill": "alfa"}, "did you mean 'alpha'"),
    ({"amp": "bf61"}, "did you mean 'bf16'"),
    ({"augment": "stron"}, "did you mean 'strong'"),
    ({"optimizer": "adamwe"}, "did you mean 'adamw'"),
    ({"teacher": "x", "teacher_weight": 1.5}, "`teacher_weight` is 1.5"),
    ({"teacher": "x", "teacher_temperature": 0.0}, "`teacher_temperature` is 0"),
    ({"teacher_weight": 0.9}, "give `teacher`"),
    ({"dropout": 1.0}, "`dropout` is 1"),
    ({"drop_path": -0.1}, "`drop_path` is -0.1"),
    ({"lr_auto": True, "base_batch": 64}, "leave `base_batch` out"),
    ({"mixup": 0.2, "batch_size": 65}, "65 is odd"),
    ({"mixup": -0.2}, "`mixup` is -0.2"),
    ({"erasing": 1.5}, "`erasing` is 1.5"),
    ({"accumulate": 5, "batch_size": 9}, "4 micro-batches at most"),
    ({"accumulate": 0}, "`accumulate` is 0"),
    ({"zero_gamma": True, "init": "weights.pth"}, "`zero_gamma` is a start of random weights"),
    ({"freeze_bn": True}, "random weights have none; give `pretrained` or `init`"),
    ({"pretrained": True, "init": "weights.pth"}, "both give the first weights"),
    ({"quantization_aware": "int8,w3a8"}, "unknown precision 'w3a8'"),
    ({"quantization_aware": "int8,int8"}, "names one of them twice"),
    ({"quantization_aware": "fp32"}, "nothing is quantized in fp32"),
    ({"quantization_aware": "int8", "quantization_phase": 0.0}, "`quantization_phase` is 0"),
    ({"quantization_aware": "int8", "quantization_noise": 1.5}, "`quantization_noise` is 1.5"),
    ({"quantization_noise": 0.5}, "give `quantization_aware`"),
    ({"quantization_phase": 0.5}, "give `quantization_aware`"),
    ({"optimizer": "sgd", "momentum": 0.0}, "`optimizer` sgd cannot be used with these settings: "),
]


@pytest.mark.parametrize(("more", "message"), REFUSED, ids=lambda each: str(each)[:40])
def test_settings_that_mean_nothing_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_config(TrainConfig(**{"space": "mbv3-tiny", **more}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "more", [{"mixup": 0.2}, {"batch_size": 65}, {"accumulate": 4, "batch_size": 9}, {"epochs": 1}]
)
def test_what_means_something_is_accepted(more: dict[str, Any]) -> None:
    check_config(TrainConfig(**{"space": "mbv3-tiny", **more}))


def test_every_setting_says_what_it_is() -> None:
    settings = declared_settings(TrainConfig)
    assert asdict(TrainConfig()).keys() - settings.keys() == {"lr_auto"}  # a form of `lr`
    assert all(each.setting.help for each in settings.values())


def test_a_space_of_attention_layers_cannot_be_trained_for_quantization() -> None:
    space = get_space("timm:vit_tiny_patch16_224:resolution=64,96")
    with pytest.raises(UserError, match=r"`quantization_aware`: space 'timm:vit_tiny.*attention") as caught:
        check_quantizable(space, "quantization_aware")
    assert len(str(caught.value).splitlines()) <= 2


def test_a_batch_that_shows_images_twice_is_said(photos: Path) -> None:
    info = open_dataset(str(photos), 0).info
    assert batch_warnings(TrainConfig(batch_size=info.train_images), info) == []
    (line,) = batch_warnings(TrainConfig(batch_size=info.train_images + 1), info)
    assert f"there are {info.train_images} training images" in line
