"""What a page becomes: worked examples, and the library's own functions over 100,000 sizes."""

from types import SimpleNamespace

import numpy as np
import pytest
from transformers.models.hunyuan_vl.image_processing_pil_hunyuan_vl import HunYuanVLImageProcessorPil, smart_resize
from transformers.models.hunyuan_vl.processing_hunyuan_vl import HunYuanVLProcessor

from modelmeter.errors import ModelMeterError
from modelmeter.models.hunyuan_vl import MODES, Workload, load_cost_model

#: width, height: rows and columns of patches, image tokens
EXAMPLES = {
    (1275, 1650): ((104, 80), 2134),
    (1654, 2339): ((146, 104), 3871),
    (2480, 3508): ((152, 106), 4106),
    (640, 480): ((30, 40), 317),
    (600, 220): ((20, 54), 282),
    (3000, 400): ((24, 188), 1142),
}

#: limits that some pages are above and others below
LIMITS = ((262_144, 4_194_304), (1024, 1024), (65_536, 65_537), (1, 2**40), (2_000_000, 2_100_000))


def processor() -> HunYuanVLProcessor:
    """The library's, without a tokenizer."""
    made = object.__new__(HunYuanVLProcessor)
    made.image_token, made.cat_extra_token = "<i>", True
    made.image_processor = SimpleNamespace(spatial_patch_size=1, merge_size=2)
    return made


@pytest.mark.parametrize(("size", "expected"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], expected: tuple[tuple[int, int], int]) -> None:
    (rows, columns), tokens = expected
    workload = Workload()
    layout = workload.layout(*size)
    assert (2 * layout.rows, 2 * layout.columns) == (rows, columns)
    assert workload.tokens(layout).total == tokens
    (view,) = workload.views(layout)
    assert (view.width, view.height, view.tokens) == (16 * columns, 16 * rows, tokens)
    assert processor().replace_image_token({"image_grid_thw": [(1, rows, columns)]}, 0).count("<i>") == tokens


def test_the_librarys_own_limits_are_the_default() -> None:
    size = HunYuanVLImageProcessorPil.size
    assert (size["shortest_edge"], size["longest_edge"]) == (Workload().min_pixels, Workload().max_pixels)
    assert (HunYuanVLImageProcessorPil.patch_size, HunYuanVLImageProcessorPil.merge_size) == (16, 2)
    assert {"page": Workload()} == MODES


def sizes() -> np.ndarray:
    """100,000 pages: usual ones, halves that round to even, ones near the limits, long ones, and absurd ones."""
    random = np.random.default_rng(17)
    usual = random.integers(1, 4000, (50_000, 2))
    halves = random.integers(1, 300, (20_000, 2)) * 16
    area = random.choice([1024, 65_536, 262_144, 4_194_304], 15_000)
    ratio = np.exp(random.uniform(-5.4, 5.4, 15_000))
    near = np.stack((np.sqrt(area * ratio), np.sqrt(area / ratio)), axis=1) + random.uniform(-30, 30, (15_000, 2))
    long = random.integers(1, 2000, (10_000, 1)) * np.stack(
        (np.ones(10_000, int), random.integers(150, 203, 10_000)), axis=1
    )
    absurd = random.integers(2**24, 2**31, (5_000, 2))
    return np.concatenate((usual, halves, np.maximum(near, 1).astype(np.int64), long, absurd))


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_librarys_function_agrees(limits: tuple[int, int]) -> None:
    pages, workload = sizes(), Workload(min_pixels=limits[0], max_pixels=limits[1])
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    differing = []
    for number, (width, height) in enumerate(pages.tolist()):
        at_once = vectorised.layouts[vectorised.indices[number]]
        try:
            resized = smart_resize(height, width, 32, *limits)
        except ValueError:
            with pytest.raises(ModelMeterError, match="aspect ratio above 200"):
                workload.layout(width, height)
            expected = alone = (0, 0)
        else:
            expected, alone = (resized[1] // 32, resized[0] // 32), workload.layout(width, height)
        differing += [] if expected == alone == at_once else [(width, height)]
    assert len(pages) == 100_000
    assert differing == []


def test_limits_are_overrides_by_their_published_names() -> None:
    model = load_cost_model(["workload.min_pixels=1024", "workload.max_pixels=2048", "decoder.num_hidden_layers=1"])
    assert model.workload.layout(1275, 1650) == (1, 1)
    with pytest.raises(ModelMeterError, match="min_pixels=262144 exceeds max_pixels=5; give a min_pixels of at most 5"):
        load_cost_model(["workload.max_pixels=5"])
