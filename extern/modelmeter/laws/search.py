"""Every path that a stage can take over many values of its variables: a law for each.

Values are tried until a law holds for each of them; a law's conditions are its own, so what it says is exact wherever
they hold, and a value that none holds for is refused by whoever evaluates them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from modelmeter.sizes import Condition, Variables, holding

Array = Any
#: laws of one family: beyond this its sizes decide too much to be written as data
MOST_CASES: Final = 128


class Case(NamedTuple):
    """A law: the conditions under which it holds, and what it says."""

    conditions: tuple[Condition, ...]
    payload: Any


def cases(who: str, values: Mapping[str, Array], make: Callable[[Variables], Any]) -> list[Case] | None:
    """The laws that hold for all of `values`, arrays of each variable; None where there are more than `MOST_CASES`.

    make: what a law says, over variables at some of the values.
    """
    number = len(next(iter(values.values()))) if values else 1
    left = np.arange(number)
    found: list[Case] = []
    while len(left):
        if len(found) == MOST_CASES:
            return None
        place = int(left[0])
        variables = Variables(**{name: int(each[place]) for name, each in values.items()})
        payload = make(variables)
        conditions = tuple(variables.conditions)
        held = np.broadcast_to(
            holding(values, conditions)(**{name: each[left] for name, each in values.items()}), len(left)
        )
        if not held[0]:
            raise AssertionError(f"laws: that of {who} does not hold where it was found")
        found.append(Case(conditions, payload))
        left = left[~held]
    return found
