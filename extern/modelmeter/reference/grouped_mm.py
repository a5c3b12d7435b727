"""The grouped GEMM of mixture-of-experts layers, which PyTorch neither counts nor, on meta, runs in
full.

`torch.utils.flop_counter` has no formula for `aten._grouped_mm`: half of a prefill vanishes silently. And in
torch 2.13 its meta kernel takes bfloat16 only; `accept_every_dtype` lets float32 and float16 through, with
the shapes and types that torch 2.15 gives.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor


def grouped_mm_flop(rows_shape: Any, weight_shape: Any, *_args: Any, **_kwargs: Any) -> int:
    """FLOPs of rows [R, k] @ weights [E, k, n] -> [R, n]: 2 * R * k * n, whichever expert a row goes to."""
    rows, inner = rows_shape
    return 2 * int(rows) * int(inner) * int(weight_shape[-1])


def _meta_grouped_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    return torch.empty(mat_a.shape[0], mat_b.shape[-1], dtype=out_dtype or mat_a.dtype, device="meta")


@cache
def accept_every_dtype() -> torch.library.Library:
    """Let `aten._grouped_mm` run on meta tensors of any floating type, for the rest of the process.

    Only rows [R, k] by weights [E, k, n] with offsets are modelled, the one form that experts use.
    """
    library = torch.library.Library("aten", "IMPL")
    library.impl("_grouped_mm", _meta_grouped_mm, "Meta", allow_override=True)
    return library
