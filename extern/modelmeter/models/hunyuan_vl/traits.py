"""Facts about code of HunyuanOCR's vision tower, read where its forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HunYuanTraits:
    """What code does in the tower where code bases differ; the defaults are transformers'."""

    qkv_fused: bool = False
    """Query, key and value are one GEMM; otherwise three."""
    table_kept: bool = False
    """The position table stays in memory in float32; otherwise every page makes that copy of it."""
    pages_apart: bool = False
    """A block takes pages one after another, whose results are joined, and what the merger gives of each stays apart;
    otherwise attention alone goes page by page, and the merger's results are joined."""
    merged_together: bool = False
    """Pages, which are alike, go through the merger as a batch; otherwise one after another."""
