"""How pages are cut: worked examples, and the library's own size function over 100,000 sizes."""

import numpy as np
import pytest
from transformers.models.deepseek_ocr2 import image_processing_pil_deepseek_ocr2 as library

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr2 import PatchesGrid, Workload, load_cost_model
from modelmeter.models.deepseek_ocr2.reference.page import placeholder_tokens

PROCESSOR = library.DeepseekOcr2ImageProcessorPil

#: width, height: (tiles, columns, rows), image tokens
EXAMPLES = {
    (1275, 1650): ((6, 2, 3), 1121),
    (1654, 2339): ((6, 2, 3), 1121),
    (2480, 3508): ((6, 2, 3), 1121),
    (640, 480): ((0, 1, 1), 257),
    (600, 220): ((0, 1, 1), 257),
    (768, 768): ((0, 1, 1), 257),
    (769, 769): ((4, 2, 2), 257 + 4 * 144),
    (1000, 500): ((2, 2, 1), 257 + 2 * 144),
    (3000, 400): ((6, 6, 1), 1121),
}


@pytest.mark.parametrize(("size", "expected"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], expected: tuple[tuple[int, int, int], int]) -> None:
    workload = Workload()
    layout = workload.layout(*size)
    assert (layout, workload.tokens(layout).total) == expected
    assert sum(views.tokens for views in workload.views(layout)) == expected[1]


def sizes() -> np.ndarray:
    """100,000 pages: usual ones, around the threshold, at exact ratios of grids (which tie), and very long ones."""
    random = np.random.default_rng(23)
    usual = random.integers(1, 4000, (60_000, 2))
    near = random.integers(730, 810, (20_000, 2))
    exact = random.integers(1, 7, (15_000, 2)) * random.integers(1, 900, (15_000, 1))
    longest = np.stack((random.integers(1, 40, 5_000), random.integers(10_000, 2**31, 5_000)), axis=1)
    return np.concatenate((usual, near, exact, longest))


def grid_of(width: int, height: int) -> tuple[int, int, int]:
    """(tiles, columns, rows) as `_preprocess` of the processor decides them, with its own limits."""
    tile = PROCESSOR.tile_size
    if not PROCESSOR.crop_to_patches or max(width, height) <= tile:
        return 0, 1, 1
    limits = (PROCESSOR.min_patches, PROCESSOR.max_patches)
    columns, rows = library.get_optimal_tiled_canvas((height, width), (tile, tile), *limits)
    return columns * rows, columns, rows


def test_the_librarys_size_function_cuts_alike() -> None:
    pages = sizes()
    workload = Workload()
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    differing = []
    for number, (width, height) in enumerate(pages.tolist()):
        own = grid_of(width, height)
        others = (workload.layout(width, height), vectorised.layouts[vectorised.indices[number]])
        differing += [(width, height)] if any(other != own for other in others) else []
    assert len(pages) == 100_000
    assert differing == []


def test_a_page_cut_into_one_tile_is_told_from_one_that_is_not() -> None:
    workload = Workload(min_patches=1)
    pages = {(768, 768): (0, 1, 1), (769, 769): (1, 1, 1), (800, 700): (1, 1, 1), (1600, 800): (2, 2, 1)}
    indices, layouts = workload.layouts(*zip(*pages, strict=True))
    assert [layouts[index] for index in indices] == [workload.layout(*page) for page in pages] == list(pages.values())


@pytest.mark.parametrize(("width", "height"), [(769, 300), (1275, 1650), (500, 768), (800, 801)])
def test_the_processor_itself(width: int, height: int) -> None:
    """Run on a picture: its views, and how many placeholders its page has."""
    pixels = np.zeros((height, width, 3), np.uint8)
    made = PROCESSOR()(images=pixels, return_tensors="np")
    workload = Workload()
    layout = workload.layout(width, height)
    assert made["num_local_patches"].tolist() == [layout.num_local_patches]
    sides = {views.name: (views.count, 3, views.height, views.width) for views in workload.views(layout)}
    assert made["pixel_values"].shape == sides["global"]
    assert ("pixel_values_local" in made) == ("local" in sides)
    if "local" in sides:
        assert made["pixel_values_local"].shape == sides["local"]


def test_the_processors_values_are_the_workloads() -> None:
    workload = Workload()
    assert PROCESSOR.size == {"height": workload.size, "width": workload.size}
    for name in ("tile_size", "min_patches", "max_patches"):
        assert getattr(PROCESSOR, name) == getattr(workload, name)
    for tiles in (0, 1, 2, 6):
        layout = PatchesGrid(tiles, tiles or 1, 1)
        assert workload.tokens(layout).total == placeholder_tokens(1024, 768, tiles)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"tile_size": 650}, r"tile_size=650 is no multiple of patch_size=16 \(remainder 10\)"),
        ({"min_patches": 7}, "min_patches=7 exceeds max_patches=6"),
        (
            {"tile_size": 640},
            "tile_size=640 makes 100 tokens of a view, and the encoder has queries for others: 144 for 768 pixels and "
            "256 for 1024 pixels; give one of these sides",
        ),
        ({"size": 1280}, "size=1280 makes 400 tokens"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, int], text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        Workload(**values)


def test_limits_are_overrides() -> None:
    model = load_cost_model(["workload.min_patches=1", "workload.max_patches=12"])
    assert model.page(2400, 3200).layout == PatchesGrid(12, 3, 4)
    assert model.page(800, 800).layout == PatchesGrid(1, 1, 1)
    assert model.page(2304, 3072).tokens.total == 257 + 12 * 144


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["vision.encoder.hidden_size=768"], "hidden_size=768 takes the 896 channels"),
        (
            ["vision.encoder.num_attention_heads=128"],
            r"vision.encoder.hidden_size=896 in num_attention_heads=128 makes",
        ),
        (["workload.patch_size=32"], "workload.patch_size=32 differs from vision.sam.patch_size=16|makes 64 tokens"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides: list[str], text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        load_cost_model(overrides)
