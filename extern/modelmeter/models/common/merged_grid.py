"""Pages as one grid of patches, of which square blocks become a token each: the Qwen family's image rule and layout.

Sides are pixels, grids are counted in tokens (columns x rows). A page is resized so that its sides are multiples of
a token's, its area is within limits and its shape is kept as far as that goes.
Source: `smart_resize` of transformers 5.23 (`image_processing_pil_qwen2_vl`), whose floats are kept: both functions
here give what it gives, side for side.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.layers.vision.packed import Grid
from modelmeter.models.common.contract import Layouts, Views
from modelmeter.models.common.image_rule import ImageRule, Step, no_rule, one_kind
from modelmeter.models.common.tiles import page_sides
from modelmeter.page_sizes import check_side
from modelmeter.units import ceil_div

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

#: the longer side over the shorter one, above which the rule refuses a page
MAX_ASPECT_RATIO: Final = 200

#: the largest area that a float holds exactly, pixels
_EXACT_AREA: Final = 2**53


def smart_resize(
    width: int, height: int, factor: int, min_pixels: int, max_pixels: int, frames: int = 1
) -> tuple[int, int]:
    """(width, height) that a page which is not `too_long` is resized to, multiples of `factor`.

    frames: how often the page stands in the area that is within the limits.
    """
    width_bar, height_bar = (round(side / factor) * factor for side in (width, height))
    if frames * width_bar * height_bar > max_pixels:
        beta = math.sqrt((frames * height * width) / max_pixels)
        width_bar, height_bar = (max(factor, math.floor(side / beta / factor) * factor) for side in (width, height))
    elif frames * width_bar * height_bar < min_pixels:
        beta = math.sqrt(min_pixels / (frames * height * width))
        width_bar, height_bar = (math.ceil(side * beta / factor) * factor for side in (width, height))
    return width_bar, height_bar


def too_long(width: int, height: int) -> bool:
    """Whether the rule refuses a page: its longer side is more than `MAX_ASPECT_RATIO` times the shorter one."""
    return max(width, height) > MAX_ASPECT_RATIO * min(width, height)


def refusal(page: str) -> str:
    """Why a page is refused."""
    return (
        f"layout: {page} an aspect ratio above {MAX_ASPECT_RATIO}, the most that the model's preprocessing takes; give "
        "a page less long."
    )


def smart_resizes(
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
    factor: int,
    min_pixels: int,
    max_pixels: int,
    frames: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`smart_resize` of many pages at once, sides [pages], none of which it refuses."""
    import numpy as np

    sides = np.stack((widths, heights))
    resized = np.rint(sides / factor).astype(np.int64) * factor
    area, resized_area = frames * widths * heights, resized[0] * resized[1]
    above, below = resized_area > max_pixels // frames, resized_area < ceil_div(min_pixels, frames)
    shrunk = sides[:, above] / np.sqrt(area[above] / max_pixels) / factor
    resized[:, above] = np.maximum(np.floor(shrunk).astype(np.int64), 1) * factor
    grown = sides[:, below] * np.sqrt(min_pixels / area[below]) / factor
    resized[:, below] = np.ceil(grown).astype(np.int64) * factor
    for page in np.flatnonzero(above & (area > _EXACT_AREA)):  # numpy would round the area before it divides
        one = int(widths[page]), int(heights[page])
        resized[:, page] = smart_resize(*one, factor, min_pixels, max_pixels, frames)
    return resized[0], resized[1]


class MergedGrid(NamedTuple):
    """A page in tokens of merged patches."""

    columns: int
    rows: int


#: the layout of a page that the rule refuses: of many pages, it is told page by page
REFUSED: Final = MergedGrid(0, 0)


class GridTokens(NamedTuple):
    """Image tokens of a page."""

    total: int

    def by_view(self) -> dict[str, int]:
        """All are the page's."""
        return {"page": self.total}


