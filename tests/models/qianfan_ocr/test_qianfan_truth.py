"""Beside the measurements of this model (tests/measured): a stage operator by operator, and figures from elsewhere."""

import pytest

from modelmeter.models.qianfan_ocr import PatchesGrid, load_cost_model
from modelmeter.models.qianfan_ocr.reference.whole import QianfanOcrWhole
from tests.models.qianfan_ocr.small import OVERRIDES


@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_operators_one_by_one(attention: str) -> None:
    """Each operator of a vision stage in its module, what it moves, and what is alive after it."""
    model = load_cost_model([*OVERRIDES, "runtime.batch_size=2", f"runtime.attention={attention}"])
    page, whole = model.layout_cost(PatchesGrid(3, 3, 1)), QianfanOcrWhole(model)
    stage = whole.vision(whole.inputs(page.layout))
    moving = {each.operator for each in stage.operator_traffic}
    live = [live_bytes for operator, live_bytes in stage.live_series if operator in moving]
    assert [
        (each.aten, each.path, each.bytes_read, each.bytes_written, each.live_bytes)
        for each in model.stage_walk("vision", page=page).records()
    ] == [
        (
            each.operator,
            whole.place(each.path, each.run, page.layout),
            each.traffic.read_bytes,
            each.traffic.written_bytes,
            live_bytes,
        )
        for each, live_bytes in zip(stage.operator_traffic, live, strict=True)
    ]


def test_published_figures() -> None:
    """Those that another harness measured of the published model, before this package was written."""
    model = load_cost_model()
    assert model.parameters == 4_741_408_256
    page, step = model.page(1275, 1650), model.step(3358)
    assert page.seq_len == 3358
    assert page.vision.tensor_core_flops == 9_520_123_445_248
    assert page.prefill.tensor_core_flops == 40_573_211_613_184
    assert step.tensor_core_flops == 10_034_681_856
    assert round(page.prefill.io_bytes / 1e9, 2) == 128.39
    assert round(page.prefill.activation_peak_bytes / 1e6, 1) == 806.0
    assert round(page.prefill.kv_bytes / 1e6, 1) == 495.2


def test_flops_by_hand() -> None:
    """From the sizes alone; T positions of a tower's view, V views, n tokens of each."""
    tower_width, inner, positions, patches = 1024, 4096, 1025, 1024
    width, tokens, shuffled = 2560, 256, 4096
    block = 8 * positions * tower_width**2 + 4 * positions * tower_width * inner + 4 * positions**2 * tower_width
    view = 2 * patches * 588 * tower_width + 24 * block + 2 * tokens * (shuffled * width + width**2)
    for layout in (PatchesGrid(0, 1, 1), PatchesGrid(2, 1, 2), PatchesGrid(12, 3, 4)):
        views = layout.num_local_patches + 1
        assert load_cost_model().layout_cost(layout).vision.tensor_core_flops == views * view


def test_parameters_by_hand() -> None:
    tower = 588 * 1024 + 1024 + 1024 + 1025 * 1024
    block = 4 * (1024**2 + 1024) + 2 * 1024 * 4096 + 4096 + 1024 + 4 * 1024 + 2 * 1024
    projector = 2 * 4096 + 4096 * 2560 + 2560 + 2560**2 + 2560
    layer = 2 * 2560 * 4096 + 2 * 2560 * 1024 + 3 * 2560 * 9728 + 2 * 2560 + 2 * 128
    decoder = 36 * layer + 2560 + 2 * 153_678 * 2560
    assert load_cost_model().parameters == tower + 24 * block + projector + decoder
