"""What a value from outside may be: kinds that configurations, device files and saved results are read by.

A kind's `read` returns the value, or raises `ModelMeterError` with the value's name, what came and what is allowed. The
name's beginning says whose it is, as in "device file mine.yaml: "; names of values within values are put behind it.
Kinds are named tuples, since every import makes their classes, and dataclasses take seven times as long.

    >>> Record({"width": Whole(1, 1000), "note": Maybe(Text())}, "a page").read("page: ", {"width": 0})
    Traceback (most recent call last):
    modelmeter.errors.ModelMeterError: page: width=0 is too small; give 1 or more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from modelmeter.errors import ModelMeterError, near, shown

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: integers beyond 2^53 stand in JSON as text, so that no reader rounds them
_DIGITS: Final = re.compile(r"-?[0-9]{16,200}")


class Kind(Protocol[T_co]):
    """What a value may be."""

    def read(self, name: str, value: object) -> T_co:
        """The value; raises `ModelMeterError`, in words that begin with `name`, if it is of another kind."""


class Whole(NamedTuple):
    """A whole number from `least` to `most`, both allowed; as text too where a float could not hold it."""

    least: int
    most: int

    def read(self, name: str, value: object) -> int:
        """The number."""
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ModelMeterError(
                f"{name}={shown(value)} is no whole number; give one from {self.least:,} to {self.most:,}."
            )
        _check_range(name, value, self.least, self.most)
        return value


class Number(NamedTuple):
    """A number exactly as it is written, from `least` to `most`. why: what a larger one would mean."""

    least: Fraction
    most: Fraction
    why: str = ""

    def read(self, name: str, value: object) -> Fraction:
        """The number."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite_number(value):
            raise ModelMeterError(f"{name}={shown(value)} is no number; write it as in 1.5e+12.")
        number = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
        _check_range(name, value, self.least, self.most, self.why)
        return number


