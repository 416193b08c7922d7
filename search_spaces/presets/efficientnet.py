"""Spaces on timm's EfficientNet builder: our own small ones, Once-for-All, ProxylessNAS, MCUNet, AttentiveNAS."""

from __future__ import annotations

from search_spaces.families.efficientnet import Block, BlockArgs, EfficientNetFamily, Stage
from search_spaces.families.options import inner_width
from search_spaces.space import SearchSpace

_MOBILENETV3 = "mobilenetv3_large_100"


def inverted(
    widths: tuple[int, ...], depths: tuple[int, ...], kernels: tuple[int, ...], expands: tuple[float, ...], stride: int,
    se: bool = False, act: str | None = None, per_block: bool = True,
) -> Stage:  # fmt: skip
    """A stage of inverted residuals whose first block has the stride; ``se``: squeeze-and-excitation to a quarter of
    the expanded channels; ``act``: timm's name of the activation, None: the network's."""
    args: BlockArgs = {
        "block_type": "ir", "out_chs": widths[-1], "stride": stride, "act_layer": act, "dw_kernel_size": kernels[-1],
        "exp_kernel_size": 1, "pw_kernel_size": 1, "exp_ratio": expands[-1], "se_ratio": 0.25 if se else 0.0,
        "noskip": False, "s2d": False,
    }  # fmt: skip
    later: BlockArgs = {**args, "stride": 1}
    blocks = [Block(args if b == 0 else later, kernels, expands) for b in range(max(depths))]
    return Stage(tuple(blocks), depths, widths, per_block=per_block)


def separable(
    widths: tuple[int, ...], stride: int = 1, act: str | None = None, skip: bool = True,
    depths: tuple[int, ...] = (1,), kernels: tuple[int, ...] = (3,),
) -> Stage:  # fmt: skip
    """A stage of depthwise-separable blocks."""
    args: BlockArgs = {
        "block_type": "ds", "out_chs": widths[-1], "stride": stride, "act_layer": act, "dw_kernel_size": kernels[-1],
        "pw_kernel_size": 1, "se_ratio": 0.0, "pw_act": False, "noskip": not skip, "s2d": False,
    }  # fmt: skip
    later: BlockArgs = {**args, "stride": 1, "noskip": False}
    blocks = [Block(args if b == 0 else later, kernels) for b in range(max(depths))]
    return Stage(tuple(blocks), depths, widths, per_block=False)


def pointwise(width: int = 0, times: int = 0, act: str | None = None) -> Stage:
    """One 1x1 convolution to ``width`` channels, or to ``times`` those before it."""
    args: BlockArgs = {
        "block_type": "cn", "out_chs": width, "stride": 1, "act_layer": act, "kernel_size": 1, "skip": False,
    }  # fmt: skip
    return Stage((Block(args),), (1,), (width,) if width else (), times=times)


def _mobilenetv3(
    resolutions: tuple[int, ...], stem: int, stages: tuple[Stage, ...], last: int, features: int, bias: bool = True
) -> EfficientNetFamily:
    """The head of MobileNetV3: a 1x1 convolution before pooling and one after (Howard et al., arXiv:1905.02244),
    the latter with or without bias."""
    options = {} if bias else {"head_bias": False}
    return EfficientNetFamily(_MOBILENETV3, resolutions, (stem,), (*stages, pointwise(last)), (features,), options)


TINY = SearchSpace(
    "mbv3-tiny",
    _mobilenetv3(
        (24, 28),
        8,
        (
            separable((8,), stride=2, act="relu"),
            inverted((16, 24), (1, 2), (3, 5), (2, 3, 4), stride=1, act="relu"),
            inverted((24, 32), (1, 2), (3, 5), (2, 3, 4), stride=2, se=True, act="relu"),
            # no width of the stage before: a first block with equal widths would gain a residual connection
            inverted((40, 56), (1, 2), (3, 5), (2, 3, 4), stride=1, se=True),
        ),
        last=128,
        features=160,
    ),
    source="made for the demo: small images, two cores",
)

SMALL = SearchSpace(
    "mbv3-small",
    _mobilenetv3(
        (48, 56, 64, 80, 96),
        16,
        (
            separable((16,), act="relu"),
            inverted((16, 24), (1, 2), (3, 5), (2, 3, 4), stride=2, act="relu"),
            inverted((24, 32, 40), (1, 2, 3), (3, 5), (2, 3, 4), stride=2, se=True, act="relu"),
            inverted((48, 64), (1, 2, 3), (3, 5), (3, 4, 6), stride=1),
            inverted((72, 96), (1, 2), (3, 5), (3, 4, 6), stride=2, se=True),
        ),
        last=288,
        features=512,
    ),
    source="made for photos of 48 to 96 pixels",
)

_ONCE_FOR_ALL = ((2, 3, 4), (3, 5, 7), (3, 4, 6))
_STEP_4 = tuple(range(128, 225, 4))


def _large(widths: tuple[tuple[int, ...], ...]) -> tuple[Stage, ...]:
    """The elastic stages of MobileNetV3-Large."""
    return (
        inverted(widths[0], *_ONCE_FOR_ALL, stride=2, act="relu"),
        inverted(widths[1], *_ONCE_FOR_ALL, stride=2, se=True, act="relu"),
        inverted(widths[2], *_ONCE_FOR_ALL, stride=2),
        inverted(widths[3], *_ONCE_FOR_ALL, stride=1, se=True),
        inverted(widths[4], *_ONCE_FOR_ALL, stride=2, se=True),
    )


