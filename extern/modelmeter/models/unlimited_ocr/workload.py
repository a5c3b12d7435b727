"""What a page asks of Unlimited-OCR's vision: one view of all of it, tiles where it is large, its tokens.

The rule is that of `UnlimitedOcrImageProcessor` and `UnlimitedOcrProcessor` of transformers 5.23.

    >>> workload = Workload()
    >>> workload.layout(1275, 1650)
    PatchesGrid(num_local_patches=12, num_columns=3, num_rows=4)
    >>> workload.tokens(workload.layout(1275, 1650)).total
    1513

A larger page may have fewer tiles: only its shape decides the grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.patches_grid import ImageTokens, PatchesGrid, PatchesWorkload


class PageGeometry(NamedTuple):
    """What vision is told of pages: how many, the sides of a global view and of a tile, the grid (columns, rows)."""

    pages: int
    size: int
    tile_size: int
    grid: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Workload(PatchesWorkload):
    """The processor's own knobs. crop_to_patches: whether a page with a side above `tile_size` is also cut."""

    crop_to_patches: bool = True
    tile_size: int = 640
    max_patches: int = 32

    @property
    def cuts(self) -> bool:
        """Whether any page is cut."""
        return self.crop_to_patches

    def tokens(self, layout: PatchesGrid) -> ImageTokens:
        """Image tokens of a page of this layout. Source: `UnlimitedOcrProcessor.replace_image_token`."""
        whole, side = self.queries(self.size), self.queries(self.tile_size)
        local = side * layout.num_rows * (side * layout.num_columns + 1) if layout.num_local_patches else 0
        page = whole * (whole + 1) + 1
        return ImageTokens(page, local, page + local)

    def check_tiled(self) -> None:
        """Refuse a mode without tiles."""
        if not self.crop_to_patches:
            raise ModelMeterError("sweep: workload.crop_to_patches=false cuts no page; take workload=tiles.")

    def geometry(self, layout: PatchesGrid, pages: int) -> PageGeometry:
        """What vision is told of `pages` pages of this layout; without tiles their side is 0."""
        tile_size = self.tile_size if layout.num_local_patches else 0
        return PageGeometry(pages, self.size, tile_size, (layout.num_columns, layout.num_rows))


MODES: Final[Mapping[str, Workload]] = MappingProxyType({"tiles": Workload(), "whole": Workload(crop_to_patches=False)})
"""The processor as it comes, and with one view of a page only."""
