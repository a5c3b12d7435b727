"""Laws of Qianfan-OCR against its walks, and how many there are."""

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models.qianfan_ocr import CostModel, PatchesGrid, load_cost_model
from tests.models.law_checks import check_pace, check_prompts_and_steps, laws_of
from tests.models.qianfan_ocr.small import OVERRIDES
from tests.models.walked import walked_prefill, walked_vision

CONFIGURATIONS = {
    "default": (),
    "eager": ("runtime.attention=eager",),
    "float32": ("runtime.dtype=float32",),
    "serving": ("execution=serving",),
    "vllm": ("execution=vllm",),
    "vllm-two-pages": ("execution=vllm", "runtime.batch_size=2"),
    "sglang": ("execution=sglang",),
    "sglang-two-pages": ("execution=sglang", "runtime.batch_size=2"),
    "two-pages": ("runtime.batch_size=2",),
    "serving-three-pages": ("execution=serving", "runtime.batch_size=3"),
    "head-all": ("runtime.head=all",),
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


def test_how_tiles_lie_costs_nothing(model: CostModel) -> None:
    row, grid = (model.layout_cost(layout) for layout in (PatchesGrid(6, 6, 1), PatchesGrid(6, 2, 3)))
    assert (row.vision, row.prefill) == (grid.vision, grid.prefill)


def test_prompts_and_steps(model: CostModel) -> None:
    check_prompts_and_steps(model, 3358)


@pytest.mark.parametrize(
    ("overrides", "laws"),
    [
        ((), 2),
        (("runtime.attention=eager",), 2),
        (("execution=serving",), 2),
        (("execution=vllm",), 2),
        (("runtime.batch_size=2",), 1),
    ],
    ids=str,
)
def test_so_many_laws_hold_for_all_pages(overrides: tuple[str, ...], laws: int) -> None:
    """One for a view by itself, one for all numbers of views from two on; both are learnt with the first page."""
    model = load_cost_model([*OVERRIDES, *overrides])
    model.page(1275, 1650)
    with walked_operators() as names:
        for tiles in (0, *range(2, 41)):
            model.layout_cost(PatchesGrid(tiles, tiles or 1, 1))
    assert names == []
    assert laws_of(model, "vision") == laws_of(model, "prefill") == laws


def test_pages_are_arithmetic_in_time() -> None:
    check_pace(load_cost_model)