# Stem, strides, squeeze-and-excitation, activations and head as MobileNetV3-Large 1.0; depth, kernel and expansion
# as the Once-for-All MobileNetV3 space (Cai et al., arXiv:1908.09791); stage widths 0.75x and 1.0x are our addition.
LARGE = SearchSpace(
    "mbv3-large",
    _mobilenetv3(
        (128, 160, 192, 224),
        16,
        (separable((16,), act="relu"), *_large(((16, 24), (32, 40), (64, 80), (88, 112), (120, 160)))),
        last=960,
        features=1280,
    ),
    source="MobileNetV3-Large with the elastic dimensions of Once-for-All (arXiv:1908.09791) and two widths per stage",
)


def _ofa(
    name: str, resolutions: tuple[int, ...], stem: int, widths: tuple[int, ...], last: int, head: int
) -> SearchSpace:
    stages = (separable((stem,), act="relu"), *_large(tuple((w,) for w in widths)))
    return SearchSpace(
        name,
        _mobilenetv3(resolutions, stem, stages, last, head, bias=False),
        source="Once-for-All, Cai et al., arXiv:1908.09791",
        kernel_transforms=True,
    )


OFA_W10 = _ofa("ofa-mbv3-w1.0", _STEP_4, 16, (24, 40, 80, 112, 160), 960, 1280)
OFA_W12 = _ofa("ofa-mbv3-w1.2", tuple(range(160, 225, 4)), 24, (32, 48, 96, 136, 192), 1152, 1536)


def _proxyless_stages(first: tuple[int, ...], widths: tuple[tuple[int, ...], ...]) -> tuple[Stage, ...]:
    """ProxylessNAS (Cai et al., arXiv:1812.00332): MobileNetV2's parts, one block in the last stage."""
    depths, kernels, expands = _ONCE_FOR_ALL
    elastic = (inverted(w, depths, kernels, expands, stride=s) for w, s in zip(widths, (2, 2, 2, 1, 2), strict=False))
    return (separable(first, skip=False), *elastic, inverted(widths[5], (1,), kernels, expands, stride=1))


PROXYLESS = SearchSpace(
    "ofa-proxyless",
    EfficientNetFamily(
        "mobilenetv2_100",
        _STEP_4,
        (40,),
        _proxyless_stages((24,), ((32,), (56,), (104,), (128,), (248,), (416,))),
        (1664,),
        {"bn_eps": 1e-3},
    ),
    source="Once-for-All on ProxylessNAS w1.3, Cai et al., arXiv:1908.09791",
    kernel_transforms=True,
)

_MULTIPLIERS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def _scaled(width: int) -> tuple[int, ...]:
    """Channels at every multiplier."""
    return tuple(inner_width(width, m) for m in _MULTIPLIERS)


MCUNET = SearchSpace(
    "mcunet",
    EfficientNetFamily(
        "mobilenetv2_100",
        tuple(range(48, 225, 16)),
        _scaled(32),
        _proxyless_stages(_scaled(16), tuple(_scaled(w) for w in (24, 40, 80, 96, 192, 320))),
        (0,),  # the classifier reads the last stage
        multipliers=_MULTIPLIERS,
    ),
    source="MCUNet, Lin et al., arXiv:2007.10319: ProxylessNAS at any of 9 widths and 12 resolutions",
)

# The published network has a 1x1 convolution on the shortcut where a stage changes the width, which timm's inverted
# residual has not: 203 to 1,939 MMACs there, 198 to 1,924 here. Everything else agrees to the MAC.
ATTENTIVE = SearchSpace(
    "attentivenas",
    EfficientNetFamily(
        _MOBILENETV3,
        (192, 224, 256, 288),
        (16, 24),
        (
            separable((16, 24), skip=False, depths=(1, 2), kernels=(3, 5)),
            inverted((24, 32), (3, 4, 5), (3, 5), (4, 5, 6), stride=2, per_block=False),
            inverted((32, 40), (3, 4, 5, 6), (3, 5), (4, 5, 6), stride=2, se=True, per_block=False),
            inverted((64, 72), (3, 4, 5, 6), (3, 5), (4, 5, 6), stride=2, per_block=False),
            inverted((112, 120, 128), tuple(range(3, 9)), (3, 5), (4, 5, 6), stride=1, se=True, per_block=False),
            inverted((192, 200, 208, 216), tuple(range(3, 9)), (3, 5), (6,), stride=2, se=True, per_block=False),
            inverted((216, 224), (1, 2), (3, 5), (6,), stride=1, se=True, per_block=False),
            pointwise(times=6),
        ),
        (1792, 1984),
        {"act_layer": "swish", "head_bias": False},
    ),
    source="AttentiveNAS, Wang et al., arXiv:2011.09011; AlphaNet, arXiv:2102.07954, searches the same space",
)

SPACES = (TINY, SMALL, LARGE, OFA_W10, OFA_W12, PROXYLESS, MCUNET, ATTENTIVE)
