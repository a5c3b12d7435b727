"""Laws of Granite-Docling against its walks, and how many there are."""

from functools import reduce
from operator import add
from time import process_time

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models.granite_docling import CostModel, PatchesGrid, load_cost_model
from modelmeter.models.granite_docling.executions import EXECUTIONS
from tests.models.granite_docling.small import OVERRIDES
from tests.models.walked import walked_prefill, walked_step, walked_vision

CONFIGURATIONS = {
    **{name: (f"execution={name}",) for name in EXECUTIONS},
    "eager": ("runtime.attention=eager",),
    "float32": ("runtime.dtype=float32",),
    "two-pages": ("runtime.batch_size=2",),
    "head-all": ("runtime.head=all",),
    "fine": ("workload.route=fine",),
}
TILES = (0, 1, 2, 3, 5, 6, 12)


@pytest.fixture(scope="module", params=CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def model(request: pytest.FixtureRequest) -> CostModel:
    return load_cost_model([*OVERRIDES, *request.param])


def test_pages(model: CostModel) -> None:
    for tiles in TILES:
        layout = PatchesGrid(tiles, tiles or 1, 1)
        page = model.layout_cost(layout)
        assert page.vision == walked_vision(model, layout), tiles
        assert page.prefill == walked_prefill(model, page.seq_len, layout), tiles


def test_how_tiles_lie_costs_markers_alone() -> None:
    model = load_cost_model([*OVERRIDES, "runtime.prompt_tokens=30"])
    row, grid = (model.layout_cost(layout) for layout in (PatchesGrid(6, 6, 1), PatchesGrid(6, 2, 3)))
    assert (row.vision, row.prefill) == (grid.vision, grid.prefill)


def test_prompts_and_steps(model: CostModel) -> None:
    for tokens in (1, 2, 7, 100, 1131):
        assert model.text(tokens).prefill == walked_prefill(model, tokens, None), tokens
        assert model.step(tokens) == walked_step(model, tokens), tokens
    for start, steps in ((1, 2), (5, 9), (1131, 3)):
        one_by_one = [walked_step(model, start + index) for index in range(steps)]
        assert model.text(start, steps).decode == reduce(add, one_by_one), (start, steps)


@pytest.mark.parametrize("overrides", [(), ("runtime.attention=eager",), ("runtime.batch_size=2",)], ids=str)
def test_two_laws_hold_for_all_pages(overrides: tuple[str, ...]) -> None:
    """One for pages that are not cut, one for all numbers of tiles; and both are learnt with the first page."""
    model = load_cost_model([*OVERRIDES, *overrides])
    model.page(1275, 1650)
    with walked_operators() as names:
        for tiles in (0, *range(1, 41)):
            model.layout_cost(PatchesGrid(tiles, tiles or 1, 1))
    assert names == []
    for stage in ("vision", "prefill"):
        assert sum(len(laws) for kind, laws in model._laws._laws.items() if kind[0] == stage) <= 2  # type: ignore[index]


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
