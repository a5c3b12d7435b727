"""Beside the measurements of this model (tests/measured): where its peaks are, one stage operator by operator."""

from modelmeter.models.deepseek_ocr2 import PatchesGrid, load_cost_model
from modelmeter.models.deepseek_ocr2.reference.whole import DeepseekOcr2Whole
from tests.models.deepseek_ocr2.small import IN_ENCODER, OVERRIDES


def test_the_peak_of_some_cases_is_in_the_encoder() -> None:
    page = load_cost_model([*OVERRIDES, *IN_ENCODER]).layout_cost(PatchesGrid(2, 2, 1))
    assert ".qwen2_model.model.layers." in page.vision.peak_path


def test_operators_one_by_one() -> None:
    """Each operator of a vision stage in its module, and what it moves."""
    model = load_cost_model([*OVERRIDES, "runtime.batch_size=2"])
    page, whole = model.layout_cost(PatchesGrid(3, 3, 1)), DeepseekOcr2Whole(model)
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


def test_published_figures() -> None:
    """Those that another harness measured of the published model, before this package was written."""
    model = load_cost_model()
    assert model.parameters == 3_389_119_360
    page, step = model.page(1275, 1650), model.step(1131)
    assert page.seq_len == 1131
    assert page.vision.tensor_core_flops == 5_734_290_096_128
    assert page.prefill.tensor_core_flops == 6_737_504_268_288
    assert step.tensor_core_flops == 1_217_740_800
    assert round(page.prefill.io_bytes / 1e9, 2) == 70.03
    assert round(page.prefill.activation_peak_bytes / 1e6, 1) == 1703.2
    assert round(page.prefill.kv_bytes / 1e6, 1) == 69.5
