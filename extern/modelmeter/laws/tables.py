"""What laws are written with: polynomials, conditions and kernels as text, each once.

A polynomial is a sum of terms, `3/2*columns^2*rows + -5`: a coefficient, whole or a fraction, and variables with their
exponents. Equal ones are one entry of a table, and laws name them by their place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from modelmeter.sizes import Condition, Size, factors


def text(value: Any) -> str:
    """A number or a size as a polynomial."""
    return terms_text(value.terms.items()) if isinstance(value, Size) else str(value)


def terms_text(terms: Iterable[tuple[int, Any]]) -> str:
    """A size's terms, or a condition's, as a polynomial."""
    return " + ".join(
        "*".join([str(coefficient), *(f"{name}^{power}" if power > 1 else name for name, power in factors(of).items())])
        for of, coefficient in sorted(terms, key=lambda term: (-term[0], term[1]))
    )


class Tables:
    """Tables that several laws share; each method gives the place of an entry, a new one where there is none."""

    def __init__(self) -> None:
        self._polynomials: dict[str, int] = {}
        self._conditions: dict[tuple[int, str, int, int], int] = {}
        self._kernels: dict[tuple[Any, ...], int] = {}

    def polynomial(self, written: str) -> int:
        """Of a polynomial as text."""
        return self._polynomials.setdefault(written, len(self._polynomials))

    def condition(self, condition: Condition) -> int:
        """Of a condition: a polynomial, what it must be, its modulus, beside which number."""
        return self.written_condition(terms_text(condition.terms), condition.outcome, condition.modulus, condition.than)

    def written_condition(self, written: str, outcome: str, modulus: int, than: int) -> int:
        """The same of its parts."""
        key = self.polynomial(written), outcome, modulus, than
        return self._conditions.setdefault(key, len(self._conditions))

    def kernel(self, kernel_class: str, dtype: str, sizes: Mapping[str, str]) -> int:
        """Of a kernel: its class, its type, and its sizes as polynomials."""
        key = kernel_class, dtype, *((name, self.polynomial(size)) for name, size in sizes.items())
        return self._kernels.setdefault(key, len(self._kernels))

    def to_dict(self) -> dict[str, Any]:
        """The tables, in the order of their entries."""
        return {
            "polynomials": list(self._polynomials),
            "conditions": [list(each) for each in self._conditions],
            "kernels": [
                {"class": kernel_class, "dtype": dtype, "sizes": dict(sizes)}
                for kernel_class, dtype, *sizes in self._kernels
            ],
        }


class Shared:
    """Values that several entries of a file have, each once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self.entries: list[Any] = []

    def place(self, value: Any) -> int:
        """Of a value that JSON can hold."""
        place = self._places.setdefault(json.dumps(value, sort_keys=True), len(self.entries))
        if place == len(self.entries):
            self.entries.append(value)
        return place
