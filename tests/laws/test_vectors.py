"""A file of laws, evaluated by a program of its own, gives what this library does: every integer, and times.

`evaluator.py` beside this file is that program: it reads the JSON alone. A wrong coefficient is found.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.laws.document import LawsFile
from modelmeter.models import MODELS, model_package
from modelmeter.models.common.engines import EXECUTION_OF, served
from tests.laws import evaluator

FileOf = Callable[[str, list[str], int], dict[str, Any]]
EVALUATOR = Path(evaluator.__file__)
NEAR = 1e-9


def wrong(content: dict[str, Any]) -> list[str]:
    """What of the vectors another program's evaluation of the file does not give."""
    laws = evaluator.Laws(content)
    found = []
    for number, vector in enumerate(content["vectors"]):
        asked = [vector[name] for name in ("model", "width", "height", "pages", "output_tokens")]
        try:
            page = laws.page(*asked)
        except evaluator.Refused:
            page = None
        if page is None or vector.get("refused"):
            if page is not None or not vector.get("refused"):
                found.append(f"{number}: refused")
            continue
        for name in ("image_tokens", "seq_len"):
            if page[name] != vector[name]:
                found.append(f"{number}: {name}")
        for stage, expected in vector["stages"].items():
            got = [str(page["stages"][stage][name]) for name in evaluator.FIGURES]
            found += [f"{number}: {stage}" for one, other in zip(got, expected, strict=True) if one != other]
        found += [f"{number}: {name}" for name in wrong_times(laws, vector, page)]
    return found


def wrong_times(laws: evaluator.Laws, vector: dict[str, Any], page: dict[str, Any]) -> list[str]:
    """Which times of a vector are not those of the evaluation."""
    times = vector.get("times", {})
    at = vector["model"], times.get("device")
    found = []
    for stage in ("prefill", "decode"):
        if stage not in times:
            continue
        if stage == "prefill":
            estimate = laws.prefill_time(*at, page, vector["pages"])
        else:
            estimate = laws.decode_time(*at, page["seq_len"], vector["output_tokens"], vector["pages"])
        told, (low, high) = times[stage], estimate.interval
        pairs = [(estimate.seconds, told["seconds"]), (low, told["low"]), (high, told["high"])]
        pairs.append((estimate.launches, told["launches"]))
        pairs += [(estimate.by_class.get(name, 0.0), seconds) for name, seconds in told["by_class"].items()]
        if any(abs(one - other) > NEAR * abs(other) for one, other in pairs):
            found.append(f"time of {stage}")
    return found


def test_the_evaluator_knows_nothing_of_the_library() -> None:
    tree = ast.parse(EVALUATOR.read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"__future__", "math", "fractions", "typing"}


@pytest.mark.slow
def test_a_thousand_vectors_hold(file_of: FileOf) -> None:
    content = file_of("deepseek_ocr", ["engine=vllm"], 1000)
    assert len(content["vectors"]) == 1000
    assert sum("times" in each for each in content["vectors"]) > 900
    assert wrong(content) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_vectors_of_every_model_hold(model: str, file_of: FileOf) -> None:
    overrides = served([], model_package(model).EXECUTIONS)
    content = file_of(model, overrides, 60)
    assert wrong(content) == []
    assert sum("stages" in each for each in content["vectors"]) > 40


@pytest.mark.slow
@pytest.mark.parametrize("engine", EXECUTION_OF)
def test_the_vectors_of_every_engine_hold(engine: str, file_of: FileOf) -> None:
    content = file_of("deepseek_ocr", [f"engine={engine}"], 40)
    assert wrong(content) == []
    assert content["laws"][0]["timed"] == (engine != "published")


def a_coefficient(content: dict[str, Any]) -> None:
    case = content["laws"][0]["figures"][0]["cases"][0]
    place = case["tensor_core_flops"]
    content["polynomials"][place] += " + 1"


def a_peak(content: dict[str, Any]) -> None:
    (prefill,) = [each for each in content["laws"][0]["figures"] if each["variables"] == ["seq_len", "columns", "rows"]]
    for case in prefill["cases"]:
        del case["activation_peak_bytes"][0]


