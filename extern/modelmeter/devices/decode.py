"""The time of decode steps, run by run: in a run what a step computes and moves grows evenly from one to the next.

Most models have one run, of all steps, by the tokens before them. A model whose attention changes after some steps has
several (`StepRun`), and the sum over all of them is as exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from modelmeter.devices.roofline import Roofline, StageTime
from modelmeter.walk import Walk

if TYPE_CHECKING:
    from modelmeter.models.common.runs import StepRun


class Passing(Protocol):
    """A page, or a prompt without an image."""

    @property
    def seq_len(self) -> int:
        """Positions of its prefill."""

    def passes(self, output_tokens: int) -> Sequence[tuple[Passing, int]]:
        """Its passes, each with its share of the decode steps."""


class Running(Protocol):
    """A model whose decode steps come in runs."""

    def decode_runs(self, steps: int) -> Sequence[StepRun]:
        """The runs of a page's steps."""


class Stepped(Running, Protocol):
    """A model whose decode steps can be walked."""

    def stage_walk(self, stage: str, *, page: Any = None, context: int = 0, generated: int = 0) -> Walk:
        """The operators of one "decode" step after `context` tokens, the last `generated` of them from steps."""


def yields_several(model: Running) -> bool:
    """Whether a step may yield several tokens."""
    return any(run.first or run.period > 1 for run in model.decode_runs(2))


def run_walks(model: Stepped, seq_len: int, run: StepRun) -> tuple[Walk, Walk, Walk]:
    """A run's first step after a prefill of `seq_len` tokens, its second and its last; a run of one has that alone."""

    def step(number: int) -> Walk:
        generated = run.first + run.period * number
        return model.stage_walk("decode", context=seq_len + generated, generated=generated)

    first = step(0)
    if run.count == 1:
        return first, first, first
    second = step(1)
    return first, second, second if run.count == 2 else step(run.count - 1)


def run_time(roofline: Roofline, walks: tuple[Walk, Walk, Walk], run: StepRun) -> StageTime:
    """The time of all steps of a run, from its first, second and last."""
    return roofline.steps(*walks, 0, max(run.count - 1, 1)).total(0, run.count)


def page_runs(model: Stepped, page: Passing, steps: int) -> Iterator[tuple[int, StepRun]]:
    """The runs of a page's decode steps, pass by pass, each after the positions of its pass's prefill."""
    for each, count in page.passes(steps):
        for run in model.decode_runs(count):
            yield each.seq_len, run


class LastStep(NamedTuple):
    """The last decode step of a pass: which pass, how many steps it has, tokens before it, how many came from steps."""

    number: int
    steps: int
    context: int
    generated: int


def before_last(runs: Sequence[StepRun]) -> int:
    """Tokens that came from steps before the last step of these runs."""
    return max(int(run.first + run.period * (run.count - 1)) for run in runs)


def last_step(model: Stepped, page: Passing, tokens: int) -> LastStep:
    """The last of the steps of a page's `tokens` tokens, one or more; of several passes that with most before it."""
    ends = []
    for number, (each, own) in enumerate(page.passes(tokens), start=1):
        if own:
            runs = model.decode_runs(own)
            generated = before_last(runs)
            ends.append(LastStep(number, sum(run.count for run in runs), each.seq_len + generated, generated))
    return max(ends, key=lambda end: end.context)


def decode_time(roofline: Roofline, model: Stepped, page: Passing, steps: int) -> StageTime:
    """The time of `steps` decode steps after a page's prefill."""
    runs = page_runs(model, page, steps)
    times = (run_time(roofline, run_walks(model, seq_len, run), run) for seq_len, run in runs)
    return reduce(add, times, StageTime(ticks_per_s=roofline.ticks_per_s))
