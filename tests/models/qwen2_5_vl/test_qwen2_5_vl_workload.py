"""How pages are resized: worked examples, and the library's own function over 100,000 sizes."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.qwen2_5_vl import MODES, Workload, load_cost_model
from tests.models.smart_resizes import check_alike, grid_or_none, pages_of_all_kinds

#: width, height: (columns, rows) at the page's own size, and as olmOCR renders it
EXAMPLES = {
    (1275, 1650): ((46, 59), (36, 46)),
    (1654, 2339): ((59, 84), (33, 46)),
    (2480, 3508): ((89, 125), (33, 46)),
    (640, 480): ((23, 17), (46, 34)),
    (600, 220): ((21, 8), (46, 17)),
    (3000, 400): ((107, 14), (46, 6)),
}

#: limits that some pages are above and others below
LIMITS = ((3136, 12_845_056), (3136, 1_003_520), (65_536, 65_537), (1, 2**40), (2_000_000, 2_100_000))


@pytest.mark.parametrize(("size", "grids"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], grids: tuple[tuple[int, int], tuple[int, int]]) -> None:
    for mode, (columns, rows) in zip(("page", "olmocr"), grids, strict=True):
        workload = MODES[mode]
        layout = workload.layout(*size)
        assert layout == (columns, rows)
        (view,) = workload.views(layout)
        assert (view.width, view.height, view.tokens) == (28 * columns, 28 * rows, columns * rows)
        assert workload.tokens(layout).total == columns * rows


def sizes() -> np.ndarray:
    """100,000 pages."""
    return pages_of_all_kinds(16, (3136, 65_536, 1_003_520, 12_845_056), half=14, usual=4000)


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_librarys_function_resizes_alike(limits: tuple[int, int]) -> None:
    pages = sizes()
    assert len(pages) == 100_000
    workload = Workload(min_pixels=limits[0], max_pixels=limits[1])
    check_alike(workload, pages, lambda height, width: smart_resize(height, width, 28, *limits))


def half_to_even(number: Fraction) -> int:
    """Fractions round exactly, and halves to even."""
    return round(number)


def test_olmocr_scales_the_longer_side_first() -> None:
    pages = sizes()[::7]
    workload, plain = MODES["olmocr"], Workload()
    published = partial(smart_resize, factor=28, min_pixels=3136, max_pixels=12_845_056)
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    for number, (width, height) in enumerate(pages.tolist()):
        scaled = [half_to_even(Fraction(side * 1288, max(width, height))) for side in (width, height)]
        expected = grid_or_none(published, *scaled, 28) if min(scaled) else (0, 0)
        assert vectorised.layouts[vectorised.indices[number]] == expected, (width, height)
        if expected != (0, 0):
            assert workload.layout(width, height) == expected == plain.layout(*scaled)


def test_a_half_goes_to_the_even_side() -> None:
    assert Workload().layout(28 * 20 + 14, 28 * 21 + 14) == (20, 22)
    assert MODES["olmocr"].scaled(5, 2576) == (2, 1288)  # 2.5
    assert MODES["olmocr"].scaled(7, 2576) == (4, 1288)  # 3.5


@pytest.mark.parametrize(
    ("size", "mode", "words"),
    [
        ((10, 2001), "page", "10 x 2001 pixels have an aspect ratio above 200"),
        ((20000, 100), "olmocr", "1288 x 6 pixels, scaled from 20000 x 100, have an aspect ratio above 200"),
        ((1, 2**31 - 1), "olmocr", "0 x 1288 pixels, scaled from 1 x 2147483647, have an aspect ratio above 200"),
        ((0, 5), "page", "width=0 is not positive"),
        ((5, 2**31), "page", "height is 2147483648, more than"),
    ],
)
def test_what_is_refused(size: tuple[int, int], mode: str, words: str) -> None:
    with pytest.raises(ModelMeterError, match=words):
        MODES[mode].layout(*size)


def test_a_refused_page_does_not_stop_the_others() -> None:
    workload = Workload()
    indices, layouts = workload.layouts([1275, 10], [1650, 3000])
    assert [layouts[index] for index in indices] == [(46, 59), (0, 0)]
    with pytest.raises(ModelMeterError, match="layout: the page has an aspect ratio above 200"):
        load_cost_model().layout_cost(MergedGrid(0, 0))
    with pytest.raises(ModelMeterError, match="2 widths and 1 heights"):
        workload.layouts([1, 2], [3])


def test_limits_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ModelMeterError, match="min_pixels=5000 exceeds max_pixels=4000"):
        Workload(min_pixels=5000, max_pixels=4000)
