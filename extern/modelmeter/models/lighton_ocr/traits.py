"""Facts about code of LightOnOCR's vision tower, read where its forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PixtralTraits:
    """What code does in the Pixtral tower where code bases differ; the defaults are transformers'."""

    qkv_fused: bool = False
    """Query, key and value are one product; otherwise three."""
    positions_given: bool = False
    """Pages attend each by itself, and the place of each patch comes with them, by which rows of rotary tables are
    looked up; otherwise places, tables, and a mask of all patches by all are made in every pass."""
