"""Facts about code of PaddleOCR-VL's projector, read where its forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ProjectorTraits:
    """What code does in the projector where code bases differ; the defaults are transformers'."""

    counted: bool = True
    """How many tokens a page has is worked out of its grid with tensors, on the host; otherwise it is known."""
    joined: bool = True
    """The image tokens of the pages that are projected are joined by a copy; otherwise each page's are by themselves,
    and all pages are through the tower before the first is projected."""
