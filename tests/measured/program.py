"""Measurements of real modules: `make measured` writes them and their report, `make measured-changed` checks them.

    python -m tests.measured [MODEL ...]   # measure and store all cases of these models, of all without a name
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

from tests.measured import report, stored
from tests.measured.account import Stage, differences
from tests.measured.cases import CASES, MODELS, Case
from tests.measured.inputs import inputs_of, stale
from tests.measured.stored import FOLDER, Measured


def measured(cases: Sequence[Case]) -> list[dict[str, Stage]]:
    """Measurements of cases of one configuration, whose modules are built once."""
    from tests.measured.measuring import measure

    return [measure(case) for case in cases]


def measure_all(cases: Sequence[Case]) -> Iterator[tuple[Case, dict[str, Stage]]]:
    """Measurements of cases, in their order; on all processors."""
    if not cases:
        return
    groups = [list(group) for _, group in groupby(cases, key=lambda case: (case.model, case.overrides))]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for group, stages in zip(groups, pool.map(measured, groups), strict=True):
            yield from zip(group, stages, strict=True)


def outdated(case: Case, known: dict[str, Measured]) -> bool:
    """Whether a case has no measurement, or one that depended on something else."""
    return case.name not in known or bool(stale(known[case.name].inputs, case.model))


def before(model: str) -> dict[str, Measured]:
    """The measurements of the commit before this one; none where git does not know it."""
    shown = f"HEAD^:{stored.file_of(model).relative_to(FOLDER.parents[1])}"
    done = subprocess.run(["git", "show", shown], cwd=FOLDER, capture_output=True, text=True, check=False)
    return stored.parse(done.stdout) if done.returncode == 0 else {}


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


def changed() -> int:
    """Measure what is stale or was stored since the commit before, and compare; the exit status."""
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
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--stale", action="store_true", help="renew those alone that are stale or missing")
    parser.add_argument("--changed", action="store_true", help="renew nothing: measure what changed, and compare")
    arguments = parser.parse_args()
    unknown = [model for model in arguments.models if model not in MODELS]
    if unknown:
        parser.error(f"there are no cases of {unknown[0]}; there are {', '.join(MODELS)}.")
    if arguments.changed:
        return changed()
    return renew(arguments.models or MODELS, arguments.stale)
