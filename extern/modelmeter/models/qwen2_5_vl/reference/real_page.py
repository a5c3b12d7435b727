"""A page through transformers' Qwen2.5-VL with real tensors and random weights: the passes that are timed."""

from __future__ import annotations

from functools import partial
from typing import Final

from modelmeter.models.common.reference.real_pages import packed_real_page
from modelmeter.models.qwen2_5_vl.reference.page import PageReference

#: the whole model that a configuration describes, on a device that computes, and a page's inputs
real_page: Final = partial(packed_real_page, make=PageReference)
