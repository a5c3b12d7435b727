"""What a page asks of Granite-Docling's vision: tiles in a grid near its shape, a thumbnail behind several, its tokens.

The rule is that of `GraniteDoclingImageProcessor` and `GraniteDoclingProcessor` of transformers 5.23.

    >>> workload = Workload()
    >>> workload.layout(1275, 1650)
    PatchesGrid(num_local_patches=12, num_columns=3, num_rows=4)
    >>> workload.tokens(workload.layout(1275, 1650)).total
    832

Tiles and thumbnail are views of one size; how they lie costs nothing but a marker a row. Whether a page takes the fine
route, with four times as many tokens, its pixels decide: it is declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, NamedTuple

from modelmeter.errors import ModelMeterError, near
from modelmeter.models.common.image_rule import KindRule
from modelmeter.models.common.patches_grid import MARKED_VIEWS, PatchesGrid, ThumbnailTiles
from modelmeter.models.common.tiles import candidate_grids

#: the ways through the connector, and how many times more patches a side become one token on the first
ROUTES: Final[Mapping[str, int]] = MappingProxyType({"coarse": 1, "fine": 2})


class PageRoute(NamedTuple):
    """What vision is told of pages: how many, the views of each, and the way through the connector."""

    pages: int
    views: int
    route: str


@dataclass(frozen=True, kw_only=True)
class Workload(ThumbnailTiles):
    """The processor's own knobs, and those of the model that say how many tokens a view has.

    size: side of a view, pixels. crop_to_patches: whether pages are cut. min_patches, max_patches: limits of the number
    of tiles, both included; the thumbnail comes on top. patch_size: of the tower, pixels. scale_factor: patches a side
    that become one token on the coarse route, twice those of the fine one. route: coarse or fine.
    """

    size: int = 512
    crop_to_patches: bool = True
    min_patches: int = 1
    max_patches: int = 32
    patch_size: int = 16
    scale_factor: int = 4
    route: str = "coarse"

    most_a_side: ClassVar[int] = 16
    kind_rules: ClassVar[tuple[KindRule, ...]] = MARKED_VIEWS

    def __post_init__(self) -> None:
        if self.route not in ROUTES:
            raise ModelMeterError(f"Workload: route={self.route} is unknown; {near(self.route, ROUTES)}")
        token = self.patch_size * self.scale_factor
        if self.size % token or self.scale_factor % 2:
            raise ModelMeterError(
                f"Workload: size={self.size} and scale_factor={self.scale_factor} make no whole tokens of both routes: "
                f"patches of patch_size={self.patch_size}, an even number of them a token's side; give sizes that do."
            )
        self.check_limits()
        if not candidate_grids(self.min_patches, self.max_patches, self.most_a_side):
            raise ModelMeterError(
                f"Workload: no grid has min_patches={self.min_patches} to max_patches={self.max_patches} tiles with "
                f"{self.most_a_side} a side at most; give a smaller min_patches."
            )

    @property
    def cuts(self) -> bool:
        """Whether any page is cut."""
        return self.crop_to_patches and self.max_patches > 1

    @property
    def view_tokens(self) -> int:
        """Tokens of one view: the processor's `image_seq_len`, four times as many on the fine route."""
        return (self.size // self.patch_size // self.scale_factor * ROUTES[self.route]) ** 2

    def geometry(self, layout: PatchesGrid, pages: int) -> PageRoute:
        """What vision is told of `pages` pages of this layout."""
        return PageRoute(pages, layout.num_local_patches + 1, self.route)


MODES: Final[Mapping[str, Workload]] = MappingProxyType(
    {"tiles": Workload(), "fine": Workload(route="fine"), "whole": Workload(crop_to_patches=False)}
)
"""The processor as it comes, on the coarse and on the fine route, and with one view of a page only."""
