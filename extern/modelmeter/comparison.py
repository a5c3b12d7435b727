"""Two configurations' cost of the same page, or two results', side by side: what changed, and which operators did it.

Operators are grouped by what they are: the module's path, a layer's number written N, and the aten operator. A group's
figures are sums over a page's prefill (vision included) and all its decode steps, exactly: the groups of a stage add up
to the stage. Vision is part of prefill and so no stage of its own here.

    >>> a, b = (load_cost_model([f"execution={name}"]) for name in ("transformers", "serving"))
    >>> for change in compare_operators(operator_sums(a, a.page(1275, 1650)), operator_sums(b, b.page(1275, 1650))):
    ...     print(change.stage, change.path, change.aten, change.delta("tensor_core_flops"))
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from modelmeter.devices.decode import decode_time, page_runs, run_time, run_walks
from modelmeter.devices.roofline import Roofline, StageTime
from modelmeter.models.common.contract import CostModel
from modelmeter.models.common.stage_cost import StageCost
from modelmeter.walk import OperatorRecord, Walk

#: the stages whose operators add up to a page
STAGES: Final = ("prefill", "decode")
#: sums that a group of operators has, of `StageCost`
SUMS: Final = ("tensor_core_flops", "cuda_core_flops", "io_bytes")

Key = tuple[str, str, str]
"""Stage, module path with layer numbers as N, aten operator."""


@dataclass(frozen=True, kw_only=True)
class OperatorSum:
    """A group's operators on a page: how many run, what they compute and move, and how long they take, if predicted."""

    count: int = 0
    cost: StageCost = field(default_factory=StageCost)
    seconds: Fraction | None = None

    def then(self, later: OperatorSum) -> OperatorSum:
        """This group's operators, then more of them."""
        seconds = None if self.seconds is None or later.seconds is None else self.seconds + later.seconds
        return OperatorSum(count=self.count + later.count, cost=self.cost + later.cost, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One group in both; a side that does not run it has zeros."""

    stage: str
    path: str
    aten: str
    a: OperatorSum
    b: OperatorSum

    def delta(self, figure: str) -> int:
        """B less A of a figure of `SUMS`."""
        return int(getattr(self.b.cost, figure)) - int(getattr(self.a.cost, figure))

    @property
    def seconds(self) -> Fraction:
        """B less A, seconds; 0 where no time is predicted."""
        return (self.b.seconds or Fraction(0)) - (self.a.seconds or Fraction(0))


def operator_sums(
    model: CostModel, page: Any, output_tokens: int = 0, roofline: Roofline | None = None
) -> dict[Key, OperatorSum]:
    """What each group of operators does on a page of `model`."""
    sums: dict[Key, OperatorSum] = {}
    for (path, aten), records in _groups(model.stage_walk("prefill", page=page)).items():
        part = _walk(records)
        seconds = None if roofline is None else roofline.stage(part).exact_seconds
        sums["prefill", path, aten] = OperatorSum(count=len(records), cost=_cost(records), seconds=seconds)
    for seq_len, run in page_runs(model, page, output_tokens):
        walks = run_walks(model, seq_len, run)
        first, second, far = (_groups(walk) for walk in walks)
        for (path, aten), records in first.items():
            grown = _cost(second[path, aten])
            cost = _cost(records).summed(grown, grown, run.count)
            seconds = None
            if roofline is not None:
                parts = (_walk(records), _walk(second[path, aten]), _walk(far[path, aten]))
                seconds = run_time(roofline, parts, run).exact_seconds
            steps = OperatorSum(count=len(records) * run.count, cost=cost, seconds=seconds)
            before = sums.get(("decode", path, aten))
            sums["decode", path, aten] = steps if before is None else before.then(steps)
    return sums


def stage_times(model: CostModel, page: Any, output_tokens: int, roofline: Roofline) -> dict[str, StageTime]:
    """Predicted time of vision, prefill (vision included), decode and total of a page."""
    times = {stage: roofline.stage(model.stage_walk(stage, page=page)) for stage in ("vision", "prefill")}
    decode = decode_time(roofline, model, page, output_tokens)
    return times | {"decode": decode, "total": times["prefill"] + decode}


def compare_operators(
    a: Mapping[Key, OperatorSum], b: Mapping[Key, OperatorSum], by: str = "tensor_core_flops"
) -> list[Change]:
    """The groups that differ, the largest change of `by` (of `SUMS`, or "seconds") first."""
    none = OperatorSum()
    changes = [
        Change(stage=key[0], path=key[1], aten=key[2], a=a.get(key, none), b=b.get(key, none))
        for key in dict.fromkeys((*a, *b))
        if a.get(key) != b.get(key)
    ]

    def size(change: Change) -> tuple[Any, ...]:
        first = change.seconds if by == "seconds" else change.delta(by)
        return (-abs(first), *(-abs(change.delta(figure)) for figure in SUMS))

    return sorted(changes, key=size)


def differing(a: Mapping[str, Any], b: Mapping[str, Any], path: str = "") -> list[tuple[str, Any, Any]]:
    """(key, A's value, B's value) wherever two configurations differ; nested keys are joined by dots.

    None: there is no such key on that side, as of another model.
    """
    found: list[tuple[str, Any, Any]] = []
    for key in dict.fromkeys((*a, *b)):
        name, one, other = f"{path}.{key}" if path else key, a.get(key), b.get(key)
        if isinstance(one, Mapping) or isinstance(other, Mapping):
            found += differing(one or {}, other or {}, name)
        elif one != other:
            found.append((name, one, other))
    return found


def _groups(walk: Walk) -> dict[tuple[str, str], list[OperatorRecord]]:
    groups: dict[tuple[str, str], list[OperatorRecord]] = {}
    for record in walk.records():
        path = re.sub(r"(^|\.)\d+(?=\.|$)", r"\1N", record.path)
        groups.setdefault((path, record.aten), []).append(record)
    return groups


def _cost(records: Iterable[OperatorRecord]) -> StageCost:
    total = StageCost()
    for record in records:
        total += StageCost.of_entry(record)
    return total


def _walk(records: Sequence[OperatorRecord]) -> Walk:
    """The records as a walk of their own, of which only the entries mean anything."""
    return Walk(tuple(records), 0, 0, 0, 0, 0, 0, 0, 0, "", "", len(records))
