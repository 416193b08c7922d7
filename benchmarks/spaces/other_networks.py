"""Small networks of transformers and torchvision: what builds each, and what it is called with."""

# mypy: allow-untyped-calls
# (what is pasted beside exported weights has no types)

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.builders.torchvision_model import torchvision_network


@dataclass(frozen=True)
class Network:
    """A network, and its inputs of batch 1, by place or by name; whole numbers lie below 100."""

    build: Callable[[], nn.Module]
    inputs: Mapping[str, Tensor]
    image: Tensor | None = None


def _ids(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.long)


_SMALL = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
_AUDIO = {
    "conv_dim": (32, 32, 32), "conv_kernel": (10, 3, 3), "conv_stride": (5, 2, 2), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
_TOKENS = {"input_ids": _ids(1, 16)}
_WORDS = {"vocab_size": 100, "max_position_embeddings": 32}
_GROUPED = {"num_key_value_heads": 2, "use_cache": False}
_PLAIN = {"use_cache": False}

TRANSFORMERS: dict[str, tuple[str, dict[str, Any], dict[str, Tensor]]] = {
    "Bert": ("ForSequenceClassification", {**_WORDS, **_SMALL}, _TOKENS),
    "GPT2": ("LMHeadModel", {"vocab_size": 100, "n_positions": 32, "n_embd": 64, "n_layer": 4, "n_head": 4, **_PLAIN},
             _TOKENS),
    "Llama": ("ForCausalLM", {**_WORDS, **_SMALL, **_GROUPED}, _TOKENS),
    "Qwen3": ("ForCausalLM", {**_WORDS, **_SMALL, **_GROUPED, "head_dim": 16}, _TOKENS),
    "T5": ("ForConditionalGeneration",
           {"vocab_size": 100, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 3, "num_heads": 4, **_PLAIN},
           {**_TOKENS, "decoder_input_ids": _ids(1, 8)}),
    "ViT": ("ForImageClassification", {"image_size": 32, "patch_size": 8, **_SMALL},
            {"pixel_values": torch.zeros(1, 3, 32, 32)}),
    "Hubert": ("ForSequenceClassification", {**_AUDIO, "classifier_proj_size": 32, **_SMALL},
               {"input_values": torch.zeros(1, 4000)}),
    "Wav2Vec2": ("ForCTC", {"vocab_size": 32, **_AUDIO, **_SMALL}, {"input_values": torch.zeros(1, 4000)}),
    "Whisper": ("ForConditionalGeneration",
                {"vocab_size": 100, "d_model": 64, "encoder_layers": 3, "decoder_layers": 3,
                 "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128,
                 "decoder_ffn_dim": 128, "max_source_positions": 50, "max_target_positions": 32, "num_mel_bins": 16,
                 "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
                 "suppress_tokens": None, "begin_suppress_tokens": None, **_PLAIN},
                {"input_features": torch.zeros(1, 16, 100), "decoder_input_ids": _ids(1, 8)}),
    "Detr": ("ForObjectDetection",
             {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
              "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "num_queries": 10,
              "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None},
             {"pixel_values": torch.zeros(1, 3, 64, 64), "pixel_mask": torch.ones(1, 64, 64, dtype=torch.long)}),
    "ConvNextV2": ("ForImageClassification", {"hidden_sizes": [16, 32, 64, 96], "depths": [2, 2, 2, 2]},
                   {"pixel_values": torch.zeros(1, 3, 64, 64)}),
    "Segformer": ("ForSemanticSegmentation",
                  {"hidden_sizes": [16, 32, 64, 64], "depths": [1, 2, 2, 1], "num_attention_heads": [1, 2, 4, 4],
                   "decoder_hidden_size": 32, "mlp_ratios": [2, 2, 2, 2]}, {"pixel_values": torch.zeros(1, 3, 64, 64)}),
    "Mamba": ("ForCausalLM",
              {"vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 3, "state_size": 8, **_PLAIN}, _TOKENS),
}  # fmt: skip
"""Beginning of a class of transformers -> the rest of its name, its settings, its inputs."""

CLASSIFIERS = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5",
    "mobilenet_v3_small", "regnet_x_400mf", "shufflenet_v2_x1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11_bn",
    "vit_b_32",
)  # fmt: skip
SEGMENTATION = ("deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large")
DETECTION = {"fcos_resnet50_fpn": 128, "retinanet_resnet50_fpn": 128, "ssdlite320_mobilenet_v3_large": 320}
"""torchvision's name -> side of the images."""

NAMES = (
    *(f"transformers.{name}" for name in TRANSFORMERS),
    *(f"torchvision.{name}" for name in (*CLASSIFIERS, *SEGMENTATION, *DETECTION)),
)


class UpToHead(nn.Module):
    """A detector without its last step, from boxes to detections, which depends on values."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, x: Tensor) -> Any:
        features = self.backbone(x)
        return self.head(list(features.values()) if isinstance(features, dict) else [features])


def network(name: str) -> Network:
    """One of :data:`NAMES`."""
    importlib.import_module("search_spaces.builders.timm_compat")  # torchvision may be built for another torch
    package, _, word = name.partition(".")
    return _of_transformers(word) if package == "transformers" else _of_torchvision(word)


def _of_transformers(word: str) -> Network:
    import transformers

    rest, given, inputs = TRANSFORMERS[word]
    settings = dict(given)
    if word == "Detr":
        settings["backbone_config"] = transformers.ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], out_features=["stage4"]
        )
    kind, made = getattr(transformers, f"{word}{rest}"), getattr(transformers, f"{word}Config")

    def build() -> nn.Module:
        model: nn.Module = kind._from_config(made(**settings), attn_implementation="eager")
        return model

    return Network(build, inputs)


def _of_torchvision(word: str) -> Network:
    from torchvision import models

    if word in CLASSIFIERS:
        options = {"aux_logits": False, "init_weights": False} if word in ("googlenet", "inception_v3") else {}
        side = 299 if word == "inception_v3" else 224
        return Network(lambda: torchvision_network(word, options, 10, 3), {}, torch.zeros(1, 3, side, side))
    given = {"weights": None, "weights_backbone": None, "num_classes": 5}
    if word in SEGMENTATION:
        return Network(lambda: models.get_model(word, **given), {}, torch.zeros(1, 3, 128, 128))
    side = DETECTION[word]
    return Network(lambda: UpToHead(models.get_model(word, **given)), {}, torch.zeros(1, 3, side, side))
