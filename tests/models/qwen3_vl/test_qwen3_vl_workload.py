"""How pages are resized: worked examples, the library's own function over 100,000 sizes, and Chandra's scaling."""

import math
from fractions import Fraction

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from modelmeter.errors import ModelMeterError
from modelmeter.models.qwen3_vl import MODES, Workload
from tests.models.smart_resizes import check_alike, layout_or_none, pages_of_all_kinds

#: width, height: columns and rows of tokens at the page's own size
EXAMPLES = {
    (1275, 1650): (40, 52),
    (1654, 2339): (52, 73),
    (2480, 3508): (78, 110),
    (640, 480): (20, 15),
    (600, 220): (19, 7),
    (3000, 400): (94, 12),
}

#: limits that some pages are above and others below
LIMITS = ((65_536, 16_777_216), (65_536, 65_537), (1, 2**40), (2_000_000, 2_100_000))


@pytest.mark.parametrize(("size", "grid"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], grid: tuple[int, int]) -> None:
    workload = MODES["page"]
    layout = workload.layout(*size)
    assert layout == grid
    (view,) = workload.views(layout)
    assert (view.width, view.height, view.tokens) == (32 * grid[0], 32 * grid[1], grid[0] * grid[1])
    assert workload.tokens(layout).total == grid[0] * grid[1]


def sizes() -> np.ndarray:
    """100,000 pages."""
    return pages_of_all_kinds(17, (784, 65_536, 6_291_456, 16_777_216), half=16, usual=5000)


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_librarys_function_resizes_alike(limits: tuple[int, int]) -> None:
    pages = sizes()
    assert len(pages) == 100_000
    workload = Workload(min_pixels=limits[0], max_pixels=limits[1])
    check_alike(workload, pages, lambda height, width: smart_resize(height, width, 32, *limits))


def fitted(width: int, height: int) -> set[tuple[int, int]]:
    """What Chandra's client makes of a page whose shorter side has 1024 pixels or more: roots taken exactly.

    Where a side is a whole number before it is rounded down, a float may lie below it.
    """
    area, most = width * height, 3072 * 2048
    if area <= most:
        return {(width, height)}
    options = []
    for side in (width, height):
        squared = Fraction(side * side * most, area)
        floor = math.isqrt(math.floor(squared))
        options.append({floor, floor - 1} if floor**2 == squared else {floor})
    return {(w, h) for w in options[0] for h in options[1]}


def test_chandra_scales_a_page_first() -> None:
    """Its shorter side up to 1024 pixels, then its area down to 3072 x 2048, then the rule."""
    pages = sizes()[::7]
    workload, plain = MODES["chandra"], Workload()
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    scaled_down = 0
    for number, (width, height) in enumerate(pages.tolist()):
        larger = width, height
        if min(larger) < 1024:
            larger = int(width * (1024 / min(width, height))), int(height * (1024 / min(width, height)))
        scaled = workload.scaled(width, height)
        assert scaled in fitted(*larger), (width, height)
        scaled_down += scaled != larger
        expected = layout_or_none(plain, *scaled)
        assert layout_or_none(workload, width, height) == vectorised.layouts[vectorised.indices[number]] == expected
    assert scaled_down > 1000


def test_a_small_page_may_be_scaled_up() -> None:
    """Its area to that of 28 x 28 pixels, as Chandra's client would if it had not made the page larger before."""
    workload = Workload(fit_min_pixels=784)
    assert workload.scaled(10, 20) == (20, 40)  # 19.8 and 39.6
    assert workload.scaled(14, 14) == (28, 28)
    widths, heights = workload.all_scaled(np.array([10, 14, 500]), np.array([20, 14, 3]))
    assert (widths.tolist(), heights.tolist()) == ([20, 28, 500], [40, 28, 3])


@pytest.mark.parametrize(
    ("size", "mode", "words"),
    [
        ((10, 2001), "page", "10 x 2001 pixels have an aspect ratio above 200"),
        ((10, 2009), "chandra", "176 x 35552 pixels, scaled from 10 x 2009, have an aspect ratio above 200"),
        ((0, 5), "page", "width=0 is not positive"),
    ],
)
def test_what_is_refused(size: tuple[int, int], mode: str, words: str) -> None:
    with pytest.raises(ModelMeterError, match=words):
        MODES[mode].layout(*size)


def test_limits_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ModelMeterError, match="fit_min_pixels=5000 exceeds fit_max_pixels=4000"):
        Workload(fit_min_pixels=5000, fit_max_pixels=4000)
