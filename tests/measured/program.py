"""Measurements of real modules: `make measured` writes them and their report, `make measured-changed` checks them.

    python -m tests.measured [NAME ...]    # measure and store all cases of these models or series, of all without one
    python -m tests.measured --stale       # those alone that are stale or missing
    python -m tests.measured --changed     # those that are stale, or that this commit has changed: measure, and compare

Exit status 1: the cost model differs from what was measured; with --changed, what is stored does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.measured import recorded, report, stored
from tests.measured.account import Stage, differences
from tests.measured.cases import CASES, MODELS, Case
from tests.measured.inputs import inputs_of, stale
from tests.measured.recorded import SERIES, Recorded
from tests.measured.stored import FOLDER, Measured

#: neighbours among the cases of a series often share modules, which are built once
PARTS_AT_ONCE = 12


def measured(cases: Sequence[Case]) -> list[dict[str, Stage]]:
    """Measurements of cases of one configuration, whose modules are built once."""
    from tests.measured.measuring import measure

    return [measure(case) for case in cases]


def processes() -> ProcessPoolExecutor:
    """One for each processor."""
    return ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))


def measure_all(cases: Sequence[Case]) -> Iterator[tuple[Case, dict[str, Stage]]]:
    """Measurements of cases, in their order; on all processors."""
    if not cases:
        return
    groups = [list(group) for _, group in groupby(cases, key=lambda case: (case.model, case.overrides))]
    with processes() as pool:
        for group, stages in zip(groups, pool.map(measured, groups), strict=True):
            yield from zip(group, stages, strict=True)


def measured_parts(parts: Sequence[tuple[str, str]]) -> list[Any]:
    """Measurements of cases of series."""
    return [recorded.measure_anew(*each) for each in parts]


def measure_parts(parts: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, Any]]:
    """Series, case and measurement, in their order; on all processors."""
    if not parts:
        return
    groups = [parts[first : first + PARTS_AT_ONCE] for first in range(0, len(parts), PARTS_AT_ONCE)]
    with processes() as pool:
        for group, found in zip(groups, pool.map(measured_parts, groups), strict=True):
            yield from ((*each, value) for each, value in zip(group, found, strict=True))


def outdated(case: Case, known: dict[str, Measured]) -> bool:
    """Whether a case has no measurement, or one that depended on something else."""
    return case.name not in known or bool(stale(known[case.name].inputs, case.model))


def committed(file: Path) -> str:
    """A file in the commit before this one; "" where git does not know it."""
    shown = f"HEAD^:{file.relative_to(FOLDER.parents[1])}"
    done = subprocess.run(["git", "show", shown], cwd=FOLDER, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def before(model: str) -> dict[str, Measured]:
    """A model's measurements in the commit before this one."""
    content = committed(stored.file_of(model))
    return stored.parse(content) if content else {}


def recorded_before(name: str) -> Recorded:
    """A series' measurements in the commit before this one."""
    content = committed(recorded.file_of(name))
    return recorded.parse(content) if content else Recorded({}, {})


def renew(models: Sequence[str], only_stale: bool) -> int:
    """Measure, and write the file of one model after another; the exit status."""
    wrong = 0
    for model in models:
        cases = [case for case in CASES if case.model == model]
        kept = stored.load(model) if only_stale else {}
        inputs = inputs_of(model)
        new = dict(measure_all([case for case in cases if outdated(case, kept)]))
        entries = {case.name: Measured(inputs, new[case]) if case in new else kept[case.name] for case in cases}
        stored.save(model, entries)
        print(f"{model}: {len(new)} of {len(cases)} cases measured", flush=True)
        for case, stages in new.items():
            for line in differences(case, stages):
                wrong += 1
                print(f"{model} {case.name}: the cost model differs: {line}")
    report.write()
    return 1 if wrong else 0


def renew_series(names: Sequence[str], only_stale: bool) -> None:
    """Measure, and write the file of one series after another."""
    for name in names:
        stored_now, inputs = recorded.load(name), recorded.code_inputs(name)
        kept = stored_now.measured if only_stale and not recorded.stale(name, stored_now.inputs) else {}
        cases = list(recorded.cases_of(name))
        new = {case: found for _, case, found in measure_parts([(name, case) for case in cases if case not in kept])}
        recorded.save(name, Recorded(inputs, {case: new.get(case, kept.get(case)) for case in cases}))
        print(f"{name}: {len(new)} of {len(cases)} cases measured", flush=True)


def changed() -> int:
    """Measure what is stale or was stored since the commit before, and compare; the exit status."""
    return max(changed_models(), changed_series())


def changed_series() -> int:
    """The same of series."""
    known = {name: recorded.load(name) for name in SERIES}
    wanted = []
    for name, each in known.items():
        earlier = Recorded({}, {}) if recorded.stale(name, each.inputs) else recorded_before(name)
        kept = earlier.measured if earlier.inputs == each.inputs else {}
        wanted += [(name, case) for case in recorded.cases_of(name) if kept.get(case) != each.measured.get(case, 0)]
    wrong = 0
    for name, case, found in measure_parts(wanted):
        if known[name].measured.get(case) != found:
            wrong += 1
            print(f"{name} {case}: measured otherwise than it is stored; run make measured ARGS={name}")
    print(f"{len(wanted)} cases of series measured again, {wrong} differ")
    return 1 if wrong else 0


def changed_models() -> int:
    """The same of models."""
    known = {model: stored.load(model) for model in MODELS}
    earlier = {model: before(model) for model in MODELS}
    wanted = [
        case
        for case in CASES
        if outdated(case, known[case.model]) or known[case.model][case.name] != earlier[case.model].get(case.name)
    ]
    wrong = 0
    for case, stages in measure_all(wanted):
        entry = known[case.model].get(case.name)
        if entry is None or entry.stages != stages:
            wrong += 1
            print(f"{case.model} {case.name}: measured otherwise than it is stored; run make measured")
    print(f"{len(wanted)} of {len(CASES)} cases measured again, {wrong} differ")
    return 1 if wrong else 0


def main() -> int:
    """The program; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.measured")
    names = (*MODELS, *SERIES)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--stale", action="store_true", help="renew those alone that are stale or missing")
    parser.add_argument("--changed", action="store_true", help="renew nothing: measure what changed, and compare")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in names]
    if unknown:
        parser.error(f"there are no cases of {unknown[0]}; there are {', '.join(names)}.")
    if arguments.changed:
        return changed()
    chosen = arguments.names or names
    renew_series([name for name in SERIES if name in chosen], arguments.stale)
    models = [model for model in MODELS if model in chosen]
    return renew(models, arguments.stale) if models else 0
