"""Speculative decoding: a step runs several positions, of which a declared number are accepted on average.

A drafter proposes k tokens; the model runs over them and the token before them, k + 1 positions, and as many of the
proposals as it would have said itself are accepted, with one token of its own: 1 to k + 1 tokens a step. How many,
no size tells: `runtime.accepted_tokens` declares it, and every result is labelled. What a step costs is exact: so many
rows through decoder and head. After i steps floor(i a) tokens are there, a the accepted ones; N tokens take ceil(N / a)
steps. Rejected positions are written to the cache, and written over by the next step.

    >>> speculation = Speculation("ngram", draft_tokens=3, accepted_tokens=Fraction(5, 2))
    >>> speculation.steps(1000)
    400
    >>> list(speculation.runs(11, 1))
    [StepRun(first=0, period=5, count=3), StepRun(first=2, period=5, count=2)]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Choice, Kind, Maybe, Real, Said, Whole
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.runs import StepRun
from modelmeter.units import ceil_div

#: who proposes: nobody; a look-up in the text so far, which costs the device nothing; the model's own further layer
NONE: Final = "none"
NGRAM: Final = "ngram"
MTP: Final = "mtp"
DRAFTS: Final = (NONE, NGRAM, MTP)

#: what every result of it says
DECLARED: Final = "accepted tokens declared"

#: tokens that a step may propose
MAX_DRAFT_TOKENS: Final = 32
#: parts of a token that are told apart
_HUNDREDTHS: Final = 100

#: what the keys of speculative decoding may be
SPECULATION_KINDS: Final[dict[str, Kind[Any]]] = {
    "runtime.draft": Said(
        Choice(DRAFTS),
        "who proposes tokens of a step: none, ngram (looked up, costs the device nothing), or the model's mtp layer",
    ),
    "runtime.draft_tokens": Said(
        Maybe(Whole(1, MAX_DRAFT_TOKENS)), "tokens proposed a step: it runs one position more; null: no draft"
    ),
    "runtime.accepted_tokens": Said(
        Maybe(Real(Fraction(1), Fraction(MAX_DRAFT_TOKENS + 1))),
        "tokens that a step yields on average, 1 to draft_tokens + 1, to hundredths: declared; null: no draft",
    ),
}


@dataclass(frozen=True)
class Speculation:
    """draft: who proposes, `NGRAM` or `MTP`. draft_tokens: k. accepted_tokens: a, the model's own token included."""

    draft: str
    draft_tokens: int
    accepted_tokens: Fraction

    @classmethod
    def of(cls, draft: str, draft_tokens: int | None, accepted_tokens: float | None) -> Speculation | None:
        """What the keys of `runtime` say, None without a drafter; raises `ModelMeterError` where they do not fit."""
        if draft == NONE:
            for name, value in (("draft_tokens", draft_tokens), ("accepted_tokens", accepted_tokens)):
                if value is not None:
                    raise ModelMeterError(
                        f"runtime: {name}={value} is of speculative decoding, and runtime.draft=none; say who does, "
                        "runtime.draft=ngram or mtp, or leave it out."
                    )
            return None
        if draft_tokens is None or accepted_tokens is None:
            lacking = "draft_tokens" if draft_tokens is None else "accepted_tokens"
            raise ModelMeterError(
                f"runtime: draft={draft} without {lacking}; declare how many tokens a step proposes "
                "(runtime.draft_tokens=3) and how many it yields on average (runtime.accepted_tokens=2.5)."
            )
        accepted = Fraction(str(accepted_tokens))
        if accepted > draft_tokens + 1 or _HUNDREDTHS % accepted.denominator:
            raise ModelMeterError(
                f"runtime: accepted_tokens={accepted_tokens} with draft_tokens={draft_tokens}; a step yields 1 to "
                f"{draft_tokens + 1} tokens, to hundredths."
            )
        return cls(draft, draft_tokens, accepted)

    @property
    def rows(self) -> int:
        """Positions of a step: the proposals, and the token before them."""
        return self.draft_tokens + 1

    def steps(self, tokens: int) -> int:
        """Steps that `tokens` tokens take."""
        return ceil_div(tokens * self.accepted_tokens.denominator, self.accepted_tokens.numerator)

    def before(self, step: int) -> int:
        """Tokens that came from steps before the one of this number, from 0 on."""
        return step * self.accepted_tokens.numerator // self.accepted_tokens.denominator

    def runs(self, tokens: int, alignment: int) -> Iterator[StepRun]:
        """The runs of the steps of `tokens` tokens; `first` and `period` count tokens.

        alignment: a step's cost grows evenly over tokens that are so many apart, or a multiple of it.
        """
        grown, cycle = self.accepted_tokens.numerator, self.accepted_tokens.denominator
        cycles = alignment // gcd(grown, alignment)
        steps, apart = self.steps(tokens), cycle * cycles
        for number in range(min(apart, steps)):
            yield StepRun(self.before(number), grown * cycles, (steps - number + apart - 1) // apart)

    def words(self, tokens: int, passes: int = 1) -> str:
        """The steps that `tokens` tokens take, in words; of several passes not how many."""
        count = f"{self.steps(tokens):,} " if passes == 1 else ""
        return f"{tokens:,} tokens in {count}decode steps of {self.rows} positions ({DECLARED})"

    def assumption(self) -> Assumption:
        """What of it is declared."""
        text = {
            NGRAM: "looked up in the text so far, which costs the device nothing",
            MTP: "the model's further layer, in one pass over a step's positions and one for each proposal after the "
            "first; embedding and head are the model's own",
        }[self.draft]
        return Assumption(
            figure="decode",
            label=DECLARED,
            text=f"speculative decoding, declared: {self.draft_tokens} tokens proposed a step "
            f"(runtime.draft={self.draft}: {text}), {self.rows} positions run, {float(self.accepted_tokens):g} tokens "
            "accepted on average by runtime.accepted_tokens, which no size tells; N tokens take N over that, rounded "
            "up, steps; sampling is that of a step for each position, and what a host does between is not counted",
        )