def a_condition(content: dict[str, Any]) -> None:
    for condition in content["conditions"]:
        condition[1] = {"<": ">=", ">=": "<"}.get(condition[1], condition[1])


def a_tile(content: dict[str, Any]) -> None:
    content["models"][0]["image"]["steps"][0]["most"] -= 1


def a_constant(content: dict[str, Any]) -> None:
    for device in content["devices"].values():
        device["kernels"]["gemm"]["values"]["matmul"] *= 1 + 1e-6


def a_kernel(content: dict[str, Any]) -> None:
    family = next(each for each in content["laws"][0]["kernels"] if each["stage"] == "prefill")
    family["cases"][0]["kernels"].pop()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [a_coefficient, a_peak, a_condition, a_tile, a_constant, a_kernel])
def test_a_damaged_file_is_found(damage: Callable[[dict[str, Any]], None], file_of: FileOf) -> None:
    content = file_of("deepseek_ocr", ["engine=vllm"], 60)
    damage(content)
    assert wrong(content) != []


def modes() -> list[tuple[str, str]]:
    return [(model, mode) for model in MODELS for mode in model_package(model).MODES]


@pytest.mark.parametrize("model, mode", modes())
def test_the_rule_of_every_mode_is_the_workloads(model: str, mode: str) -> None:
    draws = random.Random(mode)
    workload = model_package(model).MODES[mode]
    rule = workload.image_rule()
    names = {each.kind: each.name for each in rule.kinds}

    def value(text: str, numbers: dict[str, int]) -> int:
        content = {"format": "modelmeter laws", "version": 2, "polynomials": [text]}
        return int(evaluator.Laws(content).value(0, numbers))

    for _ in range(1500):
        width, height = (int(2 ** draws.uniform(0, 14.5)) for _ in range(2))
        try:
            layout = workload.layout_of(workload.layout(width, height))
        except ModelMeterError:
            with pytest.raises(evaluator.Refused):
                evaluator.followed([dict(step) for step in rule.steps], width, height)
            continue
        numbers = evaluator.followed([dict(step) for step in rule.steps], width, height)
        outcomes = {"==": int.__eq__, "!=": int.__ne__}
        kind = next(
            each
            for each in rule.kinds
            if all(outcomes[is_](value(text, numbers), than) for text, is_, _, than in each.conditions)
        )
        assert names[workload.kind(layout)] == kind.name
        sizes = {name: value(text, numbers) for name, text in kind.variables.items()}
        assert (width, height, sizes) == (width, height, dict(workload.sizes(layout)))


def test_a_model_whose_rule_is_not_data_is_refused_by_name(toy: str) -> None:
    with pytest.raises(
        ModelMeterError, match=r"laws: the image rule of tests\.toy_model\.workload has no form as data"
    ):
        LawsFile().add(model_package(toy).load_cost_model())


@pytest.mark.parametrize(
    "model, overrides, text",
    [
        (
            "qwen2_vl",
            ["workload=layout", "workload.regions=[[100,50]]"],
            r"laws: workload\.regions makes several passes",
        ),
        (
            "deepseek_ocr",
            ["runtime.draft=ngram", "runtime.accepted_tokens=2", "runtime.draft_tokens=3"],
            r"laws: runtime\.draft=ngram: steps that",
        ),
        ("deepseek_ocr", ["engine=vllm", "parallel.tensor=2"], r"laws: parallel\.tensor=2: the file's formulas say"),
        ("deepseek_ocr", ["runtime.batch_size=2"], r"laws: runtime\.batch_size=2; pages at once are a variable"),
    ],
)
def test_what_is_no_single_pass_of_one_page_is_refused(model: str, overrides: list[str], text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        LawsFile().add(model_package(model).load_cost_model(overrides))


def test_models_that_walk_alike_share_their_laws() -> None:
    package = model_package("qwen2_5_vl")
    file = LawsFile()
    for checkpoint in ("rolmocr", "qwen2_5_vl_7b", "qwen2_5_vl_3b"):
        file.add(package.load_cost_model([f"checkpoint={checkpoint}", "workload=olmocr"]))
    keys = [each.laws for each in file._entries]
    assert keys[0] == keys[1] != keys[2]
