"""The committed measurements of parts of models: a file a series, a line a case. torch is not imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from tests.measured.inputs import inputs_of_code, otherwise, parsed, reached

FOLDER = Path(__file__).with_name("series")
SERIES = tuple(sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__"))


class Recorded(NamedTuple):
    """What a series depended on, and what was measured, by the names of its cases."""

    inputs: Mapping[str, str]
    measured: Mapping[str, Any]


def file_of(name: str) -> Path:
    """Where a series' measurements stand."""
    return FOLDER / f"{name}.json"


def load(name: str) -> Recorded:
    """A series' measurements; none where nothing was measured yet."""
    file = file_of(name)
    return parse(file.read_text(encoding="utf-8")) if file.exists() else Recorded({}, {})


def parse(content: str) -> Recorded:
    """A file's measurements."""
    return Recorded(**json.loads(content))


def text(recorded: Recorded) -> str:
    """As they are committed."""
    lines = ",\n".join(f"{json.dumps(case)}: {json.dumps(each)}" for case, each in recorded.measured.items())
    return f'{{"inputs": {json.dumps(recorded.inputs)}, "measured": {{\n{lines}}}}}\n'


def save(name: str, recorded: Recorded) -> None:
    """Write a series' file."""
    file_of(name).write_text(text(recorded), encoding="utf-8")


@cache
def code_inputs(name: str) -> Mapping[str, str]:
    """What every measurement of a series depends on, as it is now."""
    file = FOLDER / f"{name}.py"
    return inputs_of_code(reached(parsed(file).body, {file}))


def stale(name: str, inputs: Mapping[str, str]) -> str:
    """How a series' inputs differ from those of today, in words; "" where they are the same."""
    return otherwise(inputs, code_inputs(name))


@cache
def known(name: str) -> Recorded:
    """A series' measurements, which must not be stale."""
    found = load(name)
    why = stale(name, found.inputs)
    assert not why, f"stale: {name}: {why}; run make measured ARGS={name}"
    return found


def recorded(name: str, case: str) -> Any:
    """What was measured of a case."""
    measured = known(name).measured
    assert case in measured, f"{name}: {case} is not measured; run make measured ARGS={name}"
    return measured[case]


def cases_of(name: str) -> Mapping[str, Any]:
    """The cases of a series. Imports torch."""
    cases: Mapping[str, Any] = import_module(f"tests.measured.series.{name}").CASES
    return cases


def measure_anew(name: str, case: str) -> Any:
    """What is measured of a case now, as JSON has it. Imports torch."""
    module = import_module(f"tests.measured.series.{name}")
    return json.loads(json.dumps(module.measure(module.CASES[case])))
