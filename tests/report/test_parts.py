"""Parts of a page's stages sum to them, by module, operator and class of kernels; and peak holders to the peak."""

from __future__ import annotations

import csv
import io
import re

import pytest

from modelmeter import load_cost_model
from modelmeter.cli.output import rendered
from modelmeter.devices import load_device
from modelmeter.devices.roofline import Roofline
from modelmeter.devices.stage_time import StageTimes
from modelmeter.kernel_classes import kernel_class
from modelmeter.page_sizes import PageSize
from modelmeter.report import parts, peak_holders
from modelmeter.report.page_tables import exact_figure, readable_figure

MODELS = ["deepseek_ocr", "lighton_ocr", "olmocr_2_7b"]
SIZE = PageSize(source="700x500", width=700, height=500)
STEPS = 5


@pytest.mark.parametrize("by", parts.BY)
@pytest.mark.parametrize("model", MODELS)
def test_parts_sum_to_the_stages(model: str, by: str) -> None:
    cost_model = load_cost_model([], model=model)
    page = cost_model.page(SIZE.width, SIZE.height, STEPS)
    stages = parts.walked_stages(cost_model, page, STEPS)
    assert [stage.key for stage in stages] == ["prefill", "decode_step"]
    context = page.seq_len + STEPS - 1
    costs = [page.prefill, cost_model.step(context, STEPS - 1)]
    for stage, cost in zip(stages, costs, strict=True):
        found = parts.parts_of(stage.operators, by)
        for figure in ("tensor_core_flops", "cuda_core_flops", "io_bytes", "io_weight_bytes"):
            assert sum(getattr(part, figure) for part in found) == getattr(cost, figure), figure
        assert sum(part.operators for part in found) == len(stage.operators)
        assert len({part.name for part in found}) == len(found) > 1
        flops = [part.tensor_core_flops for part in found]
        assert flops == sorted(flops, reverse=True) and {part.seconds for part in found} == {None}


