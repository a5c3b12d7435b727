"""transformers' own modules on the meta device, and the account beside them: the difference is 0."""

from collections import Counter
from itertools import product
from typing import NamedTuple

import pytest

from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.reference.packed_page import reference_of
from modelmeter.models.qwen2_5_vl import load_cost_model
from modelmeter.models.qwen2_5_vl.reference.page import PageReference
from tests.models.measured import figures, measured
from tests.models.packed_pages import both_sides

#: a block within windows and one over the page, few layers of the decoder and few rows of its embedding
SMALL = (
    "vision.depth=2",
    "vision.fullatt_block_indexes=[1]",
    "decoder.num_hidden_layers=2",
    "decoder.vocab_size=1000",
    "decoder.intermediate_size=1100",
)
TIED = "decoder.tie_word_embeddings=true"


class Case(NamedTuple):
    """What is run: the type, the attention, pages, and grids (columns, rows) of tokens."""

    dtype: str
    attention: str
    pages: int
    grids: tuple[tuple[int, int], ...]
    overrides: tuple[str, ...] = SMALL


#: every remainder of windows along both sides, with one whole window or two, or none where a side is shorter than one
REMAINDERS = tuple((columns, rows) for columns, rows in product((8, 5, 2, 7), (4, 9, 6, 3)))

CASES = {
    "bfloat16, flash": Case("bfloat16", "flash", 1, REMAINDERS),
    "bfloat16, eager": Case("bfloat16", "eager", 1, ((8, 4), (5, 6), (2, 2), (11, 9))),
    "float32, eager": Case("float32", "eager", 1, ((5, 6), (4, 8), (1, 30))),
    "float16, flash, three pages": Case("float16", "flash", 3, ((3, 13), (4, 4))),
    "bfloat16, flash, two pages, tied": Case("bfloat16", "flash", 2, ((8, 8), (9, 6), (1, 4)), (*SMALL, TIED)),
    "bfloat16, eager, two pages": Case("bfloat16", "eager", 2, ((6, 5), (2, 2))),
    "float32, eager, two pages": Case("float32", "eager", 2, ((9, 4),)),
    "long": Case("bfloat16", "flash", 1, ((1, 70), (70, 1), (3, 40))),
    "other windows": Case("bfloat16", "flash", 1, ((7, 5), (6, 6)), (*SMALL, "vision.window_size=84")),
    "no page attention": Case("bfloat16", "flash", 1, ((7, 5),), (*SMALL, "vision.fullatt_block_indexes=[]")),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_account_is_what_the_modules_do(case: Case) -> None:
    runtime = {"dtype": case.dtype, "attention": case.attention, "batch_size": case.pages, "prompt_tokens": 7}
    model = load_cost_model([*(f"runtime.{name}={value}" for name, value in runtime.items()), *case.overrides])
    reference = reference_of(model, PageReference)
    assert model.parameters == reference.parameter_count
    for grid in case.grids:
        for name, cost, stage in both_sides(model, reference, grid):
            assert (grid, name, figures(cost)) == (grid, name, measured(stage))


@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_elements_by_operator(attention: str) -> None:
    """What CUDA-core FLOPs are counted of, on the host too."""
    model = load_cost_model([f"runtime.attention={attention}", "runtime.batch_size=2", *SMALL])
    page, reference = model.layout_cost(MergedGrid(5, 9)), reference_of(model, PageReference)
    inputs = reference.inputs(pages=2, columns=5, rows=9, prompt_tokens=100)
    elements: Counter[str] = Counter()
    for record in model.stage_walk("prefill", page=page).records():
        elements[record.aten] += record.elements
    assert {name: count for name, count in elements.items() if count} == dict(reference.prefill(inputs)[0].elements)


def test_float32_by_the_kernels_that_take_it() -> None:
    """The tower's equal heads run in the efficient kernel; the decoder's grouped ones in separate steps."""
    model = load_cost_model(["runtime.dtype=float32", *SMALL])
    reference = reference_of(model, PageReference)
    for grid in ((5, 6), (8, 4)):
        for name, cost, stage in both_sides(model, reference, grid):
            assert (grid, name, figures(cost)) == (grid, name, measured(stage))


@pytest.mark.parametrize("prompt", [1, 30])
def test_a_prompt_without_an_image(prompt: int) -> None:
    model = load_cost_model(["runtime.batch_size=2", *SMALL])
    reference = reference_of(model, PageReference)
    stage, cache = reference.prefill(reference.text_inputs(prompt, 2))
    assert figures(model.text(prompt).prefill) == measured(stage)
    assert figures(model.step(prompt)) == measured(reference.decode_step(cache, pages=2))


#: checkpoints, their parameters, and of a page of 1275 x 1650 and 100 prompt tokens: FLOPs of vision, prefill and a
#: step, and bytes of the cache
WHOLE = {
    "olmocr_2_7b": (8_292_166_656, (9_471_376_097_280, 33_627_035_140_096, 14_845_845_504), 100_696_064),
    "nanonets_ocr2_3b": (3_754_622_976, (16_419_511_173_120, 34_370_489_122_816, 7_001_571_328), 103_735_296),
}


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", WHOLE)
def test_whole_models_over_a_letter_page(checkpoint: str) -> None:
    parameters, flops, kv_bytes = WHOLE[checkpoint]
    model = load_cost_model([f"checkpoint={checkpoint}", "runtime.prompt_tokens=100"])
    page, reference = model.page(1275, 1650), reference_of(model, PageReference)
    assert model.parameters == reference.parameter_count == parameters
    step = model.step(page.seq_len)
    assert flops == tuple(cost.tensor_core_flops for cost in (page.vision, page.prefill, step))
    assert (
        page.prefill.kv_bytes
        == kv_bytes
        == model.config.decoder.num_hidden_layers
        * page.seq_len
        * 2
        * 2
        * (128 * model.config.decoder.num_key_value_heads)
    )
    for name, cost, stage in both_sides(model, reference, page.layout):
        assert (name, figures(cost)) == (name, measured(stage))
