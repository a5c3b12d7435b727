"""How pages are resized: worked examples, and the library's own function over 100,000 sizes."""

from functools import partial

import numpy as np
import pytest
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import smart_resize

from modelmeter.errors import ModelMeterError
from modelmeter.models.paddleocr_vl import MODES, Workload, load_cost_model
from tests.models.smart_resizes import check_alike, pages_of_all_kinds

#: width, height: tokens with the published limits, and with the library's
EXAMPLES = {
    (1275, 1650): ((46, 59), (46, 59)),
    (1654, 2339): ((50, 71), (46, 65)),
    (2480, 3508): ((50, 71), (46, 65)),
    (640, 480): ((23, 17), (23, 17)),
    (600, 220): ((23, 9), (23, 9)),
    (3000, 400): ((107, 14), (107, 14)),
}
LIBRARY = Workload(min_pixels=384 * 384, max_pixels=1536 * 1536)

#: limits that some pages are above and others below
LIMITS = ((147_384, 2_822_400), (112_896, 1_003_520), (147_456, 2_359_296), (1, 2**40), (2_000_000, 2_100_000))


@pytest.mark.parametrize(("size", "grids"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], grids: tuple[tuple[int, int], tuple[int, int]]) -> None:
    for workload, (columns, rows) in zip((MODES["page"], LIBRARY), grids, strict=True):
        layout = workload.layout(*size)
        assert layout == (columns, rows)
        (view,) = workload.views(layout)
        assert (view.width, view.height, view.tokens) == (28 * columns, 28 * rows, columns * rows)
        assert workload.tokens(layout).total == columns * rows


def strips() -> np.ndarray:
    """20,000 pages thinner than a token, one way or the other."""
    random = np.random.default_rng(18)
    thin = np.stack((random.integers(1, 30, 20_000), random.integers(1, 6000, 20_000)), axis=1)
    thin[::2] = thin[::2, ::-1]
    return thin


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_librarys_function_resizes_alike(limits: tuple[int, int]) -> None:
    pages = pages_of_all_kinds(17, [112_896, 147_384, 1_003_520, 2_822_400], half=14, usual=4000)
    workload = Workload(min_pixels=limits[0], max_pixels=limits[1])
    resize = partial(smart_resize, factor=28, min_pixels=limits[0], max_pixels=limits[1])
    check_alike(workload, np.concatenate((pages, strips())), resize)


def test_a_side_of_less_than_a_token_is_scaled_up_first() -> None:
    workload = Workload(min_pixels=1)
    assert workload.scaled(1000, 12) == (2333, 28)
    assert workload.scaled(12, 1000) == (28, 2333)
    assert workload.scaled(3, 8) == (28, 78)  # to 10 x 28, as 10.5 goes to the even side, and then to 28 x 78.4
    assert workload.layout(12, 1000) == (1, 83)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((10, 2001), "28 x 5603 pixels, scaled from 10 x 2001, have an aspect ratio above 200"),
        ((60_000, 200), "60000 x 200 pixels have an aspect ratio above 200"),
        ((0, 5), "width=0 is not positive"),
        ((5, 2**31), "height is 2147483648, more than"),
    ],
)
def test_what_is_refused(size: tuple[int, int], words: str) -> None:
    with pytest.raises(ModelMeterError, match=words):
        MODES["page"].layout(*size)


def test_limits_are_overrides() -> None:
    model = load_cost_model(["workload.max_pixels=1003520"])
    assert model.page(1654, 2339).layout == (30, 42) == MODES["region"].layout(1654, 2339)
