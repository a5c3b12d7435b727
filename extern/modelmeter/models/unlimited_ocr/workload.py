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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Layouts, Views
from modelmeter.models.common.tiles import candidate_grids, nearest_grid, nearest_grids, page_sides, page_sized_for
from modelmeter.page_sizes import PageSize, check_side
from modelmeter.units import ceil_div

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class PatchesGrid(NamedTuple):
    """How a page is cut, by the processor's names: tiles in columns and rows; no tiles and 1 x 1 where it is not."""

    num_local_patches: int
    num_columns: int
    num_rows: int


class ImageTokens(NamedTuple):
    """Tokens of one page as the decoder sees them: the global view's with newlines and separator, the tiles', both."""

    global_tokens: int
    local_tokens: int
    total: int

    def by_view(self) -> dict[str, int]:
        """The global view's, and the tiles'."""
        return {"global": self.global_tokens, "local": self.local_tokens}


class PageGeometry(NamedTuple):
    """What vision is told of pages: how many, the sides of a global view and of a tile, the grid (columns, rows)."""

    pages: int
    size: int
    tile_size: int
    grid: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The processor's own knobs.

    size: side of the global view, pixels. crop_to_patches: whether a page with a side above `tile_size` is also cut
    into tiles of it. min_patches, max_patches: limits of their number, both included. patch_size: of the SAM encoder,
    pixels. downsample_ratio: patches a side that become one token.
    """

    size: int = 1024
    crop_to_patches: bool = True
    tile_size: int = 640
    min_patches: int = 2
    max_patches: int = 32
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
        if self.min_patches > self.max_patches:
            raise ModelMeterError(
                f"Workload: min_patches={self.min_patches} exceeds max_patches={self.max_patches}; give a min_patches "
                f"of at most {self.max_patches}."
            )

    layout_columns: ClassVar[tuple[str, ...]] = ("local_patches", "patch_columns", "patch_rows")
    layout_title: ClassVar[str] = "tiles"
    layout_words: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"num_local_patches": "tiles", "num_columns": "tiles, columns", "num_rows": "tiles, rows"}
    )

    def layout_text(self, layout: Sequence[int]) -> str:
        """Columns x rows of the tiles."""
        tiles, columns, rows = layout
        return f"{columns} x {rows}" if tiles else "none"

    def layout(self, width: int, height: int) -> PatchesGrid:
        """How a page of `width` x `height` pixels is cut; raises `ModelMeterError` for sizes that no page has."""
        check_side("layout", "width", width)
        check_side("layout", "height", height)
        if not self.crop_to_patches or max(width, height) <= self.tile_size:
            return PatchesGrid(0, 1, 1)
        columns, rows = nearest_grid(width, height, self.tile_size, self.min_patches, self.max_patches)
        return PatchesGrid(columns * rows, columns, rows)

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """The same for many pages at once: sides [pages] in pixels, of an integer type."""
        uncut = PatchesGrid(0, 1, 1)
        if not self.crop_to_patches:
            return Layouts(page_sides("layouts", widths, heights)[0] * 0, (uncut,))
        limits = {"tile_side": self.tile_size, "min_num": self.min_patches, "max_num": self.max_patches}
        indices, grids = nearest_grids("layouts", widths, heights, uncut_side=self.tile_size, **limits)
        return Layouts(indices, (uncut, *(PatchesGrid(columns * rows, columns, rows) for columns, rows in grids[1:])))

    def layout_of(self, fields: Sequence[int]) -> PatchesGrid:
        """The layout with these numbers."""
        return PatchesGrid(*fields)

    def tokens(self, layout: PatchesGrid) -> ImageTokens:
        """Image tokens of a page of this layout. Source: `UnlimitedOcrProcessor.replace_image_token`."""
        whole, side = self._queries(self.size), self._queries(self.tile_size)
        local = side * layout.num_rows * (side * layout.num_columns + 1) if layout.num_local_patches else 0
        page = whole * (whole + 1) + 1
        return ImageTokens(page, local, page + local)

    def _queries(self, side: int) -> int:
        return ceil_div(side // self.patch_size, self.downsample_ratio)

    def views(self, layout: PatchesGrid) -> tuple[Views, ...]:
        """The global view, and the tiles if there are any."""
        tokens, tiles, tile = self.tokens(layout), layout.num_local_patches, self.tile_size
        whole = Views("global", 1, self.size, self.size, 1, 1, tokens.global_tokens)
        cut = Views("local", tiles, tile, tile, layout.num_columns, layout.num_rows, tokens.local_tokens)
        return (whole, cut) if tiles else (whole,)

    tile_limits: ClassVar[tuple[str, str]] = ("min_patches", "max_patches")

    def check_tiled(self) -> None:
        """Refuse a mode without tiles."""
        if not self.crop_to_patches:
            raise ModelMeterError("sweep: workload.crop_to_patches=false cuts no page; take workload=tiles.")

    def page_of_grid(self, columns: int, rows: int) -> PageSize:
        """A page that is cut into this grid."""

        def cut(width: int, height: int) -> tuple[int, int]:
            layout = self.layout(width, height)
            return layout.num_columns, layout.num_rows

        page = page_sized_for(columns, rows, tile_side=self.tile_size, uncut_side=self.tile_size, cut=cut)
        if page is None:
            raise ModelMeterError(f"sweep: no page is cut into {columns} x {rows} tiles of {self.tile_size} pixels.")
        return page

    def kind(self, layout: PatchesGrid) -> bool:
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

    def geometry(self, layout: PatchesGrid, pages: int) -> PageGeometry:
        """What vision is told of `pages` pages of this layout; without tiles their side is 0."""
        tile_size = self.tile_size if layout.num_local_patches else 0
        return PageGeometry(pages, self.size, tile_size, (layout.num_columns, layout.num_rows))

    def examples(self) -> list[PatchesGrid]:
        """A layout of each kind: uncut, or cut into one row, one column, or several of both."""
        kinds = {(False, False): PatchesGrid(0, 1, 1)}
        if self.crop_to_patches:
            for columns, rows, _ in candidate_grids(self.min_patches, self.max_patches):
                kinds.setdefault((columns > 1, rows > 1), PatchesGrid(columns * rows, columns, rows))
        return list(kinds.values())


MODES: Final[Mapping[str, Workload]] = MappingProxyType({"tiles": Workload(), "whole": Workload(crop_to_patches=False)})
"""The processor as it comes, and with one view of a page only."""
