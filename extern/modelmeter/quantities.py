"""Figures as text: exact integers with separators, or four digits and a power of ten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: 10^0, 10^3, 10^6, …
PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q")

#: seconds below one: unit and its size
_SECONDS: Final = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


def exact(value: int) -> str:
    """All digits.

    >>> exact(3468866060288)
    '3,468,866,060,288'
    """
    return f"{value:,}"


def readable(value: int, unit: str = "") -> str:
    """Four digits, the prefix of a power of ten, and the unit; a number below 1000 as it is.

    >>> readable(3468866060288), readable(999_960), readable(903), readable(56094720, "B"), readable(0, "B")
    ('3.469 T', '1.000 M', '903', '56.09 MB', '0 B')
    """
    if abs(value) < 1000:
        return f"{value} {unit}".rstrip()
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    thousands, shift = divmod(int(exponent), 3)
    if thousands >= len(PREFIXES):
        return f"{value:.3e} {unit}".rstrip()
    return f"{float(mantissa) * 10**shift:.{3 - shift}f} {PREFIXES[thousands]}{unit}"


def readable_seconds(seconds: float, digits: int = 4) -> str:
    """Four digits, or fewer, in the largest of s, ms, µs and ns that makes 1 or more of it.

    >>> readable_seconds(0.0356412), readable_seconds(58.1), readable_seconds(2.5e-07), readable_seconds(0)
    ('35.64 ms', '58.10 s', '250.0 ns', '0 s')
    """
    if not seconds:
        return "0 s"
    unit, size = next((each for each in _SECONDS if seconds >= each[1]), _SECONDS[-1])
    value = seconds / size
    if value >= 999.95:
        return f"{number(value) if digits == 4 else estimated(value)} {unit}"
    return f"{f'{value:#.{digits}g}'.rstrip('.')} {unit}"


def number(value: float | str) -> str:
    """A figure in at most four digits after the first, integers with separators.

    >>> number(388522.12), number(0.0446316), number(28090798080), number(1.0)
    ('388,522', '0.04463', '28,090,798,080', '1')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def estimated(value: float | str) -> str:
    """An estimate: three digits, no more than its interval has.

    >>> estimated(388522.12), estimated(0.0446316), estimated(14.96), estimated(0)
    ('389,000', '0.0446', '15', '0')
    """
    if isinstance(value, str):
        return value
    if abs(value) >= 1000:
        return f"{float(f'{value:.2e}'):,.0f}"
    return f"{value:.3g}"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers with their runs drawn together.

    >>> ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    runs: list[list[int]] = []
    for each in numbers:
        if runs and each == runs[-1][-1] + 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
