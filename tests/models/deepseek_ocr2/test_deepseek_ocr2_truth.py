"""transformers' own modules on the meta device, and the account beside them: the difference is 0."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from tests.models.measured import figures, measured

from modelmeter.models.deepseek_ocr2 import PatchesGrid, load_cost_model
from modelmeter.models.deepseek_ocr2.reference.whole import DeepseekOcr2Whole
from tests.models.deepseek_ocr2.small import IN_ENCODER, OVERRIDES


class Case(NamedTuple):
    """How both sides run, and what: pages of so many tiles, or a prompt alone."""

    dtype: str
    attention: str
    pages: int
    tiles: int | None
    prompt: int = 10
    sizes: tuple[str, ...] = ()


CASES = {
    "no tiles": Case("bfloat16", "flash", 1, 0),
    "two tiles": Case("bfloat16", "flash", 1, 2, 1),
    "five tiles, two pages": Case("bfloat16", "flash", 2, 5, 3),
    "one tile": Case("bfloat16", "flash", 1, 1, 7, ("workload.min_patches=1",)),
    "no tiles, two pages": Case("bfloat16", "flash", 2, 0),
    "eager": Case("bfloat16", "eager", 1, 3),
    "eager, no tiles, two pages": Case("bfloat16", "eager", 2, 0),
    "float32": Case("float32", "flash", 1, 2),
    "float32, two pages": Case("float32", "flash", 2, 3),
    "float32, eager, two pages": Case("float32", "eager", 2, 2),
    "float16": Case("float16", "flash", 1, 4),
    "in the encoder": Case("bfloat16", "flash", 1, 2, 10, IN_ENCODER),
    "in the encoder, eager, two pages": Case("bfloat16", "eager", 2, 0, 10, IN_ENCODER),
    "in the encoder, float32, two pages": Case("float32", "flash", 2, 3, 10, IN_ENCODER),
    "other sides": Case("bfloat16", "flash", 1, 2, 10, (*IN_ENCODER, "workload.size=976", "workload.tile_size=736")),
    "text": Case("bfloat16", "flash", 1, None, 31),
    "texts, float32": Case("float32", "flash", 2, None, 12),
    "texts, eager": Case("bfloat16", "eager", 2, None, 16),
}

Figures = dict[str, int | str]


def both_sides(case: Case, overrides: list[str]) -> Iterator[tuple[str, Figures, Figures]]:
    """Each stage of a case: the account's figures and the measured ones."""
    dtype, attention, pages, tiles, prompt, sizes = case
    runtime = {"dtype": dtype, "attention": attention, "batch_size": pages, "prompt_tokens": prompt}
    model = load_cost_model([*overrides, *sizes, *(f"runtime.{name}={value}" for name, value in runtime.items())])
    whole = DeepseekOcr2Whole(model)
    assert model.parameters == whole.page.parameter_count
    layout = PatchesGrid(tiles or 0, tiles or 1, 1)

    def placed(stage: Any) -> Figures:
        return {**measured(stage), "in": whole.place(stage.peak_path, stage.peak_run, layout)}

    if tiles is None:
        inputs, seq_len, cost = whole.page.text_inputs(prompt, pages), prompt, model.text(prompt).prefill
    else:
        page = model.layout_cost(layout)
        inputs, seq_len, cost = whole.inputs(page.layout), page.seq_len, page.prefill
        yield "vision", figures(page.vision), placed(whole.vision(inputs))
    assert tuple(inputs.token_ids.shape) == (pages, seq_len)
    hit = int(model.experts_hit(pages * seq_len))
    stage, cache = whole.prefill(inputs, experts_hit=hit, head="last")
    yield "prefill", figures(cost), placed(stage)
    for generated in range(2):
        step = whole.decode_step(cache, experts_hit=int(model.experts_hit(pages)), head="last")
        yield f"step {generated}", figures(model.step(seq_len + generated)), placed(step)


@pytest.mark.parametrize("case", CASES)
def test_the_account_is_what_the_modules_do(case: str) -> None:
    for name, ours, theirs in both_sides(CASES[case], OVERRIDES):
        assert (name, ours) == (name, theirs)


def test_the_peak_of_some_cases_is_in_the_encoder() -> None:
    page = load_cost_model([*OVERRIDES, *IN_ENCODER]).layout_cost(PatchesGrid(2, 2, 1))
    assert ".qwen2_model.model.layers." in page.vision.peak_path


def test_the_whole_model() -> None:
    """As published, of a page that is not cut and of one with two tiles: all of its layers."""
    for tiles in (0, 2):
        for name, ours, theirs in both_sides(Case("bfloat16", "flash", 1, tiles), []):
            assert (name, ours) == (name, theirs)


def test_operators_one_by_one() -> None:
    """Each operator of a vision stage in its module, and what it moves."""
    model = load_cost_model([*OVERRIDES, "runtime.batch_size=2"])
    page, whole = model.layout_cost(PatchesGrid(3, 3, 1)), DeepseekOcr2Whole(model)
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
    """Those that another harness measured of the published model, before this package was written."""
    model = load_cost_model()
    assert model.parameters == 3_389_119_360
    page, step = model.page(1275, 1650), model.step(1131)
    assert page.seq_len == 1131
    assert page.vision.tensor_core_flops == 5_734_290_096_128
    assert page.prefill.tensor_core_flops == 6_737_504_268_288
    assert step.tensor_core_flops == 1_217_740_800
    assert round(page.prefill.io_bytes / 1e9, 2) == 70.03
    assert round(page.prefill.activation_peak_bytes / 1e6, 1) == 1703.2
    assert round(page.prefill.kv_bytes / 1e6, 1) == 69.5
