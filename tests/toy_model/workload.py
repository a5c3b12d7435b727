"""What a page becomes: one grid of patches, and a token of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from modelmeter.models.common.contract import Layouts, Views
from modelmeter.page_sizes import check_side

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: patches a side of a window of attention; a page has as many a side or more
WINDOW: Final = 4


class Grid(NamedTuple):
    """A page in patches."""

    columns: int
    rows: int


class Geometry(NamedTuple):
    """What the vision pass is told: pages, and the patches of each."""

    pages: int
    columns: int
    rows: int


class Tokens(NamedTuple):
    """Image tokens of a page."""

    total: int

    def by_view(self) -> dict[str, int]:
        """All are the page's."""
        return {"page": self.total}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """patch_size: pixels a side. max_patches: a side; a larger page is made smaller."""

    patch_size: int = 28
    max_patches: int = 64

    layout_columns: ClassVar[Sequence[str]] = Grid._fields
    layout_title: ClassVar[str] = "patches"
    layout_words: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"columns": "patches, columns", "rows": "patches, rows"}
    )

    def layout_text(self, layout: Sequence[int]) -> str:
        """Columns x rows."""
        return " x ".join(map(str, layout))

    def layout(self, width: int, height: int) -> Grid:
        """Each side rounded to whole patches."""
        check_side("toy", "width", width)
        check_side("toy", "height", height)
        half = self.patch_size // 2
        columns, rows = ((side + half) // self.patch_size for side in (width, height))
        return Grid(*(min(max(patches, WINDOW), self.max_patches) for patches in (columns, rows)))

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """The same of many pages at once."""
        import numpy as np

        sides = np.stack([np.asarray(widths, np.int64), np.asarray(heights, np.int64)], axis=1)
        grids = np.clip((sides + self.patch_size // 2) // self.patch_size, WINDOW, self.max_patches)
        distinct, indices = np.unique(grids, axis=0, return_inverse=True)
        return Layouts(indices, [Grid(*grid) for grid in distinct.tolist()])

    def layout_of(self, fields: Sequence[int]) -> Grid:
        """The grid with these columns and rows."""
        return Grid(*fields)

    def tokens(self, layout: Grid) -> Tokens:
        """One of each patch."""
        return Tokens(layout.columns * layout.rows)

    def views(self, layout: Grid) -> tuple[Views, ...]:
        """The page, made to fit whole patches."""
        height, width = layout.rows * self.patch_size, layout.columns * self.patch_size
        return (Views("page", 1, height, width, 1, 1, layout.columns * layout.rows),)

    def kind(self, layout: Grid) -> None:
        """All are of one kind; how windows divide them, the laws find out."""

    def sizes(self, layout: Grid) -> dict[str, int]:
        """Columns and rows vary."""
        return layout._asdict()

    def with_sizes(self, layout: Grid, sizes: Mapping[str, Any]) -> Grid:
        """The grid of these."""
        return Grid(**sizes)

    def geometry(self, layout: Grid, pages: int) -> Geometry:
        """The grid of so many pages."""
        return Geometry(pages, *layout)

    def examples(self) -> list[Grid]:
        """One for each way in which windows divide a grid."""
        sides = range(WINDOW, min(2 * WINDOW, self.max_patches + 1))
        return [Grid(columns, rows) for columns, rows in product(sides, sides)]


MODES: Final[Mapping[str, Workload]] = MappingProxyType({"page": Workload(), "thumbnail": Workload(max_patches=13)})
