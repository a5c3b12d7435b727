"""Facts about code of LightOnOCR's vision tower, read where its forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PixtralTraits:
    """What code does in the Pixtral tower where code bases differ; the defaults are transformers'."""

    qkv_fused: bool = False
    """Query, key and value are one GEMM; otherwise three."""
    positions_given: bool = False
    """Pages attend each by itself, and the place of each patch comes with them, by which rows of rotary tables are
    looked up; otherwise places, tables, and a mask of all patches by all are made in every pass."""
    angles_looked_up: bool = False
    """The place of each patch comes with the pages, by which angles are looked up, in float32; cosines and sines of
    them are made in every pass."""
    mask_unread: bool = False
    """A mask of all patches by all is made, and held, that attention does not read."""
    features_joined: bool = False
    """The tower's output is split by page, and joined again for the projection."""
