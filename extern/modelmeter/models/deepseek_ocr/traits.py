"""Facts about code of DeepSeek-OCR's own layers, read where their forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClipTraits:
    """What code of the CLIP tower does where code bases differ; the defaults are transformers'."""

    patch_convolution: bool = False
    """The CLIP tower has the parameters of a patch convolution that never runs."""
    qkv_fused: bool = False
    """Queries, keys and values of the CLIP tower are one product."""
    attention_kept: bool = False
    """A CLIP block keeps its attention's output by name to its end."""
    embeddings_kept: bool = False
    """The CLIP tower keeps its embeddings by name while the blocks run."""
    positions_looked_up: bool = False
    """The CLIP tower looks its position table up by index even where it is resized then."""


@dataclass(frozen=True, kw_only=True)
class PageTraits:
    """What code does with a page's views where code bases differ; the defaults are transformers'."""

    decoder_made_first: bool = False
    """The constructor makes the decoder, its embedding first, before the vision encoders, so a conversion of the whole
    model begins there; otherwise it makes it after them."""
    pages_looped: bool = False
    """Pages go through vision one at a time, crops first; otherwise all global views, then all crops, as batches."""
    image_tokens_first: bool = False
    """A page's image tokens are made before the prompt is embedded, put among its rows, and dropped; otherwise they
    and what they were made from are held on."""
