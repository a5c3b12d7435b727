"""How pages are cut: worked examples, and the library's own size functions over 100,000 sizes."""

import numpy as np
import pytest
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from modelmeter.errors import ModelMeterError
from modelmeter.models.unlimited_ocr import MODES, PatchesGrid, Workload
from modelmeter.models.unlimited_ocr.reference.cutting import grid_of, image_processor_module
from modelmeter.models.unlimited_ocr.reference.page import placeholder_tokens

#: width, height: (tiles, columns, rows), image tokens
EXAMPLES = {
    (1275, 1650): ((12, 3, 4), 1513),
    (1654, 2339): ((6, 2, 3), 903),
    (2480, 3508): ((24, 4, 6), 2733),
    (640, 480): ((0, 1, 1), 273),
    (600, 220): ((0, 1, 1), 273),
    (3000, 400): ((30, 15, 2), 3293),
    (641, 641): ((4, 2, 2), 273 + 20 * 21),
}


@pytest.mark.parametrize(("size", "expected"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], expected: tuple[tuple[int, int, int], int]) -> None:
    workload = Workload()
    layout = workload.layout(*size)
    assert (layout, workload.tokens(layout).total) == expected
    assert sum(views.tokens for views in workload.views(layout)) == expected[1]


def test_one_view_has_no_tiles() -> None:
    layout = MODES["whole"].layout(3000, 400)
    assert layout == PatchesGrid(0, 1, 1)
    assert MODES["whole"].tokens(layout).total == 16 * 17 + 1
    assert MODES["whole"].layouts([3000, 1], [400, 1]).layouts == (layout,)


def sizes() -> np.ndarray:
    """100,000 pages: usual ones, around the threshold, at exact ratios of grids (which tie), and very long ones."""
    random = np.random.default_rng(13)
    usual = random.integers(1, 4000, (60_000, 2))
    near = random.integers(600, 700, (20_000, 2))
    exact = random.integers(1, 33, (15_000, 2)) * random.integers(1, 200, (15_000, 1))
    longest = np.stack((random.integers(1, 40, 5_000), random.integers(10_000, 2**31, 5_000)), axis=1)
    return np.concatenate((usual, near, exact, longest))


def test_the_librarys_size_functions_cut_alike() -> None:
    library = image_processor_module()
    pages = sizes()
    workload = Workload()
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    differing = []
    for number, (width, height) in enumerate(pages.tolist()):
        own = grid_of(library, library.get_optimal_tiled_canvas, width, height)
        others = (
            grid_of(library, get_optimal_tiled_canvas, width, height),
            workload.layout(width, height),
            vectorised.layouts[vectorised.indices[number]],
        )
        differing += [(width, height)] if any(other != own for other in others) else []
    assert len(pages) == 100_000
    assert differing == []


def test_the_processors_values_are_the_workloads() -> None:
    processor, workload = image_processor_module().UnlimitedOcrImageProcessor, Workload()
    assert processor.size == {"height": workload.size, "width": workload.size}
    for name in ("tile_size", "min_patches", "max_patches", "crop_to_patches"):
        assert getattr(processor, name) == getattr(workload, name)
    for layout in (PatchesGrid(0, 1, 1), PatchesGrid(12, 3, 4), PatchesGrid(31, 31, 1)):
        tiles, *grid = layout
        assert workload.tokens(layout).total == placeholder_tokens(1024, 640, tuple(grid), tiles)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"tile_size": 650}, r"tile_size=650 is no multiple of patch_size=16 \(remainder 10\)"),
        ({"min_patches": 9, "max_patches": 4}, "min_patches=9 exceeds max_patches=4"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, int], text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        Workload(**values)


def test_sides_that_no_page_has_are_refused() -> None:
    with pytest.raises(ModelMeterError, match="width"):
        Workload().layout(0, 5)
    with pytest.raises(ModelMeterError, match="layouts: 2 widths and 1 heights"):
        Workload().layouts([1, 2], [3])
