"""The cost model's side of a case. torch is not imported."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from modelmeter import load_cost_model
from modelmeter.models.common import StageCost
from modelmeter.models.common.stage_cost import json_number
from modelmeter.reference.comparison import ADDED, PEAKS, cuda_core_flops
from modelmeter.walk import Walk
from tests.measured.cases import Case

#: figures of a stage by their names in `StageCost`, elements outside products by operator, and digests of all operators
Stage = dict[str, Any]

FIGURES = (*(figure for figure in ADDED if figure != "cuda_core_flops"), *PEAKS)

model_of = lru_cache(maxsize=1)(load_cost_model)


def cost_model(case: Case) -> Any:
    """The cost model of a case; cases of the same configuration, one after another, have the same one."""
    return model_of(case.overrides, model=case.model)


def page_of(case: Case, model: Any) -> Any:
    """What the pages of a case cost; of a prompt without an image, that."""
    if case.size is not None:
        return model.page(*case.size)
    if case.layout is not None:
        return model.layout_cost(model.workload.layout_of(case.layout))
    return model.text(model.prompt_tokens)


def seq_len_of(case: Case, model: Any, page: Any) -> int:
    """Positions of a case's prefill."""
    return int(model.prompt_tokens if case.text_alone else page.seq_len)


def account(case: Case) -> dict[str, Stage]:
    """Every figure of every stage of a case."""
    model = cost_model(case)
    page = page_of(case, model)
    seq_len = seq_len_of(case, model, page)
    stages = {}
    if not case.text_alone:
        stages["vision"] = stage_of(page.vision, model.stage_walk("vision", page=page))
    stages["prefill"] = stage_of(page.prefill, model.stage_walk("prefill", page=page), seq_len)
    for done in case.steps:
        context = seq_len + done
        walk = model.stage_walk("decode", context=context, generated=done)
        stages[f"step {done}"] = stage_of(model.step(context, done), walk, context + 1)
    return stages


def stage_of(cost: StageCost, walk: Walk, seq_len: int | None = None) -> Stage:
    """The figures of a stage, and the operators of its walk."""
    elements: Counter[str] = Counter()
    for record in walk.records():
        elements[record.aten] += record.elements
    figures = {figure: getattr(cost, figure) for figure in (*FIGURES, "weight_bytes", "kv_bytes")}
    return {
        **({} if seq_len is None else {"seq_len": seq_len}),
        **{figure: json_number(value) for figure, value in figures.items()},
        "cuda_core_flops": json_number(cost.cuda_core_flops),
        "peak_operator": cost.peak_operator,
        "peak_path": cost.peak_path,
        "elements": {name: json_number(count) for name, count in sorted(elements.items()) if count},
        "operators": digest(
            (each.aten, each.path, each.elements, each.bytes_read, each.bytes_written) for each in walk.records()
        ),
        "products": digest((each.path, each.tensor_core_flops) for each in walk.records() if each.tensor_core_flops),
    }


def digest(rows: Iterable[tuple[Any, ...]]) -> str:
    """Of rows in their order."""
    return hashlib.sha256("\n".join(map(repr, rows)).encode()).hexdigest()[:16]


def compared(stored: Stage) -> Stage:
    """A measured stage as the account has it: its elements rated by the table of FLOPs an element."""
    elements = {name: int(count) for name, count in stored["elements"].items()}
    return stored | {"cuda_core_flops": json_number(cuda_core_flops(elements))}


def differences(case: Case, measured: Mapping[str, Stage]) -> Iterator[str]:
    """Where the account differs from the measurement, a line a figure."""
    analytic = account(case)
    if list(analytic) != list(measured):
        yield f"stages {list(analytic)}, measured {list(measured)}"
    for name in [name for name in analytic if name in measured]:
        ours, theirs = flat(analytic[name]), flat(compared(measured[name]))
        for figure in ours | theirs:
            if ours.get(figure) != theirs.get(figure):
                yield f"{name}: {figure}: {ours.get(figure)}, measured {theirs.get(figure)}"


def flat(stage: Stage) -> Stage:
    """The elements of each operator as a figure of its own."""
    elements = {f"elements of {name}": count for name, count in stage["elements"].items()}
    return {name: value for name, value in stage.items() if name != "elements"} | elements
