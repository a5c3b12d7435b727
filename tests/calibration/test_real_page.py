"""The real model on the CPU: its stages run, again and again, and a step always has the same context."""

from typing import Any

import pytest
import torch

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.models.deepseek_ocr.reference.real_page import real_page
from tests.calibration.synthetic import SMALL, shrink_vision


@pytest.fixture(scope="module")
def page() -> Any:
    model = load_cost_model(SMALL)
    with pytest.MonkeyPatch.context() as patch:
        shrink_vision(patch)
        return real_page(model, model.page(600, 800), "cpu")


def test_the_stages_are_those_of_the_cost_model(page: Any) -> None:
    cost = load_cost_model(SMALL).page(600, 800)
    with torch.no_grad():
        (features,) = page.vision().pooler_output
        assert tuple(features.shape) == (cost.tokens.total, 64)
        prefill = page.prefill()
        assert page.context == cost.seq_len
        assert prefill.past_key_values.get_seq_length() == cost.seq_len
        assert tuple(prefill.logits.shape) == (1, 1, 1000)
        for _ in range(2):
            step = page.decode_step()
            assert step.past_key_values.get_seq_length() == cost.seq_len + 1
            assert torch.isfinite(step.logits).all()


def test_modes_and_stages_that_cannot_run(page: Any) -> None:
    assert page.stage("decode") == page.decode_step
    with pytest.raises(ModelMeterError, match="prefill cannot run as mode=graph here: CUDA graphs need --device cuda"):
        page.stage("prefill", "graph")
    with pytest.raises(ModelMeterError, match="mode graphs is unknown; did you mean"):
        page.stage("prefill", "graphs")
    with pytest.raises(ModelMeterError, match="no stage 'total'"):
        page.stage("total")


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["execution=published"], "validate execution=transformers"),
        (["vision.sam.mlp_dim=2048"], r"changes vision\.\*"),
    ],
)
def test_what_has_no_real_model_is_refused(overrides: list[str], words: str) -> None:
    model = load_cost_model([*SMALL, *overrides])
    with pytest.raises(ModelMeterError, match=words):
        real_page(model, model.page(600, 800), "cpu")
