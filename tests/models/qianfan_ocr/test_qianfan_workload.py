"""How pages are cut: worked examples, and the library's own size function over 100,000 sizes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers.models.got_ocr2 import image_processing_pil_got_ocr2 as library
from transformers.models.qianfan_ocr.processing_qianfan_ocr import QianfanOCRProcessor

from modelmeter.errors import ModelMeterError
from modelmeter.models.qianfan_ocr import PatchesGrid, Workload, load_cost_model

PROCESSOR = library.GotOcr2ImageProcessorPil

#: width, height: (tiles, columns, rows), image tokens
EXAMPLES = {
    (1275, 1650): ((12, 3, 4), 3328),
    (1654, 2339): ((6, 2, 3), 1792),
    (2480, 3508): ((6, 2, 3), 1792),
    (640, 480): ((12, 4, 3), 3328),
    (600, 220): ((10, 5, 2), 2816),
    (3000, 400): ((8, 8, 1), 2304),
    (448, 448): ((0, 1, 1), 256),
    (634, 634): ((4, 2, 2), 5 * 256),  # 2 x 2 from half of its area on: 401,956 pixels, and 401,408
    (633, 633): ((0, 1, 1), 256),
    (1, 2**31 - 1): ((12, 1, 12), 3328),
}


@pytest.mark.parametrize(("size", "expected"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], expected: tuple[tuple[int, int, int], int]) -> None:
    workload = Workload()
    layout = workload.layout(*size)
    assert (layout, workload.tokens(layout).total) == expected
    assert sum(views.tokens for views in workload.views(layout)) == expected[1]


def sizes() -> np.ndarray:
    """100,000 pages: usual ones, small ones, at exact ratios of grids (which tie), and very long ones."""
    random = np.random.default_rng(31)
    usual = random.integers(1, 4000, (55_000, 2))
    small = random.integers(1, 700, (20_000, 2))
    exact = random.integers(1, 13, (20_000, 2)) * random.integers(1, 900, (20_000, 1))
    longest = np.stack((random.integers(1, 40, 5_000), random.integers(10_000, 2**31, 5_000)), axis=1)
    longest[::2] = longest[::2, ::-1]
    return np.concatenate((usual, small, exact, longest))


@pytest.mark.parametrize("limits", [(1, 12), (2, 6), (5, 24)], ids=str)
def test_the_librarys_size_function_cuts_alike(limits: tuple[int, int]) -> None:
    least, most = limits
    pages = sizes()
    workload = Workload(min_patches=least, max_patches=most)
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    differing = []
    for number, (width, height) in enumerate(pages.tolist()):
        # `lru_cache` around it would keep what it never asks for again
        columns, rows = library.get_optimal_tiled_canvas.__wrapped__((height, width), (448, 448), least, most)
        own = (columns * rows if columns * rows > 1 else 0, columns, rows)
        others = (workload.layout(width, height), vectorised.layouts[vectorised.indices[number]])
        differing += [(width, height)] if any(other != own for other in others) else []
    assert len(pages) == 100_000
    assert differing == []


@pytest.mark.parametrize(
    "size", [(1275, 1650), (640, 480), (448, 448), (633, 633), (634, 634), (100, 1300), (5, 5)], ids=str
)
@pytest.mark.parametrize("cut", [True, False])
def test_the_processor_itself(size: tuple[int, int], cut: bool) -> None:
    """Run on a picture: how many views it makes, of which size, and how many placeholders its page has."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    made = PROCESSOR(size={"height": 448, "width": 448}, crop_to_patches=cut)(images=pixels, return_tensors="np")
    workload = Workload(crop_to_patches=cut)
    layout = workload.layout(width, height)
    views = sum(view.count for view in workload.views(layout))
    assert made["num_patches"].tolist() == [views]
    assert made["pixel_values"].shape == (views, 3, 448, 448)
    assert workload.tokens(layout).total == placeholders(views) - 2  # the markers around an image


def placeholders(views: int) -> int:
    """Tokens that the library's processor puts in the place of an image, its two markers among them."""
    processor: Any = SimpleNamespace(start_image_token="<", image_token="i", end_image_token=">", image_seq_length=256)
    replace: Any = QianfanOCRProcessor.replace_image_token
    return len(replace(processor, {"num_patches": [views]}, 0))


def test_the_processors_values_are_the_workloads() -> None:
    workload = Workload()
    assert QianfanOCRProcessor.images_kwargs == {"crop_to_patches": workload.crop_to_patches}
    assert (PROCESSOR.min_patches, PROCESSOR.max_patches) == (workload.min_patches, workload.max_patches)
    assert workload.view_tokens == 256  # the default of its `image_seq_length`


REFUSED = {
    "size": (
        {"size": 450},
        r"size=450 is no multiple of the 28 pixels of a token, 2 patches of patch_size=14 .*er 2\)",
    ),
    "limits": ({"min_patches": 13}, "min_patches=13 exceeds max_patches=12; give a min_patches of at most 12"),
    "ratio": ({"downsample_ratio": 0.3}, "downsample_ratio=0.3 is none that is modelled; give 1, 0.5, 0.25, 0.125"),
}


@pytest.mark.parametrize(("values", "text"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        Workload(**values)


def test_limits_are_overrides() -> None:
    model = load_cost_model(["workload.max_patches=6"])
    assert model.page(1275, 1650).layout == PatchesGrid(6, 2, 3)
    assert load_cost_model(["workload.min_patches=4"]).page(448, 448).layout == PatchesGrid(4, 2, 2)
    assert load_cost_model(["workload.max_patches=1"]).page(1275, 1650).layout == PatchesGrid(0, 1, 1)
    wide = load_cost_model(["workload.downsample_ratio=0.25"]).page(1275, 1650)
    assert wide.tokens.total == 13 * 64


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["vision.num_attention_heads=15"], r"vision.hidden_size=1024 does not divide by .*=15 \(remainder 4\)"),
        (["decoder.num_key_value_heads=5"], "num_attention_heads=32 does not divide by num_key_value_heads=5"),
        (["workload.downsample_ratio=2"], "downsample_ratio=2 is too large; give 1 or less"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides: list[str], text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        load_cost_model(overrides)
