"""Files of laws for the tests, each made once."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from modelmeter.devices import load_device
from modelmeter.laws.document import LawsFile
from modelmeter.laws.vectors import vectors
from modelmeter.models import model_package

BATCHES = (1, 2)
DEVICES = ("H100-SXM", "A10")


@cache
def written(model: str, overrides: tuple[str, ...], number: int) -> str:
    """A file of a model's laws with vectors, as JSON."""
    devices = [load_device(name) for name in DEVICES]
    cost_model = model_package(model).load_cost_model(list(overrides))
    file = LawsFile(devices, batches=BATCHES)
    file.add(cost_model)
    content = file.to_dict()
    content["vectors"] = vectors(content, cost_model, devices, number=number)
    return json.dumps(content)


@pytest.fixture
def file_of() -> Any:
    """A function of a model, its overrides and a number of vectors: the file's content, the caller's own."""
    return lambda model, overrides, number: json.loads(written(model, tuple(overrides), number))
