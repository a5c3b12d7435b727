"""Figures that were published, or that another harness measured; those of real modules are in tests/measured."""

from modelmeter.models.lighton_ocr import load_cost_model
from tests.models.lighton_ocr.small import OVERRIDES, TEXT


def test_an_untied_head_has_a_weight_of_its_own() -> None:
    untied = [*OVERRIDES, "decoder.tie_word_embeddings=false"]
    more = load_cost_model(untied).parameters - load_cost_model(OVERRIDES).parameters
    assert more == TEXT["vocab_size"] * TEXT["hidden_size"]


def test_published_figures() -> None:
    """Those that another harness measured of the published model, before this package was written.

    It handed positions on, whose making counts here: 8 bytes made, read and written once more; and it made token ids
    and positions within the call that it measured.
    """
    model = load_cost_model()
    assert model.parameters == 1_005_647_872
    page, step = model.page(1275, 1650), model.step(2320)
    positions_bytes = 8 * 2320
    assert page.seq_len == 2320
    assert page.vision.tensor_core_flops == 16_163_922_001_920
    assert page.vision.io_bytes == 64_905_496_980
    assert page.vision.activation_peak_bytes == 505_462_576
    assert page.prefill.tensor_core_flops == 19_442_291_458_048
    assert page.prefill.io_bytes == 89_359_004_421 + 3 * positions_bytes
    assert page.prefill.activation_peak_bytes == 510_251_056 - 2 * positions_bytes
    assert page.prefill.kv_bytes == 266_076_160
    assert step.tensor_core_flops == 1_724_350_464
    assert step.io_bytes == 2_000_651_280 + 3 * 8
    assert (step.peak_path, step.kv_bytes) == ("lm_head", 266_190_848)
