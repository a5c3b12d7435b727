"""What a page asks of DeepSeek-OCR-2's vision: one view of all of it, tiles where it is large, its tokens.

The rule is that of `DeepseekOcr2ImageProcessor` and `DeepseekOcr2Processor` of transformers 5.23.

    >>> workload = Workload()
    >>> workload.layout(1275, 1650)
    PatchesGrid(num_local_patches=6, num_columns=2, num_rows=3)
    >>> workload.tokens(workload.layout(1275, 1650)).total
    1121

A view's tokens are the queries of its encoder, of which there are two tables; how tiles lie costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.image_rule import NO_TILES, KindRule
from modelmeter.models.common.patches_grid import UNCUT, ImageTokens, PatchesGrid, PatchesWorkload
from modelmeter.models.common.tiles import candidate_grids

#: queries of a view by the resolution that their table was trained for
QUERIES: Final[Mapping[int, int]] = MappingProxyType({768: 144, 1024: 256})


class PageGeometry(NamedTuple):
    """What vision is told of pages: how many, the sides of a global view and of a tile, the tiles of each page."""

    pages: int
    size: int
    tile_size: int
    tiles: int


@dataclass(frozen=True, kw_only=True)
class Workload(PatchesWorkload):
    """The processor's own knobs. It has another, `crop_to_patches`, but counts no tokens of the views without."""

    tile_size: int = 768
    max_patches: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("size", "tile_size"):
            side = getattr(self, name)
            tokens = self.queries(side) ** 2
            if tokens not in QUERIES.values():
                tables = " and ".join(f"{count} for {each} pixels" for each, count in QUERIES.items())
                raise ModelMeterError(
                    f"Workload: {name}={side} makes {tokens} tokens of a view, and the encoder has queries for others: "
                    f"{tables}; give one of these sides."
                )

    def tokens(self, layout: PatchesGrid) -> ImageTokens:
        """Image tokens of a page of this layout. Source: `DeepseekOcr2Processor.replace_image_token`."""
        page = self.queries(self.size) ** 2 + 1
        local = self.queries(self.tile_size) ** 2 * layout.num_local_patches
        return ImageTokens(page, local, page + local)

    kind_rules: ClassVar[tuple[KindRule, ...]] = (NO_TILES, KindRule("cut", True, (), {"tiles": "1*tiles"}))

    def sizes(self, layout: PatchesGrid) -> dict[str, int]:
        """The number of tiles, where there are any."""
        return {"tiles": layout.num_local_patches} if layout.num_local_patches else {}

    def with_sizes(self, layout: PatchesGrid, sizes: Mapping[str, Any]) -> PatchesGrid:
        """So many tiles, in a row."""
        return PatchesGrid(sizes["tiles"], sizes["tiles"], 1) if sizes else layout

    def examples(self) -> list[PatchesGrid]:
        """Uncut, and cut."""
        columns, rows, _ = candidate_grids(self.min_patches, self.max_patches)[0]
        return [UNCUT, PatchesGrid(columns * rows, columns, rows)]

    def geometry(self, layout: PatchesGrid, pages: int) -> PageGeometry:
        """What vision is told of `pages` pages of this layout; without tiles their side is 0."""
        tiles = layout.num_local_patches
        return PageGeometry(pages, self.size, self.tile_size if tiles else 0, tiles)


MODES: Final[Mapping[str, Workload]] = MappingProxyType({"tiles": Workload()})
"""The processor as it comes."""
