"""A page's stages operator by operator, exactly: the operators of a stage sum to its cost.

A decode step's operators are the same at every step of a run (`runs`), and what each of them computes and moves grows
evenly, so all steps together are had from the first two of each run, as the stage itself is. A page of several passes
shares its steps among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from modelmeter.models.common.stage_cost import StageCost
from modelmeter.walk import OperatorRecord

if TYPE_CHECKING:
    from modelmeter.models.common.cost_model import TextCost
    from modelmeter.models.common.runs import StepRun


class OperatorCost(NamedTuple):
    """One operator of a stage: what it does when it first runs, how many times it does, and all of them together.

    Of `cost` only what adds up is set: FLOPs and traffic.
    """

    record: OperatorRecord
    times: int
    cost: StageCost


def stage_operators(page: TextCost, stage: str) -> list[OperatorCost]:
    """The operators of "vision", "prefill" (vision's among them) or "decode" (all steps), in the order of their calls.

    Raises `ModelMeterError` for another stage, and for one that the page has not.
    """
    model = page.cost_model
    if stage != "decode":
        records = model.stage_walk(stage, page=page).records()
        return [OperatorCost(record, 1, StageCost.of_entry(record)) for record in records]
    merged: dict[object, OperatorCost] = {}
    for each, steps in page.passes(page.output_tokens):
        for run in model.decode_runs(steps):
            _add_run(merged, each, run)
    return list(merged.values())


def _add_run(merged: dict[object, OperatorCost], page: TextCost, run: StepRun) -> None:
    """Add the operators of a run's steps to those of others, by what tells an operator from the others of its step."""
    first = list(_step(page, run.first))
    second = list(_step(page, run.first + run.period)) if run.count > 1 else first
    for (key, record), (_, later) in zip(first, second, strict=True):
        start = StageCost.of_entry(record)
        cost = start.summed(StageCost.of_entry(later), start, run.count)
        known = merged.get(key)
        merged[key] = OperatorCost(
            known.record if known else record,
            run.count + (known.times if known else 0),
            known.cost + cost if known else cost,
        )


def _step(page: TextCost, generated: int) -> Iterator[tuple[object, OperatorRecord]]:
    """The operators of the step after `generated` others, each with what tells it from the others of its step."""
    walk = page.cost_model.stage_walk("decode", context=page.seq_len + generated, generated=generated)
    seen: Counter[tuple[str, str]] = Counter()
    for record in walk.records():
        name = record.path, record.aten
        yield (name, seen[name]), record
        seen[name] += 1
