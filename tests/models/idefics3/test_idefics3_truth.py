"""Figures that another harness measured, and one stage operator by operator; cases of real modules: tests/measured."""

from modelmeter.models.idefics3 import load_cost_model
from modelmeter.models.idefics3.reference.whole import Idefics3Whole
from tests.models.idefics3.small import OVERRIDES


def test_operators_one_by_one() -> None:
    """Each operator of a vision stage in its module, and what it moves."""
    model = load_cost_model([*OVERRIDES, "runtime.batch_size=2"])
    page, whole = model.page(300, 200), Idefics3Whole(model)
    stage = whole.vision(whole.inputs(page.layout))
    assert [
        (each.aten, each.path, each.bytes_read, each.bytes_written)
        for each in model.stage_walk("vision", page=page).records()
    ] == [
        (
            each.operator,
            whole.place(each.path, each.run, page.layout),
            each.traffic.read_bytes,
            each.traffic.written_bytes,
        )
        for each in stage.operator_traffic
    ]


def test_an_untied_head_has_a_weight_of_its_own() -> None:
    more = load_cost_model([*OVERRIDES, "decoder.tie_word_embeddings=false"]).parameters
    assert more - load_cost_model(OVERRIDES).parameters == 200 * 96


def test_published_figures() -> None:
    """Those that another harness measured of the published model, before this package was written.

    It put a function of its own in the place of `get_image_features`, which looks for no tiles of padding, takes no
    mask of pixels, and asks nobody whether patches are masked. What that moves and holds comes on top here.
    """
    model = load_cost_model(["runtime.prompt_tokens=30"])
    assert model.parameters == 257_517_120
    page, step = model.page(1275, 1650), model.step(1118)
    assert page.seq_len == 1118
    assert page.vision.tensor_core_flops == 3_650_151_776_256
    assert page.prefill.tensor_core_flops == 3_974_054_492_160
    assert step.tensor_core_flops == 405_287_424
    assert round(page.prefill.kv_bytes / 1e6, 1) == 25.8
    pixels, mask = 17 * 3 * 512 * 512, 17 * 512 * 512 * 8
    # compared and counted; copied, and so is the mask, which is then summed; patches' truth values are bytes
    looked_for = (2 * pixels + pixels) + pixels + 2 * 2 * pixels + 2 * mask + mask + 17 * 1024 * (8 + 8 + 1 + 1)
    small = page.prefill.io_bytes - looked_for - 17_280_000_000
    assert abs(small) < 5_000_000  # to the digits shown
    held = 2 * pixels + mask + 17 * 1024
    assert round((page.prefill.activation_peak_bytes - held) / 1e6, 1) == 322.2
