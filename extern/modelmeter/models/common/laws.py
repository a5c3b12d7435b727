"""`Laws`: the cost of a stage for all values of some sizes, from one walk for each path that the stage can take.

A stage is walked with variables for the sizes that differ from page to page (see `modelmeter.sizes`). What comes of it
is a law: the stage's figures as polynomials, its peak as the highest of a few, and the conditions under which they
hold. Other values are looked up: the first law whose conditions hold gives the very figures that a walk would.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import fields
from typing import Any, Final, NamedTuple

from modelmeter.models.common.stage_cost import StageCost
from modelmeter.sizes import Condition, Highest, Size, Variables, value_of

#: laws of one kind that are kept; the oldest is forgotten
LAWS_KEPT: Final = 256


class Law(NamedTuple):
    """A stage's cost: its constant figures, those that vary, its peaks, and where all that holds."""

    conditions: tuple[Condition, ...]
    constants: dict[str, Any]
    sizes: tuple[tuple[str, Size], ...]
    peaks: tuple[tuple[str, Highest], ...]

    @classmethod
    def of(cls, cost: StageCost, conditions: tuple[Condition, ...]) -> Law:
        """The law that a stage obeys which was walked over variables under these conditions."""
        values = {field.name: getattr(cost, field.name) for field in fields(cost)}
        return cls(
            conditions,
            {name: value for name, value in values.items() if not isinstance(value, Size | Highest)},
            tuple((name, value) for name, value in values.items() if isinstance(value, Size)),
            tuple((name, value) for name, value in values.items() if isinstance(value, Highest)),
        )

    def at(self, variables: Variables) -> StageCost:
        """The cost at these values, for which the conditions hold."""
        figures = self.constants | {name: value_of(size, variables) for name, size in self.sizes}
        for name, highest in self.peaks:
            figures[name], (path, operator) = highest.at(variables)
            if name == "activation_peak_bytes":
                figures["peak_path"], figures["peak_operator"] = path, operator
        return StageCost(**figures)


class Laws:
    """The laws of a model's stages. Safe to share between threads."""

    def __init__(self) -> None:
        self._laws: dict[Hashable, tuple[Law, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._laws)

    def cost(self, kind: Hashable, variables: Variables, walk: Callable[[], StageCost]) -> StageCost:
        """The cost of a stage of this kind at these values; where no law says it yet, `walk` over them does."""
        for law in self._laws.get(kind, ()):
            if variables.hold(law.conditions):
                return law.at(variables)
        outer = variables.collect()
        try:
            cost = walk()
        finally:
            conditions = variables.collected(outer)
        law = Law.of(cost, conditions)
        self._laws[kind] = (law, *self._laws.get(kind, ())[: LAWS_KEPT - 1])
        return law.at(variables)
