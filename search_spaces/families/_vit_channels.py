"""What may be reordered inside a vision transformer: the embedding, the heads and the hidden units of a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search_spaces.channels import Axis, Group

if TYPE_CHECKING:
    from torch import nn

_READERS = {"qkv", "fc1", "fc1_g", "fc1_x", "head", "head_dist", "q", "kv"}
_WRITERS = {"proj", "fc2"}
_PLAIN = {"norm", "norm1", "norm2", "norm_pre", "fc_norm", "ls", "ls1", "ls2"}


def vit_channel_groups(model: nn.Module, width: bool, heads: bool, expand: bool) -> list[Group]:
    """Groups of timm's ``VisionTransformer`` with blocks that have timm's ``Attention`` and MLPs.

    Args:
        width: the embedding, shared by the whole network, and with it the heads and hidden units of an attention that
            pools the tokens.
        heads: the heads of each attention. Norms of queries and keys are shared by all heads.
        expand: the hidden units of each block's MLP.
    """
    from timm.layers import Attention, GluMlp, Mlp, SwiGLU

    groups = [_embedding(model, (Attention, Mlp, GluMlp, SwiGLU))] if width else []
    for path, module in model.named_modules():
        if width and path == "attn_pool":
            groups += [_heads(path, module, q=1, kv=2), _hidden(f"{path}.mlp", module.mlp, halves=False)]
        if not path.startswith("blocks."):
            continue
        if heads and isinstance(module, Attention):
            groups.append(_heads(path, module, qkv=3, norm=1))
        if expand and isinstance(module, Mlp | GluMlp | SwiGLU):
            groups.append(_hidden(path, module, halves=isinstance(module, GluMlp)))
    return groups


def _embedding(model: nn.Module, inner: tuple[type[nn.Module], ...]) -> Group:
    """``inner``: modules whose own norms are not on the embedding."""
    from torch import nn

    # tokens and position embedding are parameters of the model itself, [1, tokens, embedding]
    axes = [Axis(name, 2) for name, _ in model.named_parameters(recurse=False)]
    for path, module in model.named_modules():
        parent, _, own = path.rpartition(".")
        if path.startswith("patch_embed.backbone"):
            continue
        if own in _READERS and isinstance(module, nn.Linear):
            axes.append(Axis(f"{path}.weight", 1, score=True))
        elif own in _WRITERS or (own in _PLAIN and not isinstance(model.get_submodule(parent), inner)):
            axes += _rows(path, module)
        elif own == "attn_pool":
            axes.append(Axis(f"{path}.latent", 2))
    return tuple(axes)


def _heads(path: str, attention: Any, **parts: int) -> Group:
    """Heads of an attention; ``parts``: how many of query, key and value each layer gives them."""
    size = attention.head_dim
    return (
        *(axis for name, n in parts.items() for axis in _rows(f"{path}.{name}", getattr(attention, name), n, size)),
        Axis(f"{path}.proj.weight", 1, unit=size, score=True),
    )


def _hidden(path: str, mlp: Any, halves: bool) -> Group:
    first = [name for name in ("fc1", "fc1_g", "fc1_x") if hasattr(mlp, name)]
    return (
        *(axis for name in first for axis in _rows(f"{path}.{name}", getattr(mlp, name), parts=2 if halves else 1)),
        *_rows(f"{path}.norm", mlp.norm),
        Axis(f"{path}.fc2.weight", 1, score=True),
    )


def _rows(path: str, module: nn.Module, parts: int = 1, unit: int = 1) -> list[Axis]:
    """The first dimension of all parameters of a layer (none where it is an identity)."""
    return [Axis(f"{path}.{name}", 0, parts, unit) for name, _ in module.named_parameters(recurse=False)]
