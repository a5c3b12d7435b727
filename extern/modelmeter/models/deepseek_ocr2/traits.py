"""Facts about code of DeepSeek-OCR-2's encoder, read where its forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class QueryEncoderTraits:
    """What code does in the encoder where code bases differ; the defaults are transformers'."""

    cached_decoder: bool = False
    """The encoder is a library's language model as it is: it fills a KV cache, which nobody reads, and is given a mask
    of numbers that is filled view by view, query by query; otherwise there is no cache, and one mask of truth values is
    made at once."""
