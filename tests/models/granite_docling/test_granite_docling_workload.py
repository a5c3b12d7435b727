"""How pages are cut: worked examples, and the library's own size function over 100,000 sizes; routes and markers."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers.models.granite_docling import image_processing_pil_granite_docling as library
from transformers.models.granite_docling.processing_granite_docling import GraniteDoclingProcessor

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.patches_grid import markers_around
from modelmeter.models.granite_docling import PatchesGrid, Workload, load_cost_model

PROCESSOR = library.GraniteDoclingImageProcessorPil

#: width, height: columns, rows, image tokens
EXAMPLES = {
    (1275, 1650): (3, 4, 832),
    (1654, 2339): (4, 6, 1600),
    (2480, 3508): (4, 6, 1600),
    (640, 480): (4, 3, 832),
    (600, 220): (8, 3, 1600),
    (3000, 400): (15, 2, 1984),
    (10_000, 100): (16, 1, 1088),
    (500, 500): (1, 1, 64),
    (2000, 2000): (5, 5, 1664),
}


@pytest.mark.parametrize(("size", "expected"), EXAMPLES.items(), ids=str)
def test_worked_examples(size: tuple[int, int], expected: tuple[int, int, int]) -> None:
    workload, (columns, rows, tokens) = Workload(), expected
    layout, tiles = workload.layout(*size), columns * rows
    assert layout == (PatchesGrid(tiles, columns, rows) if tiles > 1 else PatchesGrid(0, 1, 1))
    assert workload.tokens(layout).total == tokens == sum(views.tokens for views in workload.views(layout))
    assert Workload(route="fine").tokens(layout).total == 4 * tokens


def sizes() -> np.ndarray:
    """100,000 pages: usual ones, at exact ratios of grids (which tie), and very long ones."""
    random = np.random.default_rng(23)
    usual = random.integers(1, 4000, (70_000, 2))
    exact = random.integers(1, 17, (25_000, 2)) * random.integers(1, 900, (25_000, 1))
    longest = np.stack((random.integers(1, 40, 5_000), random.integers(10_000, 2**31, 5_000)), axis=1)
    return np.concatenate((usual, exact, longest))


@pytest.mark.parametrize(("fewest", "most"), [(1, 32), (4, 12), (40, 200)], ids=str)
def test_the_librarys_size_function_cuts_alike(fewest: int, most: int) -> None:
    pages = sizes() if most == 32 else sizes()[::20]
    workload = Workload(min_patches=fewest, max_patches=most)
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    size = {"height": 512, "width": 512}
    differing = []
    for number, (width, height) in enumerate(pages.tolist()):
        rows, columns = library.get_page_tile_grid(height, width, size, True, fewest, most)
        own = PatchesGrid(columns * rows, columns, rows) if columns * rows > 1 else PatchesGrid(0, 1, 1)
        others = (workload.layout(width, height), vectorised.layouts[vectorised.indices[number]])
        differing += [(width, height)] if any(other != own for other in others) else []
    assert differing == []


@pytest.mark.parametrize(("width", "height"), [(60, 90), (90, 40), (64, 64)])
def test_the_processor_itself(width: int, height: int) -> None:
    """Run on a picture, with smaller tiles: its views, and how they lie."""
    processor = PROCESSOR(size={"height": 64, "width": 64}, max_patches=9)
    made = processor(images=np.zeros((height, width, 3), np.uint8), return_tensors="np")
    workload = Workload(size=64, max_patches=9)
    tiles, columns, rows = workload.layout(width, height)
    assert made["pixel_values"].shape == (1, tiles + 1, 3, 64, 64)
    assert made["pixel_attention_mask"].tolist() == [[True] * (tiles + 1)]
    assert ([[rows]], [[columns]]) == (made["rows"], made["cols"])


def test_the_processors_values_are_the_workloads() -> None:
    workload = Workload()
    assert PROCESSOR.size == {"height": workload.size, "width": workload.size}
    for name in ("crop_to_patches", "min_patches", "max_patches"):
        assert getattr(PROCESSOR, name) == getattr(workload, name)
    assert not PROCESSOR.fine_route and not PROCESSOR.dense_max_patches


@pytest.mark.parametrize("route", ["coarse", "fine"])
@pytest.mark.parametrize("layout", [PatchesGrid(16, 4, 4), PatchesGrid(3, 1, 3), PatchesGrid(0, 1, 1)], ids=str)
def test_tokens_and_markers_are_those_of_the_processor(layout: PatchesGrid, route: str) -> None:
    """By its own text, whose names in angle brackets are a token each, as two newlines are."""
    processor: Any = SimpleNamespace(
        fake_image_token="<fake>", global_image_tag="<global-img>", image_token="<image>", image_seq_len=64
    )
    _, columns, rows = layout
    told = {"tile_fine_mask": [True]} if route == "fine" else {}
    replace: Any = GraniteDoclingProcessor.replace_image_token
    text = replace(processor, {"rows": [[rows]], "cols": [[columns]], **told}, 0)
    assert text.count("<image>") == Workload(route=route).tokens(layout).total
    others = text.count("<") - text.count("<image>") + text.count("\n") - text.count("\n\n")
    assert others == markers_around(layout)


def test_the_route_is_declared_and_labelled() -> None:
    coarse, fine = (load_cost_model([f"workload.route={route}"]) for route in ("coarse", "fine"))
    assert coarse.page(1275, 1650).seq_len == 832 + 30 + 4 * (2 * 3 + 1) + 3
    assert fine.page(1275, 1650).tokens.total == 4 * 832
    assert "coarse route" in {each.label for each in coarse.assumptions()}
    assert "fine route" in {each.label for each in fine.assumptions()}
    assert load_cost_model(["workload=fine"]).workload == fine.workload


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["workload.route=dense"], "workload.route"),
        (["workload.min_patches=300", "workload.max_patches=400"], "no grid has min_patches=300 to max_patches=400"),
        (["workload.scale_factor=3"], "make no whole tokens of both routes"),
        (["workload.size=256"], "workload.size=256 is not vision.image_size=512"),
        (["workload.route=fine", "vision.use_fine_route=false"], "vision.use_fine_route=false builds no such route"),
        (["vision.deepstack_visual_indexes=[3,12]"], "must be different blocks of vision.num_hidden_layers=12"),
        (["vision.deepstack_visual_indexes=[7,3]"], "from 0 on, in order"),
        (["vision.num_attention_heads=7"], "vision.hidden_size=768 does not divide by vision.num_attention_heads=7"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        load_cost_model(overrides)
