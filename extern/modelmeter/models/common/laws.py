"""`Laws`: the cost of a stage for all values of some sizes, from one walk for each path that the stage can take.

A stage is walked with variables for the sizes that differ from page to page (see `modelmeter.sizes`). What comes of it
is a law: the stage's figures as polynomials, its peak as the highest of a few, and the conditions under which they
hold. Other values are looked up: the first law whose conditions hold gives the very figures that a walk would.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields
from typing import Final

from modelmeter.models.common.records import record
from modelmeter.models.common.stage_cost import StageCost
from modelmeter.sizes import Highest, Variables, at_hand, compiled

#: laws of one kind that are kept; the oldest is forgotten
LAWS_KEPT: Final = 256


class Law:
    """A stage's cost as a function of its variables, where it holds; compiled, as pages ask it often."""

    __slots__ = ("_figures", "_peaks")

    def __init__(self, cost: StageCost, variables: Variables) -> None:
        figures = {field.name: getattr(cost, field.name) for field in fields(cost)}
        peaks = {name: value.candidates for name, value in figures.items() if isinstance(value, Highest)}
        for name, candidates in peaks.items():
            size, (path, operator) = candidates[0]
            figures[name] = size if len(candidates) == 1 else tuple([size for size, _ in candidates])
            if name == "activation_peak_bytes":
                figures |= {"peak_path": path, "peak_operator": operator}
        self._peaks = [(name, [label for _, label in each]) for name, each in peaks.items() if len(each) > 1]
        self._figures = compiled(variables.values, figures, variables.conditions)

    def at(self, values: Mapping[str, int]) -> StageCost | None:
        """The cost at these values; None where the law does not hold."""
        figures = self._figures(**values)
        if figures is None:
            return None
        for name, labels in self._peaks:
            candidates = figures[name]
            figures[name] = highest = max(candidates)
            if name == "activation_peak_bytes":
                figures["peak_path"], figures["peak_operator"] = labels[candidates.index(highest)]
        return record(StageCost, figures)


class Laws:
    """The laws of a model's stages. Safe to share between threads."""

    def __init__(self) -> None:
        self._laws: dict[Hashable, tuple[Law, ...]] = {}

    def known(self, kind: Hashable, values: Mapping[str, int]) -> bool:
        """Whether a law of this kind holds at these values."""
        return self.at(kind, values) is not None

    def at(self, kind: Hashable, values: Mapping[str, int]) -> StageCost | None:
        """The cost of a stage of this kind at these values by a law that is known; None: none holds."""
        for law in self._laws.get(kind, ()):
            cost = law.at(values)
            if cost is not None:
                return cost
        return None

    def cost(self, kind: Hashable, values: Mapping[str, int], walk: Callable[[Variables], StageCost]) -> StageCost:
        """The cost of a stage of this kind at these values; where no law says it yet, `walk` over variables does.

        Within a walk the values may be sizes themselves: so is the cost then, and what was decided is noted for them.
        """
        known = self.at(kind, values)
        if known is not None:
            return known
        variables = Variables(**{name: at_hand(value) for name, value in values.items()})
        law = Law(walk(variables), variables)
        self._laws[kind] = (law, *self._laws.get(kind, ())[: LAWS_KEPT - 1])
        cost = law.at(values)  # asked for the conditions that it notes, too
        if cost is None:
            raise AssertionError(f"laws: that of {kind} does not hold where it was found, at {values}")
        return cost
