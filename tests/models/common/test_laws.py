"""Laws of the toy against its walks: a windowed tower, whose pages have numerous layouts and few laws."""

from __future__ import annotations

from functools import reduce
from itertools import product
from operator import add

import pytest

from benchmarks.walked import walked_operators
from tests.models.law_checks import laws_of
from tests.models.walked import walked_prefill, walked_step, walked_vision
from tests.toy_model import CostModel, load_cost_model
from tests.toy_model.workload import WINDOW, Grid

CONFIGURATIONS = {
    "default": (),
    "eager": ("runtime.attention=eager",),
    "float32": ("runtime.dtype=float32",),
    "serving": ("execution=serving",),
    "three-pages": ("runtime.batch_size=3",),
    "serving-two-pages": ("execution=serving", "runtime.batch_size=2"),
    "head-all": ("runtime.head=all",),
    "head-none": ("runtime.head=none",),
    "one-block": ("vision.depth=1", "decoder.num_hidden_layers=1", "runtime.prompt_tokens=0"),
}
#: sides with one window and several, and every remainder
SIDES = (4, 5, 6, 7, 8, 11, 13, 18)


@pytest.fixture(scope="module", params=CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def model(request: pytest.FixtureRequest) -> CostModel:
    return load_cost_model(request.param)


def test_pages(model: CostModel) -> None:
    for columns, rows in product(SIDES, SIDES):
        grid = Grid(columns, rows)
        page = model.layout_cost(grid)
        assert page.vision == walked_vision(model, grid), grid
        assert page.prefill == walked_prefill(model, page.seq_len, grid), grid


def test_prompts_and_steps(model: CostModel) -> None:
    for tokens in (1, 2, 7, 100, 913):
        assert model.text(tokens).prefill == walked_prefill(model, tokens, None), tokens
        assert model.step(tokens) == walked_step(model, tokens), tokens
    assert model.step(0) == walked_step(model, 0)
    for start, steps in ((1, 2), (5, 9), (913, 3)):
        one_by_one = [walked_step(model, start + index) for index in range(steps)]
        assert model.text(start, steps).decode == reduce(add, one_by_one), (start, steps)


def test_batches_share_laws_and_keep_their_own_figures(model: CostModel) -> None:
    for pages in (1, 2, 5):
        batch = model.batched(pages)
        page = batch.layout_cost(Grid(5, 9), 3)
        assert page.prefill == walked_prefill(batch, page.seq_len, Grid(5, 9))
        assert page.decode == reduce(add, [walked_step(batch, page.seq_len + index) for index in range(3)])


@pytest.mark.parametrize("overrides", [(), ("execution=serving",), ("runtime.batch_size=3",)], ids=str)
def test_sixteen_laws_hold_for_all_pages(overrides: tuple[str, ...]) -> None:
    model = load_cost_model(overrides)
    model.page(1000, 1000, 2)
    with walked_operators() as names:
        for columns, rows in product(range(WINDOW, 65, 5), range(WINDOW, 65, 3)):
            model.layout_cost(Grid(columns, rows), 2)
    assert names == []
    assert laws_of(model, "vision") == laws_of(model, "prefill") == WINDOW * WINDOW


def test_a_window_is_walked_once_however_many_there_are() -> None:
    model = load_cost_model()

    with_windows = [model._vision_walk(Grid(side, side)).operator_count for side in (4, 8, 12)]  # 1, 4, 9 windows
    one = (with_windows[1] - with_windows[0]) // 3
    assert with_windows == [with_windows[0] + more * one for more in (0, 3, 8)]
    with walked_operators() as names:
        load_cost_model()._vision_walk(Grid(64, 64))
    assert len(names) == with_windows[0] // 2 + 1  # a window of each of two blocks, which are alike, is walked once
