"""`record`: a frozen dataclass made at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def record(kind: type[T], fields: Mapping[str, Any]) -> T:
    """A frozen dataclass from the values of all its fields, which the caller answers for.

    Its own constructor sets each field by `object.__setattr__`, which takes longer than the arithmetic of a page. A
    field that is left out is not noticed: it has its default, or there is none.
    """
    made = object.__new__(kind)
    vars(made).update(fields)
    return made
