"""How pages are resized: worked examples, and the library's own function over 100,000 sizes."""

import numpy as np
import pytest
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil, smart_resize

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.glm_ocr import MODES, Workload
from tests.models.qwen2_5_vl.test_qwen2_5_vl_workload import sizes

#: width, height: (columns, rows)
EXAMPLES = {
    (1275, 1650): (46, 59),
    (1654, 2339): (59, 84),
    (2480, 3508): (65, 93),
    (640, 480): (23, 17),
    (600, 220): (21, 8),
    (3000, 400): (107, 14),
    (10, 2000): (1, 200),  # made 28 x 5600 first
    (3, 7): (
        2,
        5,
    ),  # made 28 x 65 first, then larger by the root of 12,544 / (2 x 28 x 65), 1.86, and up to whole tokens
}

#: limits that some pages are above and others below, of both frames
LIMITS = ((12_544, 9_633_792), (12_544, 11_760_000), (131_071, 131_073), (1, 2**40), (2_000_001, 2_100_001))


@pytest.mark.parametrize(("size", "grid"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], grid: tuple[int, int]) -> None:
    workload = MODES["page"]
    layout = workload.layout(*size)
    assert layout == grid
    assert workload.tokens(layout).total == grid[0] * grid[1]
    processor = Glm46VImageProcessorPil(size={"shortest_edge": 12_544, "longest_edge": 9_633_792})
    assert processor.get_number_of_image_patches(size[1], size[0]) == 4 * grid[0] * grid[1]


def librarys(width: int, height: int, limits: tuple[int, int]) -> tuple[int, int]:
    """The grid that the library's function gives; (0, 0) for a page that it refuses."""
    try:
        resized_height, resized_width = smart_resize(2, height, width, 2, 28, *limits)
    except ValueError:
        return 0, 0
    return resized_width // 28, resized_height // 28


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_librarys_function_resizes_alike(limits: tuple[int, int]) -> None:
    short = np.random.default_rng(46).integers(1, 30, (3_000, 2))
    pages = np.concatenate((sizes(), short, short * [1, 40], short * [40, 1]))
    workload = Workload(min_pixels=limits[0], max_pixels=limits[1])
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    differing = []
    for number, (width, height) in enumerate(pages.tolist()):
        expected = librarys(width, height, limits)
        try:
            found = workload.layout(width, height)
        except ModelMeterError:
            found = MergedGrid(0, 0)
        if not found == vectorised.layouts[vectorised.indices[number]] == expected:
            differing.append((width, height, found, expected))
    assert not differing, differing[:5]


def test_a_page_too_long_is_refused_as_it_is_after_it_was_made_larger() -> None:
    with pytest.raises(ModelMeterError, match="84000 x 28 pixels, scaled from 3000 x 1, have an aspect ratio above"):
        MODES["page"].layout(3000, 1)
