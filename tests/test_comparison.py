"""Operators in groups: they add up to the page, and their differences to the difference of the pages."""

from pathlib import Path

import pytest

from modelmeter.comparison import SUMS, compare_operators, differing, operator_sums, stage_times
from modelmeter.devices import Roofline
from modelmeter.models.deepseek_ocr import load_cost_model
from tests.devices.synthetic import slow_device

STEPS = 7


@pytest.mark.parametrize("overrides", [["workload=gundam"], ["workload=tiny", "execution=published"]])
def test_the_groups_add_up_to_the_stages(overrides: list[str], tmp_path: Path) -> None:
    model = load_cost_model(overrides)
    page = model.page(1275, 1650, STEPS)
    roofline = Roofline(slow_device(tmp_path, kernel_launch={"seconds": 0.25, "origin": "measured"}))
    sums = operator_sums(model, page, STEPS, roofline)
    times = stage_times(model, page, STEPS, roofline)
    for stage in ("prefill", "decode"):
        groups = [each for key, each in sums.items() if key[0] == stage]
        for figure in SUMS:
            assert sum(getattr(each.cost, figure) for each in groups) == getattr(getattr(page, stage), figure)
        assert sum(each.seconds or 0 for each in groups) == times[stage].exact_seconds
        assert sum(each.count for each in groups) == times[stage].operators
    assert times["total"].ticks == times["prefill"].ticks + times["decode"].ticks
    assert not any(part.isdigit() for _, path, _ in sums for part in path.split("."))


def test_the_changes_add_up_to_the_difference() -> None:
    models = [load_cost_model([f"workload={mode}"]) for mode in ("base", "gundam")]
    pages = [model.page(1275, 1650, STEPS) for model in models]
    a, b = (operator_sums(model, page, STEPS) for model, page in zip(models, pages, strict=True))
    changes = compare_operators(a, b)
    for figure in SUMS:
        expected = getattr(pages[1].total, figure) - getattr(pages[0].total, figure)
        assert sum(change.delta(figure) for change in changes) == expected
    flops = [abs(change.delta("tensor_core_flops")) for change in changes]
    assert flops == sorted(flops, reverse=True)
    assert all(change.a != change.b for change in changes)
    traffic = [abs(change.delta("io_bytes")) for change in compare_operators(a, b, "io_bytes")]
    assert traffic == sorted(traffic, reverse=True) and traffic != flops


def test_nothing_changes_between_equals() -> None:
    model = load_cost_model(["workload=tiny"])
    sums = operator_sums(model, model.page(600, 800))
    assert compare_operators(sums, sums) == []


def test_an_attention_kernel_is_found_as_the_cause() -> None:
    sums = []
    for attention in ("flash", "eager"):
        model = load_cost_model(["workload=tiny", f"runtime.attention={attention}"])
        sums.append(operator_sums(model, model.page(600, 800)))
    changed = {(change.path, change.aten) for change in compare_operators(sums[0], sums[1], "io_bytes")}
    assert ("layers.N.self_attn", "aten._scaled_dot_product_flash_attention.default") in changed
    assert ("layers.N.self_attn", "aten._softmax.default") in changed
    assert {path.split(".")[-1] for path, _ in changed} <= {"attn", "self_attn", "layers", "language_model", ""}


def test_differences_of_configurations() -> None:
    a = {"x": 1, "y": {"z": True, "w": [1, 2]}, "only": 3}
    b = {"x": 1, "y": {"z": False, "w": [1, 2]}}
    assert differing(a, b) == [("y.z", True, False), ("only", 3, None)]
