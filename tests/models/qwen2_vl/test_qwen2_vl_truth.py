"""transformers' own modules on the meta device, and the account beside them: the difference is 0."""

from itertools import product

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.reference.packed_page import reference_of
from modelmeter.models.qwen2_vl import load_cost_model
from modelmeter.models.qwen2_vl.reference.page import PageReference
from tests.models.measured import figures, measured
from tests.models.packed_pages import both_sides
from tests.models.walked import walked_prefill, walked_vision

SMALL = ("vision.depth=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")

#: type, attention, pages, grids (columns, rows) of tokens
CASES = {
    "bfloat16, flash": ("bfloat16", "flash", 1, ((5, 7), (8, 4), (1, 4), (70, 1))),
    "bfloat16, eager": ("bfloat16", "eager", 1, ((5, 7), (2, 2))),
    "float32, flash": ("float32", "flash", 1, ((6, 5),)),
    "float32, eager": ("float32", "eager", 2, ((6, 5),)),
    "float16, flash, three pages": ("float16", "flash", 3, ((3, 13), (4, 4))),
    "bfloat16, eager, two pages": ("bfloat16", "eager", 2, ((6, 5),)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_account_is_what_the_modules_do(case: tuple[str, str, int, tuple[tuple[int, int], ...]]) -> None:
    dtype, attention, pages, grids = case
    runtime = {"dtype": dtype, "attention": attention, "batch_size": pages, "prompt_tokens": 7}
    model = load_cost_model([*(f"runtime.{name}={value}" for name, value in runtime.items()), *SMALL])
    reference = reference_of(model, PageReference)
    assert model.parameters == reference.parameter_count
    for grid in grids:
        for name, cost, stage in both_sides(model, reference, grid):
            assert (grid, name, figures(cost)) == (grid, name, measured(stage))


@pytest.mark.slow
def test_the_whole_model_over_a_layout_pass() -> None:
    model = load_cost_model()
    page, reference = model.page(1275, 1650), reference_of(model, PageReference)
    assert model.parameters == reference.parameter_count == 1_156_026_624
    step = model.step(page.seq_len)
    flops = tuple(cost.tensor_core_flops for cost in (page.vision, page.prefill, step))
    assert flops == (11_904_224_706_560, 13_074_046_291_968, 1_108_344_832)
    assert page.prefill.kv_bytes == 24 * 1399 * 2 * 2 * 128
    for name, cost, stage in both_sides(model, reference, page.layout):
        assert (name, figures(cost)) == (name, measured(stage))


#: overrides, and laws of all pages: a page of one token stands apart where there is one page
LAWS = {
    "default": ((), 2),
    "eager": (("runtime.attention=eager",), 2),
    "three pages": (("runtime.batch_size=3",), 1),
    "serving": (("execution=serving",), 2),
    "serving, two pages": (("execution=serving", "runtime.batch_size=2"), 1),
}


@pytest.mark.parametrize(("overrides", "laws"), LAWS.values(), ids=LAWS)
def test_one_law_holds_for_all_pages(overrides: tuple[str, ...], laws: int) -> None:
    model = load_cost_model([*SMALL, "workload=page", *overrides])
    model.page(1275, 1650, 2)
    with walked_operators() as names:
        for columns, rows in product((2, 5, 37, 46), (3, 4, 59)):
            model.layout_cost(MergedGrid(columns, rows), 2)
    assert names == []
    for columns, rows in ((1, 1), (1, 2), (2, 1), (5, 7)):
        grid = MergedGrid(columns, rows)
        page = model.layout_cost(grid)
        assert page.vision == walked_vision(model, grid), grid
        assert page.prefill == walked_prefill(model, page.seq_len, grid), grid
    found = [kind[0] for kind, each in model._laws._laws.items() for _ in each]  # type: ignore[index]
    assert found.count("vision") == found.count("prefill") == laws
