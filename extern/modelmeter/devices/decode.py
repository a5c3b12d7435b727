"""The time of decode steps, run by run: in a run what a step computes and moves grows evenly from one to the next.

Most models have one run, of all steps, by the tokens before them. A model whose attention changes after some steps has
several (`StepRun`), and the sum over all of them is as exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Protocol

from modelmeter.devices.roofline import Roofline, StageTime
from modelmeter.walk import Walk

if TYPE_CHECKING:
    from modelmeter.models.common.runs import StepRun


class Stepped(Protocol):
    """A model whose decode steps can be walked."""

    def decode_runs(self, steps: int) -> Sequence[StepRun]:
        """The runs of a page's steps."""

    def stage_walk(self, stage: str, *, page: Any = None, context: int = 0, generated: int = 0) -> Walk:
        """The operators of one "decode" step after `context` tokens, the last `generated` of them from steps."""


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


def decode_time(roofline: Roofline, model: Stepped, seq_len: int, steps: int) -> StageTime:
    """The time of `steps` decode steps after a prefill of `seq_len` tokens."""
    runs = model.decode_runs(steps)
    times = (run_time(roofline, run_walks(model, seq_len, run), run) for run in runs)
    return reduce(add, times, StageTime(ticks_per_s=roofline.ticks_per_s))
