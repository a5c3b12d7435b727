"""Figures as text: exact integers with separators, or four digits and a power of ten."""

from __future__ import annotations

from typing import Final

#: 10^0, 10^3, 10^6, …
PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q")


def exact(value: int) -> str:
    """All digits.

    >>> exact(3468866060288)
    '3,468,866,060,288'
    """
    return f"{value:,}"


def readable(value: int) -> str:
    """Four digits and the prefix of a power of ten; a number below 1000 as it is.

    >>> readable(3468866060288), readable(999_960), readable(903)
    ('3.469 T', '1.000 M', '903')
    """
    if abs(value) < 1000:
        return str(value)
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    thousands, shift = divmod(int(exponent), 3)
    if thousands >= len(PREFIXES):
        return f"{value:.3e}"
    return f"{float(mantissa) * 10**shift:.{3 - shift}f} {PREFIXES[thousands]}"
