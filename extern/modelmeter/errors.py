"""The one error that a user is meant to read, how values are shown in it, and the hint for a misspelt name."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Final

#: what a refusal may take of a terminal, so that no input can fill it: lines, and characters in all of them together
MAX_LINES: Final = 3
MAX_CHARACTERS: Final = 900

#: characters of one value in a message
_VALUE_CHARACTERS: Final = 100


class ModelMeterError(ValueError):
    """A request that cannot be answered: the text says who, what came, what was expected and what to do.

    Each argument is one line, whatever it was made of: what a terminal does not print (line ends, escape sequences,
    lone surrogates) is written as an escape, and what is beyond `MAX_LINES` and `MAX_CHARACTERS` is cut.

    >>> print(ModelMeterError("page a\\nb.png: no image."))
    page a\\nb.png: no image.
    """

    def __init__(self, *lines: str) -> None:
        if len(lines) > MAX_LINES:
            lines = (*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} more.")
        self.lines = tuple(printable(line, MAX_CHARACTERS // max(len(lines), 1)) for line in lines)
        super().__init__(*self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def printable(text: str, limit: int | None = None) -> str:
    r"""Text in at most `limit` characters, cut in its middle; what a terminal does not print as an escape.

    >>> printable("a\x1b[31mb", 20)
    'a\\x1b[31mb'
    >>> printable("workload.base_size=1000000", 16)
    'workload…1000000'
    """
    cut = _cut(text, limit)  # first: nothing is gained by escaping what is left out
    if cut.isprintable():
        return cut
    return _cut("".join(sign if sign.isprintable() else _escape(sign) for sign in cut), limit)


def shown(value: object) -> str:
    """A value as a message shows it: its repr, cut in its middle; of nested values the outer ones.

    >>> shown("flash"), shown(10**6000), shown("9" * 1000)[:5]
    ("'flash'", 'a whole number of some 6001 digits', "'9999")
    """
    return printable(_VALUES.repr(value), _VALUE_CHARACTERS)


def _cut(text: str, limit: int | None) -> str:
    if limit is None or len(text) <= limit:
        return text
    end = (limit - 1) // 2
    return f"{text[: limit - 1 - end]}…{text[-end:]}"


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


class _Values(reprlib.Repr):
    def repr_int(self, value: int, level: int) -> str:
        """Python refuses to write an integer of more than 4,300 digits, and takes long before."""
        bits = value.bit_length()
        return repr(value) if bits < 256 else f"a whole number of some {bits * 30103 // 100000 + 1} digits"


_VALUES: Final = _Values()
_VALUES.maxlevel = 3
_VALUES.maxstring = _VALUES.maxother = _VALUE_CHARACTERS


def near(name: str, options: Iterable[str]) -> str:
    """Text to end an "unknown name" error with: the close options, or all of them when none is close.

    >>> near("flsh", ["eager", "flash"])
    'did you mean "flash"?'
    >>> near("xyz", ["eager", "flash"])
    'the options are eager, flash.'
    """
    from difflib import get_close_matches  # here: only an error needs it

    names = list(options)
    if not names:
        return "there are no options."
    spelling = {option.lower(): option for option in names}
    close = [spelling[match] for match in get_close_matches(name.lower(), list(spelling), n=3)]
    return did_you_mean(close) if close else f"the options are {', '.join(names)}."


def did_you_mean(options: Iterable[str]) -> str:
    """The end of an error that has found what was meant."""
    quoted = " or ".join(f'"{option}"' for option in options)
    return f"did you mean {quoted}?"


def type_of(value: object) -> str:
    """A value's type with its article.

    >>> type_of(5), type_of({}), type_of("x")
    ('an int', 'a dict', 'a str')
    """
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
