"""Pages as one square view of all of it, and square tiles in a grid where they are cut: what some workloads share.

The rules are those of the image processors of `unlimited_ocr`, its sister model and `got_ocr2` in transformers 5.23;
how many tokens come of the views is each model's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Layouts, Views
from modelmeter.models.common.image_rule import NO_TILES, WHOLE, ImageRule, KindRule, tiles
from modelmeter.models.common.tiles import (
    MAX_TILES,
    candidate_grids,
    nearest_grid,
    nearest_grids,
    page_sides,
    page_sized_for,
)
from modelmeter.page_sizes import PageSize, check_side
from modelmeter.units import ceil_div

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class PatchesGrid(NamedTuple):
    """How a page is cut, by the processor's names: tiles in columns and rows; no tiles and 1 x 1 where it is not."""

    num_local_patches: int
    num_columns: int
    num_rows: int


UNCUT = PatchesGrid(0, 1, 1)


class ImageTokens(NamedTuple):
    """Tokens of one page as the decoder sees them: the global view's with what separates them, the tiles', both."""

    global_tokens: int
    local_tokens: int
    total: int

    def by_view(self) -> dict[str, int]:
        """The global view's, and the tiles'."""
        return {"global": self.global_tokens, "local": self.local_tokens}


class GridOfTiles:
    """What a layout of tiles is called."""

    layout_columns: ClassVar[tuple[str, ...]] = ("local_patches", "patch_columns", "patch_rows")
    layout_title: ClassVar[str] = "tiles"
    layout_words: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"num_local_patches": "tiles", "num_columns": "tiles, columns", "num_rows": "tiles, rows"}
    )

    def layout_text(self, layout: Sequence[int]) -> str:
        """Columns x rows of the tiles."""
        tiles, columns, rows = layout
        return f"{columns} x {rows}" if tiles else "none"

    @property
    @abstractmethod
    def tile_side(self) -> int:
        """Side of a tile, pixels."""

    def layout_of(self, fields: Sequence[int]) -> PatchesGrid:
        """The layout with these numbers."""
        return PatchesGrid(*fields)


