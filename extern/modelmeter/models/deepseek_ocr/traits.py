"""Facts about code of DeepSeek-OCR's own pages, read where their forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PageTraits:
    """What code does with a page's views where code bases differ; the defaults are transformers'."""

    decoder_made_first: bool = False
    """The constructor makes the decoder, its embedding first, before the vision encoders, so a conversion of the whole
    model begins there; otherwise it makes it after them."""
    pages_looped: bool = False
    """Pages go through vision one at a time, crops first; otherwise all global views, then all crops, as batches."""
