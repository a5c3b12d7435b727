"""Published checkpoints over a letter page, by figures of another harness; those of real modules: tests/measured."""

import pytest

from modelmeter.models.qwen2_5_vl import load_cost_model

#: checkpoints, their parameters, and of a page of 1275 x 1650 and 100 prompt tokens: FLOPs of vision, prefill and a
#: step, and bytes of the cache
WHOLE = {
    "olmocr_2_7b": (8_292_166_656, (9_471_376_097_280, 33_627_035_140_096, 14_845_845_504), 100_696_064),
    "nanonets_ocr2_3b": (3_754_622_976, (16_419_511_173_120, 34_370_489_122_816, 7_001_571_328), 103_735_296),
}


@pytest.mark.parametrize("checkpoint", WHOLE)
def test_whole_models_over_a_letter_page(checkpoint: str) -> None:
    parameters, flops, kv_bytes = WHOLE[checkpoint]
    model = load_cost_model([f"checkpoint={checkpoint}", "runtime.prompt_tokens=100"])
    page = model.page(1275, 1650)
    step = model.step(page.seq_len)
    assert model.parameters == parameters
    assert flops == tuple(cost.tensor_core_flops for cost in (page.vision, page.prefill, step))
    assert (
        page.prefill.kv_bytes
        == kv_bytes
        == model.config.decoder.num_hidden_layers
        * page.seq_len
        * 2
        * 2
        * (128 * model.config.decoder.num_key_value_heads)
    )