class TiledPages(GridOfTiles):
    """What follows of a grid of tiles, whatever becomes of them.

    min_patches, max_patches: limits of their number, both included.
    """

    min_patches: int
    max_patches: int

    @property
    @abstractmethod
    def uncut_side(self) -> int:
        """A page with no longer side is not cut."""

    @property
    def cuts(self) -> bool:
        """Whether any page is cut."""
        return True

    def check_limits(self) -> None:
        """Raise `ModelMeterError` where no number of tiles is within the limits."""
        if self.min_patches > self.max_patches:
            raise ModelMeterError(
                f"Workload: min_patches={self.min_patches} exceeds max_patches={self.max_patches}; give a min_patches "
                f"of at most {self.max_patches}."
            )

    def grid(self, columns: int, rows: int) -> PatchesGrid:
        """The layout of a page that is cut into these tiles."""
        return PatchesGrid(columns * rows, columns, rows)

    def layout(self, width: int, height: int) -> PatchesGrid:
        """How a page of `width` x `height` pixels is cut; raises `ModelMeterError` for sizes that no page has."""
        check_side("layout", "width", width)
        check_side("layout", "height", height)
        if not self.cuts or max(width, height) <= self.uncut_side:
            return UNCUT
        limits = (self.tile_side, self.min_patches, self.max_patches, self.most_a_side)
        return self.grid(*nearest_grid(width, height, *limits))

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """The same for many pages at once: sides [pages] in pixels, of an integer type."""
        if not self.cuts:
            return Layouts(page_sides("layouts", widths, heights)[0] * 0, (UNCUT,))
        limits = {
            "tile_side": self.tile_side,
            "min_num": self.min_patches,
            "max_num": self.max_patches,
            "most_a_side": self.most_a_side,
        }
        indices, grids = nearest_grids("layouts", widths, heights, uncut_side=self.uncut_side, **limits)
        layouts = [UNCUT, *(self.grid(columns, rows) for columns, rows in grids[1:])]
        one_tile = self.grid(1, 1)
        if self.min_patches == 1 and one_tile != UNCUT:  # the search tells it from no page that is not cut
            import numpy as np

            longer = np.maximum(widths, heights) > self.uncut_side
            indices = np.where((indices == 0) & longer, len(layouts), indices)
            layouts.append(one_tile)
        return Layouts(indices, layouts)

    #: the kinds of layouts, for the image rule
    kind_rules: ClassVar[tuple[KindRule, ...]] = (
        NO_TILES,
        KindRule("cut", True, (), {"columns": "1*columns", "rows": "1*rows"}),
    )

    tile_limits: ClassVar[tuple[str, str]] = ("min_patches", "max_patches")
    #: columns of tiles at most, and rows
    most_a_side: ClassVar[int] = MAX_TILES

    def check_tiled(self) -> None:
        """Every setting cuts large pages."""

    def page_of_grid(self, columns: int, rows: int) -> PageSize:
        """A page that is cut into this grid."""

        def cut(width: int, height: int) -> tuple[int, int]:
            layout = self.layout(width, height)
            return layout.num_columns, layout.num_rows

        page = page_sized_for(columns, rows, tile_side=self.tile_side, uncut_side=self.tile_side, cut=cut)
        if page is None:
            raise ModelMeterError(f"sweep: no page is cut into {columns} x {rows} tiles of {self.tile_side} pixels.")
        return page

    def kind(self, layout: PatchesGrid) -> Hashable:
        """Whether there are tiles."""
        return layout.num_local_patches > 0

    def sizes(self, layout: PatchesGrid) -> dict[str, int]:
        """Columns and rows of the tiles, where there are any."""
        return {"columns": layout.num_columns, "rows": layout.num_rows} if layout.num_local_patches else {}

    def with_sizes(self, layout: PatchesGrid, sizes: Mapping[str, Any]) -> PatchesGrid:
        """The grid of these columns and rows."""
        if not sizes:
            return layout
        columns, rows = sizes["columns"], sizes["rows"]
        return PatchesGrid(columns * rows, columns, rows)

    def image_rule(self) -> ImageRule:
        """The rule as data."""
        limits = {"least": self.min_patches, "most": self.max_patches, "most_a_side": self.most_a_side}
        steps = (tiles(side=self.tile_side, uncut=self.uncut_side, **limits) if self.cuts else WHOLE,)
        return ImageRule(steps, self.kind_rules)

    def examples(self) -> list[PatchesGrid]:
        """A layout of each kind: uncut, or cut into one row, one column, or several of both."""
        kinds = {(False, False): UNCUT}
        if self.cuts:
            for columns, rows, _ in candidate_grids(self.min_patches, self.max_patches):
                kinds.setdefault((columns > 1, rows > 1), PatchesGrid(columns * rows, columns, rows))
        return list(kinds.values())


