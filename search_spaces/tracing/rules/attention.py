"""Attention in one operator."""

from __future__ import annotations

from torch import Tensor

from search_spaces.tracing.dimensions.axes import unify
from search_spaces.tracing.labels import Call

from .rule import rule


@rule(
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable", "_scaled_dot_product_attention_math",
    "scaled_dot_product_attention",
)  # fmt: skip
def attention(call: Call) -> None:
    """Queries ``[..., n, d]``, keys ``[..., m, d]``, values ``[..., m, e]``."""
    query, key, value = call.of("query"), call.of("key"), call.of("value")
    why = call.reason("attention")
    for q, k, v in zip(query[:-2], key[:-2], value[:-2], strict=True):
        unify(q, k, why)
        unify(k, v, why)
    unify(query[-1], key[-1], why)
    unify(key[-2], value[-2], why)
    mask = next((call[name] for name in ("attn_mask", "attn_bias") if isinstance(call[name], Tensor)), None)
    if mask is not None:
        wide = [*query[:-1], key[-2]]
        for d in range(1, mask.dim() + 1):
            if mask.shape[-d] != 1:
                unify(call.labels.of(mask)[-d], wide[-d], why)
    call.put([*query[:-1], value[-1]])
    call.put_rest()
    call.count(*query[:-1], key[-2], query[-1], times=2)


@rule("_fused_sdp_choice")
def choice(call: Call) -> None:
    """Which kernel computes it: a number."""
