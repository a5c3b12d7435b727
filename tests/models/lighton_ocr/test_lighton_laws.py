"""Laws of LightOnOCR against its walks, and how many there are."""

from functools import reduce
from itertools import product
from operator import add
from time import process_time

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models.lighton_ocr import CostModel, PatchGrid, load_cost_model
from tests.models.lighton_ocr.small import OVERRIDES
from tests.models.walked import walked_prefill, walked_step, walked_vision

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
    for tokens in (1, 2, 7, 100, 2320):
        assert model.text(tokens).prefill == walked_prefill(model, tokens, None), tokens
        assert model.step(tokens) == walked_step(model, tokens), tokens
    for start, steps in ((1, 2), (5, 9), (2320, 3)):
        one_by_one = [walked_step(model, start + index) for index in range(steps)]
        assert model.text(start, steps).decode == reduce(add, one_by_one), (start, steps)


def laws_of(model: CostModel, stage: str) -> int:
    """The laws that were found for a stage."""
    return sum(len(laws) for kind, laws in model._laws._laws.items() if kind[0] == stage)  # type: ignore[index]


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
    """The first page within a second, a further size within a millisecond: of the processor, which others use too."""
    firsts = []
    for _ in range(3):
        model = load_cost_model()
        start = process_time()
        model.page(1275, 1650, output_tokens=1000)
        firsts.append(process_time() - start)
    assert min(firsts) < 1
    further = []
    for width in range(600, 1400, 14):
        start = process_time()
        model.page(width, 1500, output_tokens=1000)
        further.append(process_time() - start)
    assert sorted(further)[len(further) // 2] < 0.001