def test_a_class_of_kernels_by_hand() -> None:
    cost_model = load_cost_model(["workload=tiny"])
    page = cost_model.page(SIZE.width, SIZE.height)
    (stage,) = parts.walked_stages(cost_model, page, 0)
    records = [record for record in stage.walk.records() if kernel_class(record) == "convolution"]
    (part,) = [part for part in parts.parts_of(stage.operators, parts.KERNEL_CLASS) if part.name == "convolution"]
    assert part.operators == len(records)
    # SAM at 512 x 512: patches of 16; neck 1 x 1 and 3 x 3; two strided 3 x 3; CLIP's own patches are not run over
    grid = 512 // 16
    sam = 2 * grid**2 * (768 * 3 * 16**2 + 256 * 768 + 256 * 256 * 9)
    sam += 2 * (grid // 2) ** 2 * 512 * 256 * 9 + 2 * (grid // 4) ** 2 * 1024 * 512 * 9
    clip = [record for record in records if "vision_model" in record.path]
    assert part.tensor_core_flops - sum(record.tensor_core_flops for record in clip) == sam


def test_times_and_bounds_are_those_of_the_device() -> None:
    cost_model = load_cost_model(["engine=vllm"])
    page = cost_model.page(SIZE.width, SIZE.height, STEPS)
    device = load_device("H100-SXM")
    times = StageTimes(cost_model, device)
    prefill, step = parts.walked_stages(cost_model, page, STEPS, times)
    for stage, seconds in (
        (prefill, times.stage("prefill", page.layout).value),
        (step, times.step(page.seq_len + STEPS - 1, generated=STEPS - 1).value),
    ):
        for by in parts.BY:
            found = parts.parts_of(stage.operators, by)
            assert sum(part.seconds or 0.0 for part in found) == pytest.approx(seconds, rel=1e-9)
            assert [part.seconds for part in found] == sorted((part.seconds for part in found), reverse=True)
        for each, bound in zip(stage.operators, Roofline(device).operators(stage.walk), strict=True):
            assert each.bound == bound.bound


def test_a_part_is_bound_by_what_most_of_its_time_falls_to() -> None:
    record = next(load_cost_model(["workload=tiny"]).stage_walk("decode", context=1).records())
    seconds = [("memory", 1.0), ("compute", 1.5), ("launch", 0.2), ("memory", 0.4)]
    part = parts.Part.of(("a",), [parts.TimedOperator(record, each, bound) for bound, each in seconds])
    assert (part.operators, part.seconds, part.bound) == (4, pytest.approx(3.1), "compute")
    part = parts.Part.of(("a",), [parts.TimedOperator(record, each, bound) for bound, each in [*seconds, seconds[0]]])
    assert part.bound == "memory"


def test_the_table_lists_the_largest_and_the_rest() -> None:
    cost_model = load_cost_model(["workload=tiny"])
    page = cost_model.page(SIZE.width, SIZE.height)
    (stage,) = parts.walked_stages(cost_model, page, 0)
    found = parts.parts_of(stage.operators, parts.MODULE)
    out = rendered(parts.parts_table(stage, parts.MODULE, 3, exact_figure))
    lines = [line.split() for line in out.splitlines() if re.search(r"\d", line)]
    assert [line[0] for line in lines[:3]] == [part.name for part in found[:3]]
    assert lines[3][:2] == [str(len(found) - 3), "more"]
    flops = [int(line[-5 if line[-3] == "B" else -4].replace(",", "")) for line in lines]
    assert sum(flops[:4]) == flops[4] == page.prefill.tensor_core_flops
    assert len(rendered(parts.parts_table(stage, parts.MODULE, 10**6, readable_figure)).splitlines()) > len(found)


def test_csv_has_every_operator_or_every_part() -> None:
    cost_model = load_cost_model(["workload=tiny"])
    page = cost_model.page(SIZE.width, SIZE.height, STEPS)
    stages = parts.walked_stages(cost_model, page, STEPS)
    rows = list(csv.DictReader(io.StringIO(parts.operators_csv(stages))))
    assert len(rows) == sum(len(stage.operators) for stage in stages)
    prefill = [row for row in rows if row["stage"] == "prefill"]
    assert sum(int(row["bytes_read"]) + int(row["bytes_written"]) for row in prefill) == page.prefill.io_bytes
    assert {row["seconds"] for row in rows} == {""}
    rows = list(csv.DictReader(io.StringIO(parts.parts_csv(stages, parts.OPERATOR))))
    assert sum(int(row["tensor_core_flops"]) for row in rows if row["stage"] == "prefill") == (
        page.prefill.tensor_core_flops
    )


def test_the_last_step_of_several_passes_is_that_of_the_longest() -> None:
    """Its tokens, not the page's: shared out by the passes' image tokens, or all for the first region."""
    for shares in ("null", "[0,1,0]"):
        overrides = ["workload.regions=[[600,800],[50,50]]", f"workload.output_shares={shares}"]
        cost_model = load_cost_model(overrides, model="mineru2_5")
        page = cost_model.page(1275, 1650, 60)
        (within, given) = max([each for each in page.passes(60) if each[1]], key=lambda each: each[0].seq_len + each[1])
        _, step = parts.walked_stages(cost_model, page, 60)
        cost = cost_model.step(within.seq_len + given - 1, given - 1)
        assert sum(part.io_bytes for part in parts.parts_of(step.operators, parts.MODULE)) == cost.io_bytes
        assert f"decode step {given} of {given} in pass " in step.title
        assert shares == "null" or (given, "in pass 2 of 3, with" in step.title) == (60, True)


@pytest.mark.parametrize("steps", [0, STEPS])
@pytest.mark.parametrize("model", MODELS)
def test_the_holders_are_the_peak_exactly(model: str, steps: int) -> None:
    cost_model = load_cost_model([], model=model)
    page = cost_model.page(SIZE.width, SIZE.height, steps)
    holders = peak_holders.peak_holders(cost_model, page, SIZE, steps)
    folded = peak_holders.folded(holders.holdings)
    peak = max(page.prefill.resident_peak_bytes, page.decode.resident_peak_bytes)
    assert sum(each.nbytes for each in folded) == holders.peak_bytes == peak
    assert sum(each.tensors for each in folded) == len(holders.holdings)
    assert all(not re.search(r"\.\d+(\.|$)", each.module) for each in folded)
    assert f"{peak:,} B" in rendered(peak_holders.holders_table(holders, 2, exact_figure))
    assert peak_holders.holders_content(holders)["peak_bytes"] == peak


def test_a_step_that_holds_most_is_told() -> None:
    """A page of few tokens before many steps: their cache outgrows what the prefill holds."""
    cost_model = load_cost_model([], model="lighton_ocr")
    size, steps = PageSize(source="30x30", width=30, height=30), 8000
    page = cost_model.page(30, 30, steps)
    holders = peak_holders.peak_holders(cost_model, page, size, steps)
    assert holders.stage == "decode"
    assert peak_holders.holders_title(holders, 0) == "alive at the peak of the last decode step, weights not counted"
    (first, *_) = peak_holders.folded(holders.holdings)
    assert first.kind == "kv" and first.tensors > 20  # keys and values of all layers
    assert sum(each.nbytes for each in holders.holdings) == page.decode.resident_peak_bytes
