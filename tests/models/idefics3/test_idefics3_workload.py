"""How pages are cut: worked examples, and the library's own size functions over 120,000 sizes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers.models.idefics3 import image_processing_pil_idefics3 as library
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.patches_grid import markers_around
from modelmeter.models.idefics3 import PatchesGrid, Workload, load_cost_model
from modelmeter.page_sizes import MAX_SIDE

PROCESSOR = library.Idefics3ImageProcessorPil

#: width, height: columns, rows, image tokens
EXAMPLES = {
    (1275, 1650): (4, 4, 1088),
    (1654, 2339): (3, 4, 832),
    (2480, 3508): (3, 4, 832),
    (640, 480): (4, 3, 832),
    (600, 220): (4, 2, 576),
    (3000, 400): (4, 1, 320),
    (1, 1): (4, 4, 1088),
    (1, 2**31 - 1): (1, 4, 320),
}


@pytest.mark.parametrize(("size", "expected"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], expected: tuple[int, int, int]) -> None:
    workload, (columns, rows, tokens) = Workload(), expected
    layout = workload.layout(*size)
    assert layout == PatchesGrid(columns * rows, columns, rows)
    assert workload.tokens(layout).total == tokens == 64 * (columns * rows + 1)
    assert sum(views.tokens for views in workload.views(layout)) == tokens


def sizes() -> list[tuple[int, int]]:
    """12,000 pages: usual ones, any, very long ones, nearly square ones."""
    random = np.random.default_rng(23)
    usual = random.integers(1, 5000, (4_000, 2))
    of_any_size = random.integers(1, MAX_SIDE, (3_000, 2))
    longest = np.stack((random.integers(1, 20, 2_000), random.integers(1, MAX_SIDE, 2_000)), axis=1)
    side = random.integers(500, 4000, 3_000)
    square = np.stack((side, side + random.integers(-2, 3, 3_000)), axis=1)
    pages = np.concatenate((usual, of_any_size, longest, square))
    pages[::2] = pages[::2, ::-1]
    return [(width, height) for width, height in pages.tolist()]


def tiles_of(width: int, height: int, longest_edge: int, tile: int) -> tuple[int, int]:
    """Columns and rows as `_preprocess` of the processor makes them, of which the size of the picture alone matters."""
    picture: Any = SimpleNamespace(shape=(3, height, width))
    height, width = library.get_resize_output_image_size(picture, longest_edge)
    resizing: Any = SimpleNamespace(resize=lambda _, size, resample: (size.height, size.width))
    picture.shape = (3, height, width)
    rows, columns = (side // tile for side in PROCESSOR.resize_for_vision_encoder(resizing, picture, tile))
    return columns, rows


@pytest.mark.parametrize(
    ("longest_edge", "tile"),
    [
        (2048, 512),
        (1000, 512),
        (1001, 64),
        (4095, 512),
        (4097, 512),
        (4999, 512),
        (8192, 512),
        (512, 512),
        (1456, 364),
        (333, 64),
    ],
)
def test_the_librarys_size_functions_cut_alike(longest_edge: int, tile: int) -> None:
    workload = Workload(longest_edge=longest_edge, max_image_size=tile, patch_size=1, scale_factor=1)
    pages = sizes()
    vectorised = workload.layouts([width for width, _ in pages], [height for _, height in pages])
    differing = []
    for (width, height), number in zip(pages, vectorised.indices, strict=True):
        columns, rows = tiles_of(width, height, longest_edge, tile)
        own = PatchesGrid(columns * rows, columns, rows) if columns * rows > 1 else PatchesGrid(0, 1, 1)
        if workload.layout(width, height) != own or vectorised.layouts[number] != own:
            differing.append((width, height))
    assert len(pages) == 12_000
    assert differing == []


@pytest.mark.parametrize(("width", "height"), [(120, 90), (90, 40), (64, 200)])
def test_the_processor_itself(width: int, height: int) -> None:
    """Run on a picture, with smaller limits: its views, and how they lie."""
    processor = PROCESSOR(size={"longest_edge": 200}, max_image_size={"longest_edge": 64}, return_row_col_info=True)
    made = processor(images=np.zeros((height, width, 3), np.uint8), return_tensors="np")
    workload = Workload(longest_edge=200, max_image_size=64)
    tiles, columns, rows = workload.layout(width, height)
    assert made["pixel_values"].shape == (1, tiles + 1, 3, 64, 64)
    assert made["pixel_attention_mask"].shape == (1, tiles + 1, 64, 64)
    assert made["pixel_attention_mask"].all()
    assert ([[rows]], [[columns]]) == (made["rows"], made["cols"])


@pytest.mark.parametrize("layout", [PatchesGrid(16, 4, 4), PatchesGrid(8, 4, 2), PatchesGrid(3, 1, 3)], ids=str)
def test_markers_are_those_of_the_processor(layout: PatchesGrid) -> None:
    """By its own text, whose names in angle brackets are a token each, as two newlines are."""
    workload = Workload()
    processor: Any = SimpleNamespace(
        fake_image_token="<fake>", global_image_tag="<global-img>", image_token="<image>", image_seq_len=64
    )
    replace: Any = Idefics3Processor.replace_image_token
    text = replace(processor, {"rows": [[layout.num_rows]], "cols": [[layout.num_columns]]}, 0)
    newlines = text.count("\n") - text.count("\n\n")
    tokens = text.count("<") + newlines
    assert text.count("<image>") == workload.tokens(layout).total
    assert tokens - text.count("<image>") == markers_around(layout)
    whole = replace(processor, {"rows": [[0]], "cols": [[0]]}, 0)
    assert whole.count("<") - whole.count("<image>") == markers_around(PatchesGrid(0, 1, 1)) == 3


def test_a_prompt_is_text_and_markers_unless_it_is_told() -> None:
    model = load_cost_model()
    assert model.page(1275, 1650).seq_len == 1088 + 30 + 39
    (prompt,) = [each for each in model.assumptions() if each.figure == "prompt_tokens"]
    assert prompt.label == "assumed"
    assert "30 of text, and the markers around a page's views" in prompt.text
    told = load_cost_model(["runtime.prompt_tokens=30"])
    assert told.page(1275, 1650).seq_len == 1088 + 30
    assert load_cost_model(["runtime.prompt_tokens=31"]).assumptions()[0].label == "declared"


def test_one_view_of_a_page() -> None:
    model = load_cost_model(["workload=whole"])
    page = model.page(1275, 1650)
    assert (page.layout, page.tokens.total, page.seq_len) == (PatchesGrid(0, 1, 1), 64, 64 + 30 + 3)
    layouts = model.workload.layouts([1275, 7], [1650, 3000])
    assert (layouts.indices.tolist(), list(layouts.layouts)) == ([0, 0], [PatchesGrid(0, 1, 1)])


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["workload.max_image_size=500"], r"max_image_size=500 is no multiple of the 64 pixels of a token"),
        (["vision.num_attention_heads=7"], "vision.hidden_size=768 does not divide by vision.num_attention_heads=7"),
        (["vision.image_size=500"], r"vision.image_size=500 is no multiple of workload.patch_size=16 \(remainder 4\)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides: list[str], text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        load_cost_model(overrides)
