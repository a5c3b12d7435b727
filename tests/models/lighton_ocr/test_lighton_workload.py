"""What a page becomes: worked examples, and the library's own size function over 100,000 sizes."""

import numpy as np
import pytest
from transformers.image_utils import ChannelDimension
from transformers.models.lighton_ocr.processing_lighton_ocr import LightOnOcrProcessor
from transformers.models.pixtral import image_processing_pil_pixtral as library

from modelmeter.errors import ModelMeterError
from modelmeter.models.lighton_ocr import MODES, Workload, load_cost_model
from modelmeter.page_sizes import MAX_SIDE

#: width, height: columns and rows of patches, image tokens
EXAMPLES = {
    (1275, 1650): ((85, 110), 2310),
    (1654, 2339): ((78, 110), 2145),
    (2480, 3508): ((78, 110), 2145),
    (640, 480): ((46, 35), 391),
    (600, 220): ((43, 16), 168),
    (3000, 400): ((110, 15), 385),
    (1540, 1540): ((110, 110), 3025),
    (1541, 1540): ((110, 110), 3025),  # its shorter side becomes 1539
    (28, 15): ((2, 2), 1),
}


@pytest.mark.parametrize(("size", "expected"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], expected: tuple[tuple[int, int], int]) -> None:
    workload = Workload()
    layout = workload.layout(*size)
    assert (layout, workload.tokens(layout).total) == expected
    (view,) = workload.views(layout)
    assert (view.width, view.height, view.tokens) == (14 * layout.columns, 14 * layout.rows, expected[1])


def sizes() -> np.ndarray:
    """100,000 pages: usual ones, around the limit, multiples of it and of patches, and very long ones."""
    random = np.random.default_rng(16)
    usual = random.integers(1, 5000, (50_000, 2))
    near = random.integers(1500, 1580, (15_000, 2))
    exact = random.integers(1, 200, (15_000, 2)) * random.choice([14, 28, 77, 110, 1540], (15_000, 1))
    longest = np.stack((random.integers(1, 3000, 10_000), random.integers(10_000, MAX_SIDE, 10_000)), axis=1)
    large = random.integers(10_000, MAX_SIDE, (10_000, 2))
    return np.concatenate((usual, near, exact, longest, large))


@pytest.mark.parametrize(("longest_edge", "multiple"), [(1540, 1), (1024, 1), (1540, 2)])
def test_the_librarys_size_function_agrees(longest_edge: int, multiple: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the sides of an image are asked for: no image of these sizes is made.

    With a multiple of 2, patches are what `PixtralProcessor` asks the image processor for.
    """
    monkeypatch.setattr(library, "get_image_size", lambda image, _format: image)
    pages = sizes()
    workload, side = Workload(longest_edge=longest_edge, whole_squares=multiple == 2), 14 * multiple
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    differing = []
    for number, (width, height) in enumerate(pages.tolist()):
        rows, columns = (
            pixels // 14
            for pixels in library.get_resize_output_image_size(
                (height, width), (longest_edge, longest_edge), (side, side), ChannelDimension.FIRST
            )
        )
        others = (workload.layout(width, height), vectorised.layouts[vectorised.indices[number]])
        differing += [(width, height)] if any(each != (columns, rows) for each in others) else []
    assert len(pages) == 100_000
    assert differing == []


def test_the_processor_puts_as_many_placeholders() -> None:
    processor = object.__new__(LightOnOcrProcessor)
    processor.image_token, processor.effective_patch_size = "<i>", 14 * 2
    workload = Workload()
    for width, height in EXAMPLES:
        grid = workload.layout(width, height)
        inputs = {"image_sizes": [(14 * grid.rows, 14 * grid.columns)]}
        assert processor.replace_image_token(inputs, 0).count("<i>") == workload.tokens(grid).total


@pytest.mark.parametrize("size", [(3000, 1), (3000, 20), (14, 14), (20, 14), (5, 4000)], ids=str)
def test_a_page_of_less_than_a_token_is_refused(size: tuple[int, int]) -> None:
    """The library makes such a picture, and the merger fails on it."""
    model = load_cost_model(["decoder.num_hidden_layers=1", "vision.num_hidden_layers=1"])
    layout = model.workload.layout(*size)
    assert min(layout) < 2
    for asked in (lambda: model.page(*size), lambda: model.layout_cost(layout)):
        with pytest.raises(ModelMeterError, match="patches has no square of 2 x 2 to make a token of"):
            asked()


def test_sides_that_no_page_has_are_refused() -> None:
    with pytest.raises(ModelMeterError, match="width"):
        Workload().layout(0, 5)
    with pytest.raises(ModelMeterError, match="layouts: 2 widths and 1 heights"):
        Workload().layouts([1, 2], [3])
    with pytest.raises(
        ModelMeterError, match=r"longest_edge=14 leaves no token of 2 x 2 patches of 14 pixels; give 15"
    ):
        Workload(longest_edge=14)


def test_no_pages_have_no_grids() -> None:
    indices, layouts = Workload().layouts(np.array([], np.int64), np.array([], np.int64))
    assert (list(indices), list(layouts)) == ([], [])


def test_examples_have_every_remainder_once() -> None:
    grids = Workload().examples()
    remainders = {(grid.columns % 2, grid.rows % 2, grid.columns * grid.rows % 8) for grid in grids}
    assert len(grids) == len(remainders) == 14


def test_whole_squares_drop_nothing() -> None:
    """As vLLM takes the page: (1190, 1540) pixels become 43 x 55 squares."""
    workload = MODES["squares"]
    layout = workload.layout(1275, 1650)
    assert (layout, workload.tokens(layout).total) == ((86, 110), 43 * 55)
    assert workload.layout(20, 14) == (2, 2)
    assert {(grid.columns % 2, grid.rows % 2) for grid in workload.examples()} == {(0, 0)}
    with pytest.raises(ModelMeterError, match="patches has no square"):
        workload.tokens(workload.layout(3000, 1))
