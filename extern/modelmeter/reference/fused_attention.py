"""Attention as a GPU's fused kernels run it, on meta and fake tensors.

On the meta device `scaled_dot_product_attention` silently takes the route of plain GEMMs, with a matrix of
scores that no GPU would allocate, and `sdpa_kernel` is ignored. `FusedAttention` calls the kernels directly:

- flash: half precision and no mask (it reads grouped KV heads as they are);
- memory-efficient: with a mask, or in float32. Its bias is padded to a multiple of 8 in its last dimension, a
  copy, when it is not one already (a window of 196 positions becomes 200).

Grouped KV heads in float32, which neither kernel takes, PyTorch computes in separate steps on a GPU too (its
documentation: grouped heads work "only for Flash_attention and math kernel on CUDA tensor"); these run here as
they are. What else neither kernel takes on a GPU is refused. Tensors on the CPU pass through: the CPU has a kernel of
its own.

    with torch.no_grad(), FusedAttention(), LiveSet(module) as live:
        module(x)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from modelmeter.errors import ModelMeterError

BIAS_ALIGNMENT_ELEMS = 8
"""The efficient kernel wants the rows of its bias aligned to this many elements."""


class FusedAttention(TorchFunctionMode):  # type: ignore[misc]
    """A mode under which `F.scaled_dot_product_attention` on meta or CUDA tensors calls a fused kernel."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """query [B, H, T, d], key and value [B, Hkv, S, d] -> [B, H, T, d]."""
    if query.device.type == "cpu":
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if query.dim() != 4:
        raise ModelMeterError(f"FusedAttention: query has {query.dim()} dimensions; the fused kernels take 4.")
    if dropout_p:
        raise ModelMeterError(f"FusedAttention: dropout_p={dropout_p}; call .eval(): inference has no dropout.")
    if query.shape[-1] % BIAS_ALIGNMENT_ELEMS:
        raise ModelMeterError(
            f"FusedAttention: head dimension {query.shape[-1]} is no multiple of {BIAS_ALIGNMENT_ELEMS}: "
            "a GPU pads it, which is not modelled."
        )
    if attn_mask is not None and is_causal:
        raise ModelMeterError("FusedAttention: both attn_mask and is_causal=True; PyTorch takes one of them.")
    if attn_mask is None and query.dtype in (torch.bfloat16, torch.float16):
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(query, key, value, 0.0, is_causal, scale=scale)[0]
    if key.shape[1] != query.shape[1]:
        if attn_mask is None:
            return functional.scaled_dot_product_attention(
                query, key, value, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa
            )
        raise ModelMeterError(
            f"FusedAttention: {query.shape[1]} heads on {key.shape[1]} KV heads with a mask: the efficient kernel "
            "takes equal numbers; measure without a mask."
        )
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    bias = None if attn_mask is None else _aligned_bias(attn_mask, query, key)
    return efficient(query, key, value, bias, False, 0.0, is_causal, scale=scale)[0]


def _aligned_bias(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """The mask as the efficient kernel gets it: additive, aligned rows, seen as [B, H, T, S]."""
    if mask.dtype == torch.bool:
        minus_infinity = torch.full((), float("-inf"), dtype=query.dtype, device=mask.device)
        mask = torch.where(mask, torch.zeros((), dtype=query.dtype, device=mask.device), minus_infinity)
    length = mask.shape[-1]
    if length % BIAS_ALIGNMENT_ELEMS:
        mask = functional.pad(mask, (0, -length % BIAS_ALIGNMENT_ELEMS))[..., :length]
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
