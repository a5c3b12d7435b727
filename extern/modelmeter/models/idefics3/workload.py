"""What a page asks of Idefics3's vision: its tiles, all of it once more, their tokens, and the markers around them.

The rule is that of `Idefics3ImageProcessor` and `Idefics3Processor` of transformers 5.23: a page is made as large as
the longest edge says, whether it is smaller or larger, then each side whole tiles.

    >>> workload = Workload()
    >>> workload.layout(1275, 1650)
    PatchesGrid(num_local_patches=16, num_columns=4, num_rows=4)
    >>> workload.tokens(workload.layout(1275, 1650)).total
    1088

All views are of one size; how they lie costs nothing but a marker a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Layouts
from modelmeter.models.common.image_rule import WHOLE, ImageRule
from modelmeter.models.common.patches_grid import MARKED_VIEWS, UNCUT, AlikeViews, PatchesGrid
from modelmeter.models.common.tiles import page_sides
from modelmeter.page_sizes import check_side
from modelmeter.units import ceil_div

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

#: the longest edge that the processor takes of a page, whatever it is told: its `MAX_IMAGE_SIZE`, pixels
MAX_IMAGE_SIZE: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Workload(AlikeViews):
    """The processor's own knobs, and the tower's that say how many tokens a view has.

    longest_edge: of a page, pixels (`size`). max_image_size: side of a tile and of the view of the whole page, pixels.
    do_image_splitting: whether pages are cut. patch_size: of the tower, pixels. scale_factor: patches a side that
    become one token.
    """

    longest_edge: int = 2048
    max_image_size: int = 512
    do_image_splitting: bool = True
    patch_size: int = 16
    scale_factor: int = 4

    def __post_init__(self) -> None:
        token = self.patch_size * self.scale_factor
        if self.max_image_size % token:
            raise ModelMeterError(
                f"Workload: max_image_size={self.max_image_size} is no multiple of the {token} pixels of a token, "
                f"scale_factor={self.scale_factor} patches of patch_size={self.patch_size} (remainder "
                f"{self.max_image_size % token}); give one."
            )

    def layout(self, width: int, height: int) -> PatchesGrid:
        """How a page of `width` x `height` pixels is cut; raises `ModelMeterError` for sizes that no page has."""
        check_side("layout", "width", width)
        check_side("layout", "height", height)
        if not self.do_image_splitting:
            return UNCUT
        return self.grid(*self.tiles(width, height, int, lambda wide, this, other: this if wide else other))

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """The same for many pages at once: sides [pages] in pixels, of an integer type."""
        import numpy as np

        def whole(sides: NDArray[np.float64]) -> NDArray[np.int64]:
            return sides.astype(np.int64)

        sides = page_sides("layouts", widths, heights)
        if not self.do_image_splitting:
            return Layouts(sides[0] * 0, (UNCUT,))
        columns, rows = self.tiles(*sides, whole, np.where)
        keys, indices = np.unique(columns << 32 | rows, return_inverse=True)
        return Layouts(indices, [self.grid(*divmod(key, 1 << 32)) for key in keys.tolist()])

    def tiles(
        self, width: Any, height: Any, whole: Callable[[Any], Any], either: Callable[..., Any]
    ) -> tuple[Any, Any]:
        """Columns and rows of a page, or of many.

        whole: what is left of numbers without their fractions. either: the second argument where the first is true,
        else the third. The processor's floats are kept, so that every side falls as there.
        """

        def beside(side: Any) -> Any:
            """The shorter side, where the longer one becomes `side` and the shape is kept."""
            return whole(either(wide, side / ratio, side * ratio))

        longest, tile = self.longest_edge, self.max_image_size
        for edge in (longest, MAX_IMAGE_SIZE) if longest > MAX_IMAGE_SIZE else (longest,):
            wide, ratio = width >= height, width / height
            other = beside(edge)
            if edge == longest:
                other = other + other % 2
            other = other + (other == 0)
            width, height = either(wide, edge, other), either(wide, other, edge)
        wide, ratio = width >= height, width / height
        tiles = ceil_div(either(wide, width, height), tile)
        others = ceil_div(beside(tiles * tile), tile)
        return either(wide, tiles, others), either(wide, others, tiles)

    @property
    def view_tokens(self) -> int:
        """Tokens of a view: the processor's `image_seq_len`."""
        return (self.max_image_size // self.patch_size // self.scale_factor) ** 2

    @property
    def tile_side(self) -> int:
        """Side of a tile, pixels."""
        return self.max_image_size

    def image_rule(self) -> ImageRule:
        """The rule as data."""
        limits = {"longest_edge": self.longest_edge, "most_edge": MAX_IMAGE_SIZE, "side": self.max_image_size}
        return ImageRule(({"do": "edge_tiles", **limits} if self.do_image_splitting else WHOLE,), MARKED_VIEWS)

    def examples(self) -> list[PatchesGrid]:
        """Uncut, and cut: one view and several are different code."""
        cut = self.layout(self.longest_edge, 1)
        return [UNCUT, cut] if cut != UNCUT else [UNCUT]


MODES: Final[Mapping[str, Workload]] = MappingProxyType(
    {"tiles": Workload(), "whole": Workload(do_image_splitting=False)}
)
"""The processor as it comes, and with one view of a page only."""
