"""The spaces that every generic test runs over: the presets, and one named timm model of every kind."""

from __future__ import annotations

from search_spaces import PRESETS

DERIVED = (
    "timm:mobilenetv1_100:resolution=64,96",
    "timm:mobilenetv2_050:resolution=64,96",
    "timm:mobilenetv3_small_075:resolution=64,96:width=0.5,1",
    "timm:mobilenetv4_conv_small_050:resolution=64,96",
    "timm:mobilenetv4_hybrid_medium_075:resolution=64,96",
    "timm:efficientnet_lite0:resolution=64,96:kernel=3,5",
    "timm:tf_efficientnetv2_b0:resolution=64,96",
    "timm:mixnet_s:resolution=64,96",
    "timm:mnasnet_small:resolution=64,96",
    "timm:fbnetc_100:resolution=64,96",
    "timm:resnet10t:resolution=64,96",
    "timm:resnet26d:resolution=64,96",
    "timm:resnext50_32x4d:resolution=64,96",
    "timm:convnext_atto:resolution=64,96",
    "timm:convnextv2_atto:resolution=64,96",
    "timm:vit_tiny_patch16_224:resolution=64,96",
    "timm:deit_tiny_distilled_patch16_224:resolution=64,96",
    "timm:regnety_002:resolution=64,96",
    "timm:ghostnet_050:width=0.5:resolution=64,96",
    "timm:densenet121:width=0.5:resolution=64",
    "timm:cs3darknet_focus_s:width=0.5:resolution=64",
)

# These differ from a smaller one of their family in widths alone, and take as long as twenty other spaces together.
_WIDER = ("autoformer-base", "autoformer-small", "ofa-mbv3-w1.2")
NAMES = (*DERIVED, *(name for name in PRESETS if name not in _WIDER))

SHORT = (
    "timm:mobilenetv3_small_075:resolution=64,96:width=0.5,1",
    "timm:mobilenetv4_conv_small_050:resolution=64,96",
    "timm:mixnet_s:resolution=64,96",
    "timm:resnet10t:resolution=64,96",
    "timm:convnextv2_atto:resolution=64,96",
    "timm:vit_tiny_patch16_224:resolution=64,96",
    "timm:regnety_002:resolution=64,96",
    "mbv3-tiny",
    "ofa-mbv3-w1.0",
    "ofa-proxyless",
    "autoformer-tiny",
)
"""Spaces of every family and of every kind of published weights; the others are in the long form of the tests."""
