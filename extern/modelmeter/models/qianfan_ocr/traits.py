"""Facts about code of Qianfan-OCR's tower, read where its forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class InternVitTraits:
    """What code does in the tower where code bases differ; the defaults are transformers'."""

    qkv_fused: bool = False
    """Queries, keys and values are one GEMM."""
    patches_kept: bool = False
    """The patches stay until positions are added; otherwise they go once the class token stands before them."""
    attention_over_sequences: bool = False
    """Attention is the FlashAttention package's function for sequences of any lengths, which is told where each view
    begins and writes its log-sum-exp; otherwise it is PyTorch's, or an engine's at its best."""
