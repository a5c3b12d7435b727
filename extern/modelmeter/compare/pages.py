"""The pages that models are compared on: equal ones together, and what they say in the tokens of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.contract import Workload
    from modelmeter.sweep import Asked

Array = Any


class Steps(NamedTuple):
    """Decode steps of some pages: numbers with their weights, which sum to 1; and what that rests on.

    p90: what one page in ten exceeds, where they are a distribution.
    """

    weights: Mapping[int, Fraction]
    p90: int | None = None
    assumptions: tuple[Assumption, ...] = ()


class Output(Protocol):
    """What some pages say."""

    def steps(self, asked: Asked) -> Steps:
        """Decode steps of such a page; raises `ModelMeterError` where nobody knows how many tokens a model needs."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """Numbers of decode steps with their weights, which sum to 1: the same for all models."""

    weights: Mapping[int, Fraction]

    @classmethod
    def of(cls, steps: int | Mapping[int, Fraction]) -> Given:
        """A number for every page, or numbers with weights of any sum."""
        weights = steps if isinstance(steps, Mapping) else {steps: Fraction(1)}
        total = sum(weights.values(), Fraction(0))
        return cls(weights={number: Fraction(weight) / total for number, weight in weights.items()})

    def steps(self, asked: Asked) -> Steps:
        """The same for every model."""
        return Steps(self.weights)


@dataclass(frozen=True, kw_only=True)
class Pages:
    """An entry for equal pages: their sides in pixels, how many there are, and which of `outputs` they say."""

    widths: Array
    heights: Array
    counts: Array
    said: Array
    outputs: Sequence[Output]

    @classmethod
    def of(cls, pages: Sequence[tuple[int, int, int, Output]]) -> Pages:
        """Of (width, height, how many, what they say)."""
        outputs = list(dict.fromkeys(id(each[3]) for each in pages))
        by_id = {id(each[3]): each[3] for each in pages}
        widths, heights, counts, said = (
            np.array(numbers, np.int64)
            for numbers in zip(*((w, h, count, outputs.index(id(said))) for w, h, count, said in pages), strict=True)
        )
        return cls(widths=widths, heights=heights, counts=counts, said=said, outputs=[by_id[each] for each in outputs])

    @classmethod
    def together(cls, several: Sequence[Pages]) -> Pages:
        """Several of them as one."""
        if len(several) == 1:
            return several[0]
        firsts = np.cumsum([0, *(len(each.outputs) for each in several)])
        return cls(
            **{
                name: np.concatenate([getattr(each, name) for each in several])
                for name in ("widths", "heights", "counts")
            },
            said=np.concatenate([each.said + first for each, first in zip(several, firsts, strict=False)]),
            outputs=[output for each in several for output in each.outputs],
        )

    @property
    def count(self) -> int:
        """All pages."""
        return int(sum(self.counts.tolist()))

    def by_layout(self, workload: Workload) -> dict[Any, dict[int, int]]:
        """How many pages of each layout say which of `outputs`."""
        indices, layouts = workload.layouts(self.widths, self.heights)
        keys = np.asarray(indices) * len(self.outputs) + self.said
        order = np.argsort(keys, kind="stable")
        distinct, starts = np.unique(keys[order], return_index=True)
        counts = np.add.reduceat(self.counts[order], starts)
        found: dict[Any, dict[int, int]] = {}
        for key, count in zip(distinct.tolist(), counts.tolist(), strict=True):
            layout, said = divmod(key, len(self.outputs))
            found.setdefault(layouts[layout], {})[said] = count
        return found