@dataclass(frozen=True, kw_only=True)
class MergedGridWorkload:
    """A page scaled by the published pipeline, resized by the model's own preprocessing, and cut into patches.

    patch_size: pixels a side. merge_size: patches a side that become one token. min_pixels, max_pixels: of the resized
    page. A model says what its pipeline does before: `scaled`, and the same for many pages.
    """

    patch_size: int = 14
    merge_size: int = 2
    min_pixels: int = 3136
    max_pixels: int = 12_845_056

    #: how often a page stands in the area that is within the limits
    frames: ClassVar[int] = 1
    #: tokens a side of a window of the vision tower, whose remainders the laws of pages go by; 1: it has none
    window: ClassVar[int] = 1

    layout_columns: ClassVar[tuple[str, ...]] = ("token_columns", "token_rows")
    layout_title: ClassVar[str] = "tokens"
    layout_words: ClassVar[Mapping[str, str]] = MappingProxyType({"columns": "tokens, columns", "rows": "tokens, rows"})

    def __post_init__(self) -> None:
        if self.min_pixels > self.max_pixels:
            raise ModelMeterError(
                f"Workload: min_pixels={self.min_pixels} exceeds max_pixels={self.max_pixels}; give a min_pixels of at "
                f"most {self.max_pixels}."
            )

    @property
    def token_side(self) -> int:
        """Pixels a side of the block of patches that becomes one token."""
        return self.patch_size * self.merge_size

    @abstractmethod
    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in pixels that the published pipeline gives the preprocessing."""

    @abstractmethod
    def all_scaled(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of many pages."""

    def layout_text(self, layout: Sequence[int]) -> str:
        """Columns x rows."""
        return " x ".join(map(str, layout))

    def layout(self, width: int, height: int) -> MergedGrid:
        """The grid of a page of `width` x `height` pixels; raises `ModelMeterError` for sizes that it takes not."""
        check_side("layout", "width", width)
        check_side("layout", "height", height)
        scaled = self.scaled(width, height)
        if too_long(*scaled):
            origin = "" if scaled == (width, height) else f", scaled from {width} x {height},"
            raise ModelMeterError(refusal(f"{scaled[0]} x {scaled[1]} pixels{origin} have"))
        resized = smart_resize(*scaled, self.token_side, self.min_pixels, self.max_pixels, self.frames)
        return MergedGrid(*(side // self.token_side for side in resized))

    def largest(self) -> MergedGrid:
        """The grid of most tokens that the limits allow, as near to a square as their number divides.

        What vLLM profiles (`Qwen2VLProcessingInfo.get_image_size_with_most_features`, models/qwen2_vl.py), whatever
        the published pipeline does to a page before.
        """
        tokens = self.max_pixels // (self.frames * self.token_side**2)
        while True:
            rows = next(side for side in range(math.isqrt(tokens), 0, -1) if tokens % side == 0)
            if not too_long(tokens // rows, rows):
                return MergedGrid(tokens // rows, rows)
            tokens -= 1

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """The same for many pages at once: sides [pages] in pixels, of an integer type."""
        import numpy as np

        all_w, all_h = self.all_scaled(*page_sides("layouts", widths, heights))
        taken = np.maximum(all_w, all_h) <= MAX_ASPECT_RATIO * np.minimum(all_w, all_h)
        limits = (self.token_side, self.min_pixels, self.max_pixels, self.frames)
        columns, rows = np.zeros_like(all_w), np.zeros_like(all_h)
        resized = smart_resizes(all_w[taken], all_h[taken], *limits)
        columns[taken], rows[taken] = (side // self.token_side for side in resized)
        keys, indices = np.unique(columns << 32 | rows, return_inverse=True)
        return Layouts(indices, [MergedGrid(*divmod(key, 1 << 32)) for key in keys.tolist()])

    def layout_of(self, fields: Sequence[int]) -> MergedGrid:
        """The grid with these columns and rows; raises `ModelMeterError` for that of a page which is refused."""
        layout = MergedGrid(*fields)
        if layout == REFUSED:
            raise ModelMeterError(refusal("the page has"))
        return layout

    def tokens(self, layout: MergedGrid) -> GridTokens:
        """One of each block of merged patches."""
        return GridTokens(layout.columns * layout.rows)

    def views(self, layout: MergedGrid) -> tuple[Views, ...]:
        """The page, resized."""
        height, width = layout.rows * self.token_side, layout.columns * self.token_side
        return (Views("page", 1, height, width, 1, 1, layout.columns * layout.rows),)

    def kind(self, layout: MergedGrid) -> None:
        """All are of one kind; how windows divide them, the laws find out."""

    def sizes(self, layout: MergedGrid) -> dict[str, int]:
        """Columns and rows vary."""
        return layout._asdict()

    def with_sizes(self, layout: MergedGrid, sizes: Mapping[str, Any]) -> MergedGrid:
        """The grid of these."""
        return MergedGrid(**sizes)

    def geometry(self, layout: MergedGrid, pages: int) -> Grid:
        """The grid of so many pages."""
        return Grid(pages, *layout)

    def scaling(self) -> tuple[Step, ...]:
        """What `scaled` does, as steps of the image rule; refused where a model has not said it."""
        raise ModelMeterError(no_rule(type(self)))

    def image_rule(self) -> ImageRule:
        """The rule as data."""
        return one_kind(
            *self.scaling(),
            {"do": "refuse_ratio", "above": MAX_ASPECT_RATIO},
            {
                "do": "smart_resize",
                "multiple": self.token_side,
                "min_pixels": self.min_pixels,
                "max_pixels": self.max_pixels,
                "frames": self.frames,
            },
            {"do": "blocks", "side": self.token_side},
        )

    def examples(self) -> list[MergedGrid]:
        """One for each way in which whole windows, several along each side, and what is left of one make a grid."""
        sides = range(2 * self.window, 3 * self.window)
        return [MergedGrid(columns, rows) for columns, rows in product(sides, sides)]