@dataclass(frozen=True, kw_only=True)
class PatchesWorkload(TiledPages):
    """The processors' own knobs.

    size: side of the global view, pixels. tile_size: side of a tile; a page with a longer side is cut into tiles.
    min_patches, max_patches: limits of their number, both included. patch_size: of the SAM encoder, pixels.
    downsample_ratio: patches a side that become one token.
    """

    size: int = 1024
    tile_size: int
    min_patches: int = 2
    max_patches: int
    patch_size: int = 16
    downsample_ratio: int = 4

    def __post_init__(self) -> None:
        for name in ("size", "tile_size"):
            side = getattr(self, name)
            if side % self.patch_size:
                raise ModelMeterError(
                    f"Workload: {name}={side} is no multiple of patch_size={self.patch_size} (remainder "
                    f"{side % self.patch_size}); give one."
                )
        self.check_limits()

    @property
    def tile_side(self) -> int:
        """Side of a tile, pixels."""
        return self.tile_size

    @property
    def uncut_side(self) -> int:
        """A page with no longer side is not cut."""
        return self.tile_size

    @abstractmethod
    def tokens(self, layout: PatchesGrid) -> ImageTokens:
        """Image tokens of a page of this layout."""

    def queries(self, side: int) -> int:
        """Tokens along a side of a view."""
        return ceil_div(side // self.patch_size, self.downsample_ratio)

    def views(self, layout: PatchesGrid) -> tuple[Views, ...]:
        """The global view, and the tiles if there are any."""
        tokens, tiles, tile = self.tokens(layout), layout.num_local_patches, self.tile_size
        whole = Views("global", 1, self.size, self.size, 1, 1, tokens.global_tokens)
        cut = Views("local", tiles, tile, tile, layout.num_columns, layout.num_rows, tokens.local_tokens)
        return (whole, cut) if tiles else (whole,)


class ViewTokens(NamedTuple):
    """Tokens of one page as the decoder sees them: of the view of all of it, of its tiles, of both."""

    thumbnail_tokens: int
    tile_tokens: int
    total: int

    def by_view(self) -> dict[str, int]:
        """The thumbnail's, which is all of a page that is not cut, and the tiles'."""
        return {"thumbnail": self.thumbnail_tokens, "tiles": self.tile_tokens}


class PageViews(NamedTuple):
    """What vision is told of pages: how many, and the views of each."""

    pages: int
    views: int


def markers_around(layout: PatchesGrid) -> int:
    """Tokens of text that the processors of Idefics3 and its descendants write around the views of a page.

    Before each tile a sign of an image and the tile's place, behind each row a newline; two signs and a name around the
    whole page. The newline behind the last row and the one before the whole page are one token. A page that is not cut
    has two signs and a name, or a sign, a place and a newline.
    Source: `Idefics3Processor._get_num_multimodal_tokens`, `GraniteDoclingProcessor.replace_image_token`.
    """
    tiles, columns, rows = layout
    return 3 + (rows * (2 * columns + 1) if tiles else 0)


#: layouts of as many views as these markers stand around, which are of one kind
MARKED_VIEWS: Final = (
    KindRule("views", "views", (("1*columns*rows", "==", 0, 1),), {"views": "1"}, markers="3"),
    KindRule("views", "views", (), {"views": "1*tiles + 1"}, markers="2*columns*rows + 1*rows + 3"),
)


class AlikeViews(GridOfTiles):
    """Pages as views of one size: tiles, and a thumbnail of all of the page behind several of them."""

    kind_rules: ClassVar[tuple[KindRule, ...]] = (
        KindRule("views", "views", (("1*columns*rows", "==", 0, 1),), {"views": "1"}),
        KindRule("views", "views", (), {"views": "1*tiles + 1"}),
    )

    @property
    @abstractmethod
    def view_tokens(self) -> int:
        """Tokens of one view."""

    def grid(self, columns: int, rows: int) -> PatchesGrid:
        """The layout of a page that is cut into these tiles; one tile is the page itself, and has no thumbnail."""
        tiles = columns * rows
        return PatchesGrid(tiles, columns, rows) if tiles > 1 else UNCUT

    def tokens(self, layout: PatchesGrid) -> ViewTokens:
        """Image tokens of a page of this layout."""
        each, tiles = self.view_tokens, layout.num_local_patches
        return ViewTokens(each, each * tiles, each * (1 + tiles))

    def views(self, layout: PatchesGrid) -> tuple[Views, ...]:
        """The view of all of the page, and the tiles if it is cut; in the prompt the tiles come first."""
        tokens, tiles, side = self.tokens(layout), layout.num_local_patches, self.tile_side
        whole = Views("thumbnail", 1, side, side, 1, 1, tokens.thumbnail_tokens)
        cut = Views("tiles", tiles, side, side, layout.num_columns, layout.num_rows, tokens.tile_tokens)
        return (whole, cut) if tiles else (whole,)

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

    def geometry(self, layout: PatchesGrid, pages: int) -> Any:
        """What vision is told of `pages` pages of this layout."""
        return PageViews(pages, layout.num_local_patches + 1)


class ThumbnailTiles(AlikeViews, TiledPages):
    """Such pages, whatever their size, in the grid of tiles whose shape is nearest to theirs.

    size: side of a view, pixels.
    """

    size: int

    @property
    def tile_side(self) -> int:
        """Side of a tile, pixels."""
        return self.size

    @property
    def uncut_side(self) -> int:
        """Pages of any size are held against the grids."""
        return 0

    def check_tiled(self) -> None:
        """Refuse a mode without tiles."""
        if not self.cuts:
            raise ModelMeterError("sweep: this workload cuts no page; take workload=tiles.")

    def examples(self) -> list[PatchesGrid]:
        """Uncut, and cut: a batch of one view and one of several are different code."""
        if not self.cuts:
            return [UNCUT]
        columns, rows, _ = next(
            grid for grid in candidate_grids(self.min_patches, self.max_patches, self.most_a_side) if grid[:2] != (1, 1)
        )
        return [UNCUT, PatchesGrid(columns * rows, columns, rows)]