class Real(NamedTuple):
    """A number from `least` to `most`, as a float. why: what a larger one would mean."""

    least: Fraction
    most: Fraction
    why: str = ""

    def read(self, name: str, value: object) -> float:
        """The number."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite_number(value):
            raise ModelMeterError(f"{name}={shown(value)} is no number; write it as in 1.5e-3.")
        _check_range(name, value, self.least, self.most, self.why)
        return float(value)


def isfinite_number(value: int | float) -> bool:
    """Whether a number is no infinity and no NaN; an integer of any size is none."""
    return isinstance(value, int) or isfinite(value)


def _check_range(name: str, value: int | float, least: int | Fraction, most: int | Fraction, why: str = "") -> None:
    if value < least:
        raise ModelMeterError(f"{name}={shown(value)} is too small; give {_plain(least)} or more.")
    if value > most:
        raise ModelMeterError(f"{name}={shown(value)} is too large; give {_plain(most)} or less{why and f' ({why})'}.")


def _plain(bound: int | Fraction) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{float(bound):g}"


class Flag:
    """True or false, and nothing that stands for them."""

    def read(self, name: str, value: object) -> bool:
        """The flag."""
        if not isinstance(value, bool):
            raise ModelMeterError(f"{name}={shown(value)} is neither true nor false.")
        return value


class Text(NamedTuple):
    """Text of `least` to `most` characters without any of `without`.

    printable: it goes to a terminal, so line ends and escape sequences are refused. start: what it begins with.
    """

    most: int = 200
    least: int = 0
    without: str = ""
    printable: bool = True
    start: str = ""

    def read(self, name: str, value: object) -> str:
        """The text."""
        if not isinstance(value, str) or (self.least and not value.strip()):
            raise ModelMeterError(f"{name}={shown(value)} is no text.")
        if not self.least <= len(value) <= self.most:
            raise ModelMeterError(f"{name}={shown(value)} has {len(value):,} characters; give {self.most:,} or less.")
        if self.printable and not value.isprintable():
            raise ModelMeterError(f"{name}={shown(value)} has characters that do not print; leave them out.")
        bad = sorted(set(self.without).intersection(value))
        if bad:
            raise ModelMeterError(f"{name}={shown(value)} has {' '.join(bad)}; leave that out.")
        if not re.match(self.start, value):
            raise ModelMeterError(f"{name}={shown(value)} begins with no {self.start}.")
        return value


class Choice(NamedTuple):
    """One of some words."""

    options: Sequence[str]

    def read(self, name: str, value: object) -> str:
        """The word."""
        if not isinstance(value, str):
            raise ModelMeterError(f"{name}={shown(value)} is no text; the options are {', '.join(self.options)}.")
        if value not in self.options:
            raise ModelMeterError(f"{name}={value} is unknown; {near(value, self.options)}")
        return value


class Maybe(NamedTuple, Generic[T]):
    """A value that may be left out."""

    kind: Kind[T]

    def read(self, name: str, value: object) -> T | None:
        """The value, None where it is."""
        return None if value is None else self.kind.read(name, value)


class Said(NamedTuple, Generic[T]):
    """A value of another kind, and what it is, in a line."""

    kind: Kind[T]
    about: str

    def read(self, name: str, value: object) -> T:
        """The value."""
        return self.kind.read(name, value)


class Either(NamedTuple):
    """A word of `words`, or a value of another kind."""

    words: Sequence[str]
    kind: Kind[Any]

    def read(self, name: str, value: object) -> Any:
        """The word, or the value."""
        return value if value in self.words else self.kind.read(name, value)


class ListOf(NamedTuple, Generic[T]):
    """`least` to `most` values of one kind."""

    kind: Kind[T]
    least: int
    most: int

    def read(self, name: str, value: object) -> list[T]:
        """The values."""
        if not isinstance(value, list | tuple):
            raise ModelMeterError(f"{name}={shown(value)} is no list.")
        if not self.least <= len(value) <= self.most:
            raise ModelMeterError(f"{name} has {len(value):,} entries; give {self.least:,} to {self.most:,}.")
        return [self.kind.read(f"{name}[{number}]", each) for number, each in enumerate(value)]


def may_be_left_out(kind: Kind[Any]) -> bool:
    """Whether None is a value of a kind."""
    return may_be_left_out(kind.kind) if isinstance(kind, Said) else isinstance(kind, Maybe)


def words(kind: Kind[Any]) -> tuple[str, ...]:
    """The words that a value may be, as overrides write them.

    >>> words(Maybe(Choice(("last", "all"))))
    ('last', 'all', 'null')
    """
    match kind:
        case Said():
            return words(kind.kind)
        case Maybe():
            return (*words(kind.kind), "null")
        case Either():
            return (*kind.words, *words(kind.kind))
        case Choice():
            return tuple(kind.options)
        case Flag():
            return ("true", "false")
    return ()


def takes(kind: Kind[Any]) -> str:
    """The type of a value in a word, or the words that it may be.

    >>> takes(Maybe(Whole(1, 1024))), takes(Either(("max", "uniform"), Whole(1, 64)))
    ('integer|null', 'max|uniform|integer')
    """
    match kind:
        case Said():
            return takes(kind.kind)
        case Maybe():
            return f"{takes(kind.kind)}|null"
        case Either():
            return "|".join((*kind.words, takes(kind.kind)))
        case Whole():
            return "integer"
        case Number() | Real():
            return "number"
        case ListOf():
            first, *rest = takes(kind.kind).split(" ", 1)
            return " ".join((f"list of {first}s", *rest))
    return "|".join(words(kind)) or "text"


def _check_mapping(name: str, value: object, known: Collection[str] | None, what: str) -> str:
    """Refuse what is no mapping, and names that are not `known`; what the names of its values begin with."""
    if not isinstance(value, Mapping):
        raise ModelMeterError(f"{name.rstrip(': ')} holds {shown(value)}; {what} is a mapping of its keys.")
    root = name if name.endswith(": ") else f"{name}."
    if known is not None:
        for key in value:
            if key not in known:
                raise ModelMeterError(f"{root}{key} is no key of {what}; {near(str(key), known)}")
    return root


class Record(NamedTuple):
    """A mapping of names to values, each of its kind.

    what: whose names these are, for the error that an unknown one gets. others: leave unknown names out instead.
    defaults: of names that may be left out, as may those whose kind is `Maybe`. missing: what to do about another one.
    """

    kinds: Mapping[str, Kind[Any]]
    what: str
    others: bool = False
    defaults: Mapping[str, Any] = MappingProxyType({})
    missing: str = "add it"

    def read(self, name: str, value: object) -> dict[str, Any]:
        """The values by name, all names of `kinds`."""
        root = _check_mapping(name, value, None if self.others else self.kinds, self.what)
        assert isinstance(value, Mapping)
        values = {}
        for key, kind in self.kinds.items():
            given = value.get(key, self.defaults.get(key))
            if given is None and not may_be_left_out(kind):
                raise ModelMeterError(f"{root}{key} is missing; {self.missing}.")
            values[key] = kind.read(f"{root}{key}", given)
        return values


class Some(NamedTuple, Generic[T]):
    """A mapping of some of the names in `names`, their values of one kind. what, missing: as of `Record`."""

    names: Sequence[str]
    kind: Kind[T]
    what: str
    missing: str = "add it"

    def read(self, name: str, value: object) -> dict[str, T]:
        """The values by name, in the order of `names`."""
        _check_mapping(name, value, self.names, self.what)
        assert isinstance(value, Mapping)
        kinds = {key: self.kind for key in self.names if key in value}
        return Record(kinds, self.what, missing=self.missing).read(name, value)
