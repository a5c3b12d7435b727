"""A workload's image rule as data: what another program follows from a page's sides to the numbers of its layout.

A rule is a list of named steps, each with its numbers, and the kinds of layouts that come of them. What a step does is
said in docs/laws-format.md, precisely enough to write it anew; `tests/laws` holds such a second reading against every
workload. A step here is no code: the workload's own `layout` is, and stays, what this library runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

#: a step: its name under "do", and its numbers
Step = Mapping[str, Any]

#: a condition: a polynomial as text, what it or its remainder by the modulus (0: itself) must be, beside which number
TextCondition = tuple[str, str, int, int]


class KindRule(NamedTuple):
    """Layouts of one kind: its name, the workload's own word for it, when a layout is of it, and its variables.

    conditions and variables are over `columns`, `rows` and `tiles`, which the steps give; the first kind whose
    conditions hold is the layout's. markers: positions of the prompt that the layout decides beside its image tokens.
    """

    name: str
    kind: Any
    conditions: tuple[TextCondition, ...]
    variables: Mapping[str, str]
    markers: str = "0"


class ImageRule(NamedTuple):
    """Steps in their order, and the kinds of layouts that they lead to."""

    steps: tuple[Step, ...]
    kinds: tuple[KindRule, ...]


@runtime_checkable
class RuledWorkload(Protocol):
    """A workload whose rule has a form as data."""

    def image_rule(self) -> ImageRule:
        """The rule."""


#: pages that are not cut, where a model tells those apart
NO_TILES: Final = KindRule("uncut", False, (("1*tiles", "==", 0, 0),), {})
#: every page is one view, whatever its size
WHOLE: Final[Step] = MappingProxyType({"do": "whole"})


def no_rule(workload: type) -> str:
    """Why a workload is refused whose rule nobody has written as data."""
    return (
        f"laws: the image rule of {workload.__module__.removeprefix('modelmeter.')} has no form as data yet, so no "
        "other program can follow it; `image_rule` of its workload would say it."
    )


def tiles(*, side: int, uncut: int, least: int, most: int, most_a_side: int) -> Step:
    """Cut into the grid of tiles that is nearest to the page's shape (`tiles.nearest_grid`)."""
    sides = min(most, most_a_side)
    return {"do": "tiles", "side": side, "uncut": uncut, "least": least, "most": most, "most_a_side": sides}


def least_edge(pixels: int, *, whole: str) -> Step:
    """Both sides made larger alike where the shorter one has fewer pixels; whole: rounded "up" or "down"."""
    return {"do": "least_edge", "pixels": pixels, "whole": whole}


def one_kind(*steps: Step) -> ImageRule:
    """A rule whose layouts are all of one kind: grids of columns and rows, which vary."""
    return ImageRule(steps, (KindRule("grid", None, (), {"columns": "1*columns", "rows": "1*rows"}),))
