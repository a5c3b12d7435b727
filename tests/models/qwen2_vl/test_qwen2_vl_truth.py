"""The published model over a letter page, and the laws of its pages; figures of real modules are in tests/measured."""

from itertools import product

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.qwen2_vl import load_cost_model
from tests.models.law_checks import laws_of
from tests.models.walked import walked_prefill, walked_vision

SMALL = ("vision.depth=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")


def test_the_whole_model_over_a_layout_pass() -> None:
    model = load_cost_model()
    page = model.page(1275, 1650)
    assert model.parameters == 1_156_026_624
    step = model.step(page.seq_len)
    flops = tuple(cost.tensor_core_flops for cost in (page.vision, page.prefill, step))
    assert flops == (11_904_224_706_560, 13_074_046_291_968, 1_108_344_832)
    assert page.prefill.kv_bytes == 24 * 1399 * 2 * 2 * 128


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
    assert laws_of(model, "vision") == laws_of(model, "prefill") == laws
