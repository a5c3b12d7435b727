"""Laws of LightOnOCR against its walks, and how many there are."""

from itertools import product

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models.lighton_ocr import CostModel, PatchGrid, load_cost_model
from tests.models.law_checks import check_pace, check_prompts_and_steps, laws_of
from tests.models.lighton_ocr.small import OVERRIDES
from tests.models.walked import walked_prefill, walked_vision

CONFIGURATIONS = {
    "default": (),
    "eager": ("runtime.attention=eager",),
    "float32": ("runtime.dtype=float32",),
    "serving": ("execution=serving",),
    "two-pages": ("runtime.batch_size=2",),
    "serving-three-pages": ("execution=serving", "runtime.batch_size=3"),
    "head-all": ("runtime.head=all", "decoder.tie_word_embeddings=false"),
}
#: sides with every remainder by 8, and the longest
SIDES = (2, 3, 5, 6, 9, 12, 15, 110)


@pytest.fixture(scope="module", params=CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def model(request: pytest.FixtureRequest) -> CostModel:
    return load_cost_model([*OVERRIDES, *request.param])


def test_pages(model: CostModel) -> None:
    for columns, rows in product(SIDES, SIDES):
        grid = PatchGrid(columns, rows)
        page = model.layout_cost(grid)
        assert page.vision == walked_vision(model, grid), grid
        assert page.prefill == walked_prefill(model, page.seq_len, grid), grid


def test_prompts_and_steps(model: CostModel) -> None:
    check_prompts_and_steps(model, 2320)


@pytest.mark.parametrize(
    ("overrides", "laws"),
    [((), 14), (("runtime.attention=eager",), 4), (("execution=serving",), 4), (("runtime.batch_size=2",), 7)],
    ids=str,
)
def test_so_many_laws_hold_for_all_pages(overrides: tuple[str, ...], laws: int) -> None:
    """Squares leave a row or not, a column or not; and the rows of a mask, one number a patch, are aligned to 8.

    Odd or even columns and rows: patches leave 2, 4, 4, 4 remainders by 8; those of two pages together 1, 2, 2, 2.
    """
    model = load_cost_model(overrides)
    model.page(1275, 1650)
    with walked_operators() as names:
        for columns, rows in product(range(4, 111, 5), range(2, 111, 3)):
            model.layout_cost(PatchGrid(columns, rows))
    assert names == []
    assert laws_of(model, "vision") == laws_of(model, "prefill") == laws


def test_a_page_of_one_token_has_a_law_of_its_own() -> None:
    """A dimension of one is free of its stride."""
    model = load_cost_model(OVERRIDES)
    for grid in (PatchGrid(85, 110), PatchGrid(2, 2), PatchGrid(3, 2)):
        page = model.layout_cost(grid)
        assert page.prefill == walked_prefill(model, page.seq_len, grid)
    assert laws_of(model, "prefill") == 14 + 2


def test_pages_are_arithmetic_in_time() -> None:
    check_pace(load_cost_model)
