"""How many operators are walked: what a figure costs, without a clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from modelmeter import operators
from modelmeter.walk import OperatorRecord


@contextmanager
def walked_operators() -> Iterator[list[str]]:
    """The names of the operators that are walked, not repeated from memory, for the length of the context."""
    names: list[str] = []

    def noting(*values: Any, **named: Any) -> OperatorRecord:
        made = OperatorRecord(*values, **named)
        names.append(made.name)
        return made

    with patch.object(operators, "OperatorRecord", noting):
        yield names
