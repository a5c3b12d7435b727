"""What a page becomes before LightOnOCR sees it: one grid of patches, and a token of each square of them.

The rule is that of `PixtralImageProcessor` and `LightOnOcrProcessor` of transformers 5.23, with the values of
lightonai/LightOnOCR-1B-1025 (preprocessor_config.json, processor_config.json).

    >>> workload = Workload()
    >>> workload.layout(1275, 1650)
    PatchGrid(columns=85, rows=110)
    >>> workload.tokens(workload.layout(1275, 1650)).total
    2310
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Layouts, Views
from modelmeter.models.common.image_rule import ImageRule, one_kind
from modelmeter.models.common.tiles import page_sides
from modelmeter.page_sizes import check_side
from modelmeter.units import ceil_div

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class PatchGrid(NamedTuple):
    """A page in patches."""

    columns: int
    rows: int


class Geometry(NamedTuple):
    """What the vision pass is told: pages, and the patches of each; the numbers may be sizes that vary."""

    pages: int
    columns: int
    rows: int


class ImageTokens(NamedTuple):
    """Image tokens of a page."""

    total: int

    def by_view(self) -> dict[str, int]:
        """All are the page's."""
        return {"page": self.total}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The processor's own knobs.

    longest_edge: pixels; a page with a longer side is made smaller, its shape kept; none is made larger. patch_size:
    pixels a side. spatial_merge_size: patches a side of the square that becomes a token. whole_squares: each side is
    filled up to whole squares, as `PixtralProcessor` does, which vLLM asks (models/mistral3.py,
    Mistral3ProcessingInfo); otherwise to whole patches, and those that fill no square are dropped, as
    `LightOnOcrProcessor` does.
    """

    longest_edge: int = 1540
    patch_size: int = 14
    spatial_merge_size: int = 2
    whole_squares: bool = False

    def __post_init__(self) -> None:
        least = 1 if self.whole_squares else self.patch_size * (self.spatial_merge_size - 1) + 1
        if self.longest_edge < least:
            raise ModelMeterError(
                f"Workload: longest_edge={self.longest_edge} leaves no token of {self.spatial_merge_size} x "
                f"{self.spatial_merge_size} patches of {self.patch_size} pixels; give {least} or more."
            )

    @property
    def _multiple(self) -> int:
        """Patches that a side is filled up to a multiple of."""
        return self.spatial_merge_size if self.whole_squares else 1

    layout_columns: ClassVar[Sequence[str]] = ("patch_columns", "patch_rows")
    layout_title: ClassVar[str] = "patches"
    layout_words: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"columns": "patches, columns", "rows": "patches, rows"}
    )

    def layout_text(self, layout: Sequence[int]) -> str:
        """Columns x rows."""
        columns, rows = layout
        return f"{columns} x {rows}"

    def layout(self, width: int, height: int) -> PatchGrid:
        """The patches of a page of `width` x `height` pixels; raises `ModelMeterError` for sizes that no page has."""
        check_side("layout", "width", width)
        check_side("layout", "height", height)
        # floats on purpose: the library's own quotients, rounded down
        ratio = max(height / self.longest_edge, width / self.longest_edge)
        if ratio > 1:
            width, height = int(width / ratio), int(height / ratio)
        multiple = self._multiple
        return PatchGrid(*(ceil_div(side, self.patch_size * multiple) * multiple for side in (width, height)))

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """The same for many pages at once: sides [pages] in pixels, of an integer type."""
        import numpy as np

        sides = np.stack(page_sides("layouts", widths, heights), axis=1)
        ratio = np.max(sides / self.longest_edge, axis=1, keepdims=True, initial=1)  # sides are below 2**53
        shrunk = np.where(ratio > 1, (sides / ratio).astype(np.int64), sides)
        grids = -(-shrunk // (self.patch_size * self._multiple)) * self._multiple
        most = (
            self.longest_edge + self.spatial_merge_size
        )  # grids are told apart as single numbers, which sort faster than pairs
        distinct, indices = np.unique(grids[:, 0] * most + grids[:, 1], return_inverse=True)
        return Layouts(indices, [PatchGrid(*divmod(grid, most)) for grid in distinct.tolist()])

    def layout_of(self, fields: Sequence[int]) -> PatchGrid:
        """The grid with these numbers."""
        return PatchGrid(*fields)

    def tokens(self, layout: PatchGrid) -> ImageTokens:
        """Image tokens of a page of this layout; raises `ModelMeterError` where there are none.

        A last row or column that fills no square is dropped. Source: `LightOnOcrProcessor.replace_image_token`.
        """
        side = self.spatial_merge_size
        columns, rows = layout
        if columns < side or rows < side:
            raise ModelMeterError(
                f"tokens: a page of {columns} x {rows} patches has no square of {side} x {side} to make a token of, "
                f"and the model fails on it; give a page whose shorter side is above {self.patch_size * (side - 1)} "
                f"pixels once its longer one is {self.longest_edge} at most."
            )
        return ImageTokens((columns // side) * (rows // side))

    def views(self, layout: PatchGrid) -> tuple[Views, ...]:
        """The page, made to fit whole patches."""
        height, width = layout.rows * self.patch_size, layout.columns * self.patch_size
        return (Views("page", 1, height, width, 1, 1, self.tokens(layout).total),)

    def kind(self, layout: PatchGrid) -> None:
        """All are of one kind; how squares and a mask's rows divide them, the laws find out."""

    def sizes(self, layout: PatchGrid) -> dict[str, int]:
        """Columns and rows vary."""
        return layout._asdict()

    def with_sizes(self, layout: PatchGrid, sizes: Mapping[str, Any]) -> PatchGrid:
        """The grid of these."""
        return PatchGrid(**sizes)

    def geometry(self, layout: PatchGrid, pages: int) -> Geometry:
        """The grid of so many pages."""
        return Geometry(pages, *layout)

    def image_rule(self) -> ImageRule:
        """The rule as data."""
        return one_kind(
            {"do": "fit", "pixels": self.longest_edge},
            {"do": "cover", "side": self.patch_size, "multiple": self._multiple},
        )

    def examples(self) -> list[PatchGrid]:
        """One for each remainder that a grid may leave, and its patches by the 8 that a mask's rows are aligned to."""
        side = self.spatial_merge_size
        found: dict[tuple[int, ...], PatchGrid] = {}
        most = self.layout(self.longest_edge, self.longest_edge).columns
        sides = range(min(max(side, most - 8 * side), most), most + 1, self._multiple)
        for columns, rows in product(sides, sides):
            found.setdefault((columns % side, rows % side, columns * rows % 8), PatchGrid(columns, rows))
        return list(found.values())


MODES: Final[Mapping[str, Workload]] = MappingProxyType({"page": Workload(), "squares": Workload(whole_squares=True)})
