"""What a page becomes before HunyuanOCR sees it: one grid of tokens at the page's own size, within limits.

The rule is `smart_resize` of `HunYuanVLImageProcessorPil` of transformers 5.23, with the values of tencent/HunyuanOCR
(preprocessor_config.json). A newline token ends each row, and one token begins and one ends the page.

    >>> workload = Workload()
    >>> workload.layout(1275, 1650)
    MergedGrid(columns=40, rows=52)
    >>> workload.tokens(workload.layout(1275, 1650)).total
    2134
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from modelmeter.models.common.contract import Views
from modelmeter.models.common.image_rule import Step
from modelmeter.models.common.merged_grid import GridTokens, MergedGrid, MergedGridWorkload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Workload(MergedGridWorkload):
    """The processor's own knobs; nothing is done to a page before it."""

    patch_size: int = 16
    min_pixels: int = 512 * 512
    max_pixels: int = 2048 * 2048

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The page as it is."""
        return width, height

    def scaling(self) -> tuple[Step, ...]:
        """Nothing is done."""
        return ()

    def all_scaled(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of many pages."""
        return widths, heights

    def tokens(self, layout: MergedGrid) -> GridTokens:
        """One of each block of merged patches, a newline a row, and those that begin and end the page.

        Source: `HunYuanVLProcessor.replace_image_token`.
        """
        return GridTokens((layout.columns + 1) * layout.rows + 2)

    def views(self, layout: MergedGrid) -> tuple[Views, ...]:
        """The page, resized."""
        height, width = layout.rows * self.token_side, layout.columns * self.token_side
        return (Views("page", 1, height, width, 1, 1, self.tokens(layout).total),)

    def examples(self) -> list[MergedGrid]:
        """A small page, whose peak is in the table of positions being resized, and the largest, whose is elsewhere."""
        side = max(2, math.isqrt(self.max_pixels) // self.token_side)
        return [*super().examples(), MergedGrid(side, side)]


MODES: Final[Mapping[str, Workload]] = MappingProxyType({"page": Workload()})
