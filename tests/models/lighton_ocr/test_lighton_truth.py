"""transformers' own modules on the meta device, and the account beside them: the difference is 0."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from modelmeter.models.common import StageCost
from modelmeter.models.lighton_ocr import PatchGrid, load_cost_model
from modelmeter.models.lighton_ocr.reference.whole import LightOnOcrWhole
from modelmeter.reference.measurement import Measurement
from tests.models.lighton_ocr.small import OVERRIDES, TEXT


class Case(NamedTuple):
    """How both sides run, and what: pages of columns x rows patches, or a prompt alone."""

    dtype: str
    attention: str
    pages: int
    grid: tuple[int, int] | None
    prompt: int = 10


#: every remainder of squares and of the 8 that a mask's rows are aligned to, over types, attentions and pages
CASES = {
    "even": Case("bfloat16", "flash", 1, (4, 6)),
    "even, aligned no more": Case("bfloat16", "flash", 1, (6, 6)),
    "odd columns": Case("bfloat16", "flash", 1, (5, 4), 1),
    "odd rows": Case("bfloat16", "flash", 1, (6, 7), 3),
    "both odd": Case("bfloat16", "flash", 1, (7, 5)),
    "one token": Case("bfloat16", "flash", 1, (3, 3)),
    "two pages": Case("bfloat16", "flash", 2, (5, 7)),
    "two pages, aligned": Case("bfloat16", "flash", 2, (6, 4)),
    "three pages": Case("bfloat16", "flash", 3, (3, 5)),
    "eager": Case("bfloat16", "eager", 1, (7, 4)),
    "eager, two pages": Case("bfloat16", "eager", 2, (5, 5)),
    "float16": Case("float16", "flash", 1, (5, 6)),
    "float32": Case("float32", "flash", 1, (4, 5)),
    "float32, two pages": Case("float32", "flash", 2, (5, 3)),
    "float32, eager": Case("float32", "eager", 1, (6, 5)),
    "float32, eager, two pages": Case("float32", "eager", 2, (4, 3)),
    "text": Case("bfloat16", "flash", 1, None, 31),
    "texts": Case("float32", "flash", 2, None, 12),
}


def figures(cost: StageCost) -> dict[str, int | str]:
    """What both sides have."""
    return {
        "flops": cost.tensor_core_flops,
        "traffic": cost.io_bytes,
        "traffic of weights": cost.io_weight_bytes,
        "traffic of the cache": cost.io_kv_bytes,
        "live peak": cost.activation_peak_bytes,
        "at": cost.peak_operator,
        "in": cost.peak_path,
        "resident peak": cost.resident_peak_bytes,
        "cache": cost.kv_bytes,
        "cache added": cost.kv_added_bytes,
        "weights": cost.weight_bytes,
    }


def measured(whole: LightOnOcrWhole, stage: Measurement) -> dict[str, int | str]:
    """The same of a measurement; its modules by their names in the account."""
    return {
        "flops": stage.flops,
        "traffic": stage.io_bytes,
        "traffic of weights": stage.traffic.weight_bytes,
        "traffic of the cache": stage.traffic.kv_bytes,
        "live peak": stage.activation_peak_bytes,
        "at": stage.peak_operator,
        "in": whole.place(stage.peak_path, stage.peak_run, PatchGrid(0, 0)),
        "resident peak": stage.resident_peak_bytes,
        "cache": stage.kv_bytes,
        "cache added": stage.kv_added_bytes,
        "weights": stage.weight_bytes,
    }


def both_sides(case: Case, overrides: list[str]) -> Iterator[tuple[str, dict[str, int | str], dict[str, int | str]]]:
    """Each stage of a case: the account's figures and the measured ones."""
    dtype, attention, pages, grid, prompt = case
    runtime = {"dtype": dtype, "attention": attention, "batch_size": pages, "prompt_tokens": prompt}
    model = load_cost_model(overrides + [f"runtime.{name}={value}" for name, value in runtime.items()])
    whole = LightOnOcrWhole(model)
    assert model.parameters == whole.page.parameter_count
    if grid is None:
        inputs, seq_len, cost = whole.page.text_inputs(prompt, pages), prompt, model.text(prompt).prefill
    else:
        page = model.layout_cost(PatchGrid(*grid))
        inputs, seq_len, cost = whole.inputs(page.layout), page.seq_len, page.prefill
        yield "vision", figures(page.vision), measured(whole, whole.vision(inputs))
    assert tuple(inputs.token_ids.shape) == (pages, seq_len)
    stage, cache = whole.prefill(inputs, experts_hit=0, head="last")
    yield "prefill", figures(cost), measured(whole, stage)
    for generated in range(2):
        step = whole.decode_step(cache, experts_hit=0, head="last")
        yield f"step {generated}", figures(model.step(seq_len + generated)), measured(whole, step)


@pytest.mark.parametrize("case", CASES)
def test_the_account_is_what_the_modules_do(case: str) -> None:
    for name, ours, theirs in both_sides(CASES[case], OVERRIDES):
        assert (name, ours) == (name, theirs)


def test_an_untied_head_has_a_weight_of_its_own() -> None:
    untied = [*OVERRIDES, "decoder.tie_word_embeddings=false"]
    for name, ours, theirs in both_sides(CASES["odd columns"], untied):
        assert (name, ours) == (name, theirs)
    more = load_cost_model(untied).parameters - load_cost_model(OVERRIDES).parameters
    assert more == TEXT["vocab_size"] * TEXT["hidden_size"]


def test_the_whole_model() -> None:
    """As published, on a small page: all of its layers."""
    for name, ours, theirs in both_sides(Case("bfloat16", "flash", 1, (11, 9)), []):
        assert (name, ours) == (name, theirs)


def test_operators_one_by_one() -> None:
    """Each operator of a vision stage in its module, and what it moves."""
    model = load_cost_model([*OVERRIDES, "runtime.batch_size=2"])
    page, whole = model.layout_cost(PatchGrid(5, 7)), LightOnOcrWhole(model)
    stage = whole.vision(whole.inputs(page.layout))
    assert [
        (each.aten, each.path, each.bytes_read, each.bytes_written)
        for each in model.stage_walk("vision", page=page).records()
    ] == [
        (
            each.operator,
            whole.place(each.path, each.run, page.layout),
            each.traffic.read_bytes,
            each.traffic.written_bytes,
        )
        for each in stage.operator_traffic
    ]


def test_published_figures() -> None:
    """Those that another harness measured of the published model, before this package was written.

    It handed positions on, whose making counts here: 8 bytes made, read and written once more; and it made token ids
    and positions within the call that it measured.
    """
    model = load_cost_model()
    assert model.parameters == 1_005_647_872
    page, step = model.page(1275, 1650), model.step(2320)
    positions_bytes = 8 * 2320
    assert page.seq_len == 2320
    assert page.vision.tensor_core_flops == 16_163_922_001_920
    assert page.vision.io_bytes == 64_905_496_980
    assert page.vision.activation_peak_bytes == 505_462_576
    assert page.prefill.tensor_core_flops == 19_442_291_458_048
    assert page.prefill.io_bytes == 89_359_004_421 + 3 * positions_bytes
    assert page.prefill.activation_peak_bytes == 510_251_056 - 2 * positions_bytes
    assert page.prefill.kv_bytes == 266_076_160
    assert step.tensor_core_flops == 1_724_350_464
    assert step.io_bytes == 2_000_651_280 + 3 * 8
    assert (step.peak_path, step.kv_bytes) == ("lm_head", 266_190_848)
