"""What a page asks of Qianfan-OCR's vision: tiles in a grid near its shape, a thumbnail behind several, their tokens.

The rule is that of `GotOcr2ImageProcessor` and `QianfanOCRProcessor` of transformers 5.23.

    >>> workload = Workload()
    >>> workload.layout(1275, 1650)
    PatchesGrid(num_local_patches=12, num_columns=3, num_rows=4)
    >>> workload.tokens(workload.layout(1275, 1650)).total
    3328

Tiles and thumbnail are views of one size; how they lie costs nothing. A larger page may have fewer of them: its shape
decides the grid, and its area only between grids that are equally near.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Views
from modelmeter.models.common.image_rule import KindRule
from modelmeter.models.common.patches_grid import UNCUT, PatchesGrid, TiledPages
from modelmeter.models.common.tiles import candidate_grids

#: shares of a side that pixel shuffle leaves, which a float holds exactly
RATIOS: Final = (1.0, 0.5, 0.25, 0.125)


class ImageTokens(NamedTuple):
    """Tokens of one page as the decoder sees them: of the view of all of it, of its tiles, of both."""

    thumbnail_tokens: int
    tile_tokens: int
    total: int

    def by_view(self) -> dict[str, int]:
        """The thumbnail's, which is all of a page that is not cut, and the tiles'."""
        return {"thumbnail": self.thumbnail_tokens, "tiles": self.tile_tokens}


class PageGeometry(NamedTuple):
    """What vision is told of pages: how many, and the views of each."""

    pages: int
    views: int


@dataclass(frozen=True, kw_only=True)
class Workload(TiledPages):
    """The processor's own knobs, and the tower's that say how many tokens a view has.

    size: side of a view, pixels. crop_to_patches: whether pages are cut. min_patches, max_patches: limits of the number
    of tiles, both included; the thumbnail comes on top. patch_size: of the tower, pixels. downsample_ratio: the share
    of a side that pixel shuffle leaves.
    """

    size: int = 448
    crop_to_patches: bool = True
    min_patches: int = 1
    max_patches: int = 12
    patch_size: int = 14
    downsample_ratio: float = 0.5

    def __post_init__(self) -> None:
        if self.downsample_ratio not in RATIOS:
            raise ModelMeterError(
                f"Workload: downsample_ratio={self.downsample_ratio:g} is none that is modelled; give "
                f"{', '.join(f'{each:g}' for each in RATIOS)}."
            )
        token = self.patch_size * self.shuffled
        if self.size % token:
            raise ModelMeterError(
                f"Workload: size={self.size} is no multiple of the {token} pixels of a token, {self.shuffled} patches "
                f"of patch_size={self.patch_size} (remainder {self.size % token}); give one."
            )
        self.check_limits()

    @property
    def tile_side(self) -> int:
        """Side of a tile, pixels."""
        return self.size

    @property
    def uncut_side(self) -> int:
        """Pages of any size are held against the grids."""
        return 0

    @property
    def cuts(self) -> bool:
        """Whether any page is cut."""
        return self.crop_to_patches and self.max_patches > 1

    @property
    def shuffled(self) -> int:
        """Patches a side that become one token."""
        return int(1 / self.downsample_ratio)

    @property
    def view_tokens(self) -> int:
        """Tokens of one view: the processor's `image_seq_length`."""
        return (self.size // self.patch_size // self.shuffled) ** 2

    def grid(self, columns: int, rows: int) -> PatchesGrid:
        """The layout of a page that is cut into these tiles; one tile is the page itself, and has no thumbnail."""
        return super().grid(columns, rows) if columns * rows > 1 else UNCUT

    def tokens(self, layout: PatchesGrid) -> ImageTokens:
        """Image tokens of a page of this layout. Source: `QianfanOCRProcessor.replace_image_token`."""
        each, tiles = self.view_tokens, layout.num_local_patches
        return ImageTokens(each, each * tiles, each * (1 + tiles))

    def views(self, layout: PatchesGrid) -> tuple[Views, ...]:
        """The view of all of the page, and the tiles if it is cut; in the prompt the tiles come first."""
        tokens, tiles, side = self.tokens(layout), layout.num_local_patches, self.size
        whole = Views("thumbnail", 1, side, side, 1, 1, tokens.thumbnail_tokens)
        cut = Views("tiles", tiles, side, side, layout.num_columns, layout.num_rows, tokens.tile_tokens)
        return (whole, cut) if tiles else (whole,)

    def check_tiled(self) -> None:
        """Refuse a mode without tiles."""
        if not self.cuts:
            raise ModelMeterError(
                f"sweep: workload.crop_to_patches={str(self.crop_to_patches).lower()} and max_patches="
                f"{self.max_patches} cut no page; take workload=tiles."
            )

    kind_rules: ClassVar[tuple[KindRule, ...]] = (
        KindRule("views", "views", (("1*columns*rows", "==", 0, 1),), {"views": "1"}),
        KindRule("views", "views", (), {"views": "1*tiles + 1"}),
    )

    def kind(self, layout: PatchesGrid) -> str:
        """All pages are views alike."""
        return "views"

    def sizes(self, layout: PatchesGrid) -> dict[str, int]:
        """The number of views."""
        return {"views": layout.num_local_patches + 1}

    def with_sizes(self, layout: PatchesGrid, sizes: Mapping[str, Any]) -> PatchesGrid:
        """So many views: the thumbnail, and the other ones in a row."""
        tiles = sizes["views"] - 1
        return PatchesGrid(tiles, tiles, 1)

    def geometry(self, layout: PatchesGrid, pages: int) -> PageGeometry:
        """What vision is told of `pages` pages of this layout."""
        return PageGeometry(pages, layout.num_local_patches + 1)

    def examples(self) -> list[PatchesGrid]:
        """Uncut, and cut: a batch of one view and one of several are different code."""
        if not self.cuts:
            return [UNCUT]
        columns, rows, _ = next(
            grid for grid in candidate_grids(self.min_patches, self.max_patches) if grid[:2] != (1, 1)
        )
        return [UNCUT, PatchesGrid(columns * rows, columns, rows)]


MODES: Final[Mapping[str, Workload]] = MappingProxyType({"tiles": Workload(), "whole": Workload(crop_to_patches=False)})
"""The processor as it comes, and with one view of a page only."""
