"""Laws of the two Granite-Doclings, whose pages are tiles of SigLIP, against their walks, and how many there are."""

from typing import Any

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models import model_package
from modelmeter.models.common.cost_model import CostModel
from modelmeter.models.common.patches_grid import PatchesGrid
from tests.models.granite_docling import small as granite_docling
from tests.models.idefics3 import small as idefics3
from tests.models.law_checks import check_pace, check_prompts_and_steps, laws_of
from tests.models.walked import walked_prefill, walked_vision

#: overrides for a small model, and what each alone has
SMALL = {"idefics3": idefics3.OVERRIDES, "granite_docling": granite_docling.OVERRIDES}
OF_ONE = {
    "idefics3": {"odd-table": ("vision.image_size=384",)},
    "granite_docling": {"fine": ("workload.route=fine",)},
}
CONFIGURATIONS = {
    f"{name} {told}": (name, overrides)
    for name in SMALL
    for told, overrides in {
        **{each: (f"execution={each}",) for each in model_package(name).EXECUTIONS},
        "eager": ("runtime.attention=eager",),
        "float32": ("runtime.dtype=float32",),
        "two-pages": ("runtime.batch_size=2",),
        "head-all": ("runtime.head=all",),
        **OF_ONE[name],
    }.items()
}
TILES = (0, 1, 2, 3, 5, 6, 12)


def load(name: str, *overrides: str) -> CostModel[Any, Any, Any]:
    """A small model."""
    loaded: CostModel[Any, Any, Any] = model_package(name).load_cost_model([*SMALL[name], *overrides])  # type: ignore[assignment]
    return loaded


@pytest.fixture(scope="module", params=CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def model(request: pytest.FixtureRequest) -> CostModel[Any, Any, Any]:
    name, overrides = request.param
    return load(name, *overrides)


def test_pages(model: CostModel[Any, Any, Any]) -> None:
    for tiles in TILES:
        layout = PatchesGrid(tiles, tiles or 1, 1)
        page = model.layout_cost(layout)
        assert page.vision == walked_vision(model, layout), tiles
        assert page.prefill == walked_prefill(model, page.seq_len, layout), tiles


def test_prompts_and_steps(model: CostModel[Any, Any, Any]) -> None:
    check_prompts_and_steps(model, 1131)


@pytest.mark.parametrize("name", SMALL)
def test_how_tiles_lie_costs_markers_alone(name: str) -> None:
    model = load(name, "runtime.prompt_tokens=30")
    row, grid = (model.layout_cost(layout) for layout in (PatchesGrid(6, 6, 1), PatchesGrid(6, 2, 3)))
    assert (row.vision, row.prefill) == (grid.vision, grid.prefill)


@pytest.mark.parametrize("overrides", [(), ("runtime.attention=eager",), ("runtime.batch_size=2",)], ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_two_laws_hold_for_all_pages(name: str, overrides: tuple[str, ...]) -> None:
    """One for pages that are not cut, one for all numbers of tiles; and both are learnt with the first page."""
    model = load(name, *overrides)
    model.page(1275, 1650)
    with walked_operators() as names:
        for tiles in (0, *range(1, 41)):
            model.layout_cost(PatchesGrid(tiles, tiles or 1, 1))
    assert names == []
    assert 0 < laws_of(model, "vision") <= 2 and 0 < laws_of(model, "prefill") <= 2


@pytest.mark.parametrize("name", SMALL)
def test_pages_are_arithmetic_in_time(name: str) -> None:
    check_pace(model_package(name).load_cost_model)  # type: ignore[arg-type]
