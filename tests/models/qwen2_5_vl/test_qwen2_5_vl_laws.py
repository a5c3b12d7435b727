"""Laws against walks: pages have thousands of layouts, and few laws."""

from __future__ import annotations

from itertools import product

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.qwen2_5_vl import CostModel, load_cost_model
from tests.models.law_checks import check_prompts_and_steps, laws_of
from tests.models.walked import walked_prefill, walked_vision

pytestmark = pytest.mark.slow  # seconds, not for every change

FEW = ("vision.depth=3", "vision.fullatt_block_indexes=[1]", "decoder.num_hidden_layers=2")

CONFIGURATIONS = {
    "default": (),
    "eager": ("runtime.attention=eager",),
    "float32": ("runtime.dtype=float32",),
    "serving": ("execution=serving",),
    "three pages": ("runtime.batch_size=3",),
    "serving, two pages": ("execution=serving", "runtime.batch_size=2"),
    "tied, head all": ("decoder.tie_word_embeddings=true", "runtime.head=all"),
    "head none": ("runtime.head=none",),
    "one block": ("vision.depth=1", "vision.fullatt_block_indexes=[]", "runtime.prompt_tokens=0"),
}
#: sides shorter than a window, of one and of several, with every remainder
SIDES = (1, 3, 4, 5, 6, 7, 8, 18)


@pytest.fixture(scope="module", params=CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def model(request: pytest.FixtureRequest) -> CostModel:
    return load_cost_model([*FEW, *request.param])


def test_pages(model: CostModel) -> None:
    for columns, rows in product(SIDES, SIDES):
        grid = MergedGrid(columns, rows)
        page = model.layout_cost(grid)
        assert page.vision == walked_vision(model, grid), grid
        assert page.prefill == walked_prefill(model, page.seq_len, grid), grid


def test_prompts_and_steps(model: CostModel) -> None:
    check_prompts_and_steps(model, 913)


#: overrides, and the laws that hold for all pages. Along each side a page has whole windows and one of four remainders,
#: or is shorter than one: 7 x 7. Where one page is walked in calls, apart from these stand pages of one window alone
#: whose kind has others with several (4 x 4, and 4 tokens along one side and 1, 2 or 3 along the other): a list of one
#: length has free strides.
ALL_PAGES = {
    "default": ((), 7 * 7 + 7),
    "three pages": (("runtime.batch_size=3",), 7 * 7),
    "serving": (("execution=serving",), 7 * 7),
    "serving, two pages": (("execution=serving", "runtime.batch_size=2"), 7 * 7),
}


def test_a_lazy_model_walks_the_kinds_that_it_is_asked_for() -> None:
    eager = load_cost_model(FEW)
    lazy = eager.lazy()
    pages = {}
    for grid, laws in ((MergedGrid(40, 59), 1), (MergedGrid(44, 63), 1), (MergedGrid(41, 59), 2)):
        pages[grid] = lazy.layout_cost(grid, 2)
        assert laws_of(lazy, "vision") == laws_of(lazy, "prefill") == laws
    whole = load_cost_model(FEW)
    assert {grid: whole.layout_cost(grid, 2).total for grid in pages} == {
        grid: each.total for grid, each in pages.items()
    }
    eager.layout_cost(MergedGrid(41, 59), 2)
    assert laws_of(eager, "prefill") == 16  # of which it found one


@pytest.mark.parametrize(("overrides", "laws"), ALL_PAGES.values(), ids=ALL_PAGES)
def test_how_many_laws_hold_for_all_pages(overrides: tuple[str, ...], laws: int) -> None:
    """16 are learnt with the first page, and hold for every page with a window along each side, but for 4 x 4."""
    model = load_cost_model([*FEW, *overrides])
    model.page(1275, 1650, 2)
    with walked_operators() as names:
        for columns, rows in product((*range(4, 21), 32, 46, 63, 107), (*range(5, 21), 40, 59, 125)):
            model.layout_cost(MergedGrid(columns, rows), 2)
    assert names == []
    assert laws_of(model, "vision") == laws_of(model, "prefill") == 16
    for columns, rows in product((*range(1, 14), 200), (*range(1, 14), 200)):
        model.layout_cost(MergedGrid(columns, rows), 2)
    assert laws_of(model, "vision") == laws_of(model, "prefill") == laws
