"""The committed measurements: a file a model, a line a stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.measured.account import Stage

FOLDER = Path(__file__).parent


class Measured(NamedTuple):
    """A case's stages as measured, and what they depend on."""

    inputs: Mapping[str, str]
    stages: Mapping[str, Stage]


def file_of(model: str) -> Path:
    """Where a model's measurements stand."""
    return FOLDER / f"{model}.json"


def load(model: str) -> dict[str, Measured]:
    """A model's measurements by the names of their cases; none where nothing was measured yet."""
    file = file_of(model)
    return parse(file.read_text(encoding="utf-8")) if file.exists() else {}


def parse(content: str) -> dict[str, Measured]:
    """A file's measurements."""
    return {name: Measured(**entry) for name, entry in json.loads(content).items()}


def text(measurements: Mapping[str, Measured]) -> str:
    """As they are committed."""
    entries = []
    for name, measured in measurements.items():
        stages = ",\n".join(f"{json.dumps(stage)}: {json.dumps(each)}" for stage, each in measured.stages.items())
        entries.append(f'{json.dumps(name)}: {{"inputs": {json.dumps(measured.inputs)}, "stages": {{\n{stages}}}}}')
    return "{\n" + ",\n".join(entries) + "}\n"


def save(model: str, measurements: Mapping[str, Any]) -> None:
    """Write a model's file."""
    file_of(model).write_text(text(measurements), encoding="utf-8")
