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
from typing import Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.patches_grid import ThumbnailTiles

#: shares of a side that pixel shuffle leaves, which a float holds exactly
RATIOS: Final = (1.0, 0.5, 0.25, 0.125)


@dataclass(frozen=True, kw_only=True)
class Workload(ThumbnailTiles):
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


MODES: Final[Mapping[str, Workload]] = MappingProxyType({"tiles": Workload(), "whole": Workload(crop_to_patches=False)})
"""The processor as it comes, and with one view of a page only."""
