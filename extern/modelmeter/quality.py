"""How well checkpoints read, as it was published: every figure with its benchmark's version, source, date and measurer.

The figures stand in `quality.yaml`. Two versions of a benchmark are two benchmarks, and nothing is computed from them.

    >>> headline("olmocr_2_7b", "PureDocBench").value
    63.78
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Final

from modelmeter.documents import read_yaml
from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Choice, Kind, ListOf, Maybe, Real, Record, Text

_FILE: Final = Path(__file__).with_name("quality.yaml")
_MAX_BYTES: Final = 2**20

#: who measures
VENDOR: Final = "vendor"
INDEPENDENT: Final = "independent"

_BETTER: Final = Choice(("higher", "lower"))
_TABLE: Final = Record(
    {
        "benchmark": Text(),
        "source": Text(500),
        "date": Text(),
        "by": Choice((VENDOR, INDEPENDENT)),
        "doubt": Maybe(Text(500)),
        "parts": ListOf(Text(), 1, 20),
        "figures": Record({}, "the figures", others=True),
    },
    "a table",
)
_VALUE: Final[Kind[float]] = Real(Fraction(0), Fraction(100))


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """name: with its version. parts: by name, whether "higher" or "lower" is better; the first stands for the whole."""

    name: str
    what: str
    parts: Mapping[str, str]

    @property
    def headline(self) -> str:
        """The part that stands for the whole."""
        return next(iter(self.parts))


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A figure that was published of a checkpoint.

    mode: that it was measured in, None where the source says none. better: "higher" or "lower". measured_by: "vendor"
    of the model or "independent". date: of the source, or the day it was read. doubt: why it may not be the model's.
    """

    benchmark: str
    part: str
    value: float
    better: str
    checkpoint: str
    mode: str | None
    measured_by: str
    source: str
    date: str
    doubt: str | None


@cache
def benchmarks() -> Mapping[str, Benchmark]:
    """All benchmarks, by name."""
    found = {}
    for name, given in _document()["benchmarks"].items():
        who = f"quality.yaml: {name}"
        parts = Record(dict.fromkeys(given["parts"], _BETTER), "the parts")
        found[name] = Benchmark(
            name=name, **Record({"what": Text(500), "parts": parts}, "a benchmark").read(who, given)
        )
    return found


@cache
def published() -> tuple[Quality, ...]:
    """All figures; raises `ModelMeterError` for a table that names what its benchmark has not."""
    found: list[Quality] = []
    for number, given in enumerate(_document()["tables"]):
        who = f"quality.yaml: tables[{number}]"
        table = _TABLE.read(who, given)
        benchmark = Choice(tuple(benchmarks())).read(f"{who}.benchmark", table["benchmark"])
        parts = [Choice(tuple(benchmarks()[benchmark].parts)).read(f"{who}.parts", part) for part in table["parts"]]
        for name, values in given["figures"].items():
            checkpoint, _, mode = name.partition("/")
            read = ListOf(_VALUE, len(parts), len(parts)).read(f"{who}.{name}", values)
            found += [
                Quality(
                    benchmark=benchmark,
                    part=part,
                    value=value,
                    better=benchmarks()[benchmark].parts[part],
                    checkpoint=checkpoint,
                    mode=mode or None,
                    measured_by=table["by"],
                    source=table["source"],
                    date=table["date"],
                    doubt=table["doubt"],
                )
                for part, value in zip(parts, read, strict=True)
            ]
    return tuple(found)


def of(checkpoint: str, mode: str | None = None) -> tuple[Quality, ...]:
    """What was published of a checkpoint; in `mode`, without what was measured in another one."""
    return tuple(
        each
        for each in published()
        if each.checkpoint == checkpoint and (mode is None or each.mode is None or each.mode == mode)
    )


def headline(checkpoint: str, benchmark: str, mode: str | None = None) -> Quality | None:
    """The one figure for a checkpoint in a benchmark's column, None where there is none.

    Of several it is that of the mode before that of no mode, without a doubt before with one, independent before the
    vendor's, and the latest.
    """
    if benchmark not in benchmarks():
        raise ModelMeterError(f"quality: there is no benchmark {benchmark}; there are {', '.join(benchmarks())}.")
    found = [
        each
        for each in of(checkpoint, mode)
        if each.benchmark == benchmark and each.part == benchmarks()[benchmark].headline and (mode or not each.mode)
    ]
    return max(found, key=_rank, default=None)


def _rank(figure: Quality) -> tuple[bool, bool, bool, str]:
    return (
        figure.mode is not None,
        figure.doubt is None,
        figure.measured_by == INDEPENDENT,
        figure.date.removeprefix("read "),
    )


@cache
def _document() -> Mapping[str, Any]:
    document: Mapping[str, Any] = read_yaml("quality.yaml", _FILE, _MAX_BYTES)
    return document


def columns(figures: Sequence[Quality]) -> list[str]:
    """The benchmarks that figures are of, in the order of `benchmarks()`."""
    named = {each.benchmark for each in figures}
    return [name for name in benchmarks() if name in named]
