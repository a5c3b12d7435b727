"""The cost of several pages together, exact.

What a total means: views, tokens, FLOPs, traffic and KV bytes added are sums over the pages, each run alone;
activation peak, resident peak and KV cache held are those of the largest page, and the weights, which all pages share,
are there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.common.stage_cost import WITH_TOTAL, StageCost, together

if TYPE_CHECKING:
    from modelmeter.models.common.contract import PageCost

_COUNTS: Final = ("pages", "views", "image_tokens", "output_tokens")

_NOTHING: Final = StageCost()


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Pages together. Prefill includes vision; total is prefill and decode."""

    pages: int = 0
    views: int = 0
    image_tokens: int = 0
    output_tokens: int = 0
    vision: StageCost = _NOTHING
    prefill: StageCost = _NOTHING
    decode: StageCost = _NOTHING
    total: StageCost = _NOTHING

    @classmethod
    def of_page(cls, cost: PageCost, output_tokens: int) -> Totals:
        """One page."""
        return cls(
            pages=1,
            views=sum(view.count for view in cost.views),
            image_tokens=cost.tokens.total,
            output_tokens=output_tokens,
            vision=cost.vision,
            prefill=cost.prefill,
            decode=cost.decode,
            total=cost.total,
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        return counts | {"stages": {stage: getattr(self, stage).as_dict() for stage in WITH_TOTAL}}

    @classmethod
    def of_pages(cls, pages: Sequence[tuple[Totals, int]]) -> Totals:
        """Totals, each taken a number of times. Of equal peaks the first is named."""
        totals: dict[str, Any] = {name: sum(getattr(each, name) * times for each, times in pages) for name in _COUNTS}
        totals |= {name: together([(getattr(each, name), times) for each, times in pages]) for name in WITH_TOTAL}
        return cls(**totals)
