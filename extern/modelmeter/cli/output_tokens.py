"""Output tokens of pages, as --output-tokens of `modelmeter throughput` has them: they are never assumed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from modelmeter.errors import ModelMeterError, near

OutputTokens = int | dict[int, Fraction]

_NUMBER: Final = re.compile(r"[+-]?[0-9]+")

#: a weight: what `Fraction` would make of a large exponent has as many digits
_WEIGHT: Final = re.compile(r"[+-]?[0-9._/]{1,40}(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What --output-tokens says. who: the command.

    of_inputs: for each input a number, numbers with weights, the column of a table, or None; of_groups: by group.
    """

    who: str
    of_inputs: Sequence[OutputTokens | str | None]
    of_groups: Mapping[str, OutputTokens]

    def of_page(self, index: int, name: str) -> OutputTokens:
        """Of an input that is no corpus."""
        said = self.of_inputs[index]
        if said is None:
            raise ModelMeterError(
                f"{self.who}: how many output tokens has {name}? give --output-tokens a number without a group too."
            )
        if isinstance(said, str):
            raise _neither(self.who, said)
        return said

    def of_corpus_groups(self, index: int, groups: Sequence[str | None]) -> dict[str | None, OutputTokens]:
        """Of the groups of a corpus that have numbers of their own; raises if nothing is said of the others."""
        missing = [group for group in groups if group not in self.of_groups]
        if missing and self.of_inputs[index] is None:
            listed = ", ".join(group or "no group" for group in missing[:_NAMED])
            more = f" and {len(missing) - _NAMED} more" if missing[_NAMED:] else ""
            raise ModelMeterError(
                f"{self.who}: what do the pages of {listed}{more} say? give --output-tokens GROUP=1000 for "
                "each group, or a number without a group for all others."
            )
        return {group: self.of_groups[group] for group in groups if group is not None and group in self.of_groups}

    def check_groups(self, groups: Sequence[str]) -> None:
        """Refuse the name of a group that no page has."""
        for name in self.of_groups:
            if name not in groups:
                raise ModelMeterError(
                    f"{self.who}: --output-tokens {name}=: no page is of {name}; {near(name, groups)}"
                )


#: groups that an error names
_NAMED: Final = 5


def parse_output_tokens(who: str, given: Sequence[str], inputs: int, by: str | None) -> Said:
    """The values of --output-tokens: N, N:WEIGHT,…, COLUMN, or one of the first two after GROUP=."""
    if not given:
        raise ModelMeterError(
            f"{who}: how many tokens does a page's text have? that decides most of the time, and is never assumed: "
            "add --output-tokens 1000, numbers with weights, as in 800:0.7,1500:0.3, or the tables' column that has "
            "them; or --page-class letter, which estimates it; --output-tokens 0 is the prefill alone."
        )
    plain = [text for text in given if "=" not in text]
    if len(plain) not in (0, 1, inputs):
        raise ModelMeterError(
            f"{who}: --output-tokens was given {len(plain)} times for {inputs} inputs; give it once, or once for each."
        )
    of_groups: dict[str, OutputTokens] = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        if not equals:
            continue
        if by is None:
            raise ModelMeterError(
                f"{who}: --output-tokens {text} is of a group; say with --by which column names the groups."
            )
        if name in of_groups:
            raise ModelMeterError(f"{who}: --output-tokens says {name} twice; say it once.")
        of_groups[name] = _numbers(who, number)
    said: list[OutputTokens | str | None] = [_numbers_or_column(who, text) for text in plain] or [None]
    return Said(who=who, of_inputs=said * inputs if len(said) == 1 else said, of_groups=of_groups)


def _numbers_or_column(who: str, text: str) -> OutputTokens | str:
    return _numbers(who, text) if ":" in text or not text or _NUMBER.fullmatch(text) else text


def _numbers(who: str, text: str) -> OutputTokens:
    try:
        if ":" not in text:
            return int(text)
        pairs = [part.split(":") for part in text.split(",")]
        if not all(_WEIGHT.fullmatch(weight.strip()) for _, weight in pairs):
            raise _neither(who, text)
        weights = {int(number): Fraction(weight) for number, weight in pairs}
    except (ValueError, ZeroDivisionError) as error:
        raise _neither(who, text) from error
    if len(weights) < len(pairs):
        raise ModelMeterError(f"{who}: --output-tokens {text} gives one number several weights; give it one.")
    return weights


def _neither(who: str, text: str) -> ModelMeterError:
    return ModelMeterError(
        f"{who}: --output-tokens {text} is neither a whole number nor numbers with weights, as in "
        "800:0.7,1500:0.3; the name of a column is for tables."
    )
