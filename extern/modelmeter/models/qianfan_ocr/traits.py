"""Facts about code of Qianfan-OCR's tower, read where its forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class InternVitTraits:
    """What code does in the tower where code bases differ; the defaults are transformers'."""

    qkv_fused: bool = False
    """Queries, keys and values are one GEMM."""
    names_kept: bool = False
    """The patches stay until positions are added, and the embeddings while the blocks run; otherwise each goes once the
    next is made of it."""
    positions_resized: bool = False
    """The positions of the patches are resized in every pass, in float32, to the side that they have."""
    starts_made: str = ""
    """Attention is the FlashAttention package's function for sequences of any lengths, which is told where each view
    begins and writes its log-sum-exp: by numbers that are made in each "layer", or once a "pass". Nothing: it is
    PyTorch's, or an engine's at its best."""
