"""Pages as one square view of all of it, and square tiles in a grid where they are large: what two workloads share.

The rule is that of the image processors of `unlimited_ocr` and its sister model in transformers 5.23; how many tokens
come of the views is each model's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Layouts, Views
from modelmeter.models.common.image_rule import WHOLE, ImageRule, KindRule, tiles
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


UNCUT = PatchesGrid(0, 1, 1)


class ImageTokens(NamedTuple):
    """Tokens of one page as the decoder sees them: the global view's with what separates them, the tiles', both."""

    global_tokens: int
    local_tokens: int
    total: int

    def by_view(self) -> dict[str, int]:
        """The global view's, and the tiles'."""
        return {"global": self.global_tokens, "local": self.local_tokens}


@dataclass(frozen=True, kw_only=True)
class PatchesWorkload:
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

    @property
    def cuts(self) -> bool:
        """Whether any page is cut."""
        return True

    def layout(self, width: int, height: int) -> PatchesGrid:
        """How a page of `width` x `height` pixels is cut; raises `ModelMeterError` for sizes that no page has."""
        check_side("layout", "width", width)
        check_side("layout", "height", height)
        if not self.cuts or max(width, height) <= self.tile_size:
            return UNCUT
        columns, rows = nearest_grid(width, height, self.tile_size, self.min_patches, self.max_patches)
        return PatchesGrid(columns * rows, columns, rows)

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """The same for many pages at once: sides [pages] in pixels, of an integer type."""
        if not self.cuts:
            return Layouts(page_sides("layouts", widths, heights)[0] * 0, (UNCUT,))
        limits = {"tile_side": self.tile_size, "min_num": self.min_patches, "max_num": self.max_patches}
        indices, grids = nearest_grids("layouts", widths, heights, uncut_side=self.tile_size, **limits)
        return Layouts(indices, (UNCUT, *(PatchesGrid(columns * rows, columns, rows) for columns, rows in grids[1:])))

    def layout_of(self, fields: Sequence[int]) -> PatchesGrid:
        """The layout with these numbers."""
        return PatchesGrid(*fields)

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

    #: the sizes of a layout with tiles, over what the image rule gives
    cut_variables: ClassVar[Mapping[str, str]] = MappingProxyType({"columns": "1*columns", "rows": "1*rows"})

    tile_limits: ClassVar[tuple[str, str]] = ("min_patches", "max_patches")

    def check_tiled(self) -> None:
        """Every setting cuts large pages."""

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

    def image_rule(self) -> ImageRule:
        """The rule as data."""
        uncut = KindRule("uncut", False, (("1*tiles", "==", 0, 0),), {})
        limits = {"side": self.tile_size, "least": self.min_patches, "most": self.max_patches}
        steps = (tiles(uncut=self.tile_size, **limits) if self.cuts else WHOLE,)
        return ImageRule(steps, (uncut, KindRule("cut", True, (), self.cut_variables)))

    def examples(self) -> list[PatchesGrid]:
        """A layout of each kind: uncut, or cut into one row, one column, or several of both."""
        kinds = {(False, False): UNCUT}
        if self.cuts:
            for columns, rows, _ in candidate_grids(self.min_patches, self.max_patches):
                kinds.setdefault((columns > 1, rows > 1), PatchesGrid(columns * rows, columns, rows))
        return list(kinds.values())
