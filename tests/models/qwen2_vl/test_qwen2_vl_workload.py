"""MinerU2.5's layout pass, pages at their own size, and the checkpoints of Qwen2-VL."""

import json
from pathlib import Path

import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.errors import ModelMeterError
from modelmeter.models.qwen2_vl import MODES, CostModel


def test_a_layout_pass_is_a_square_whatever_the_page() -> None:
    workload = MODES["layout"]
    sizes = [(1275, 1650), (3000, 40), (1, 2**31 - 1), (28, 28)]
    assert {workload.layout(*size) for size in sizes} == {(37, 37)}
    indices, layouts = workload.layouts(*zip(*sizes, strict=True))
    assert [layouts[index] for index in indices] == [(37, 37)] * 4
    assert workload.tokens(workload.layout(1275, 1650)).total == 1369


def test_a_page_at_its_own_size() -> None:
    assert MODES["page"].layout(1275, 1650) == (46, 59)
    with pytest.raises(ModelMeterError, match="10 x 3000 pixels have an aspect ratio above 200"):
        MODES["page"].layout(10, 3000)


def test_the_checkpoint() -> None:
    model = load_cost_model(model="mineru2_5")
    assert (model.parameters, model.page(1275, 1650).seq_len) == (1_156_026_624, 1399)
    labels = {each.figure: each.label for each in model.assumptions()}
    assert labels["layout"] == "layout pass alone"
    assert (labels["prompt_tokens"], labels["checkpoint"]) == ("assumed", "not all confirmed")
    region = load_cost_model(["workload=page"], model="mineru2_5")
    assert "layout" not in {each.figure for each in region.assumptions()}


def test_the_output_says_that_it_is_the_layout_pass_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "1275x1650", "--model", "mineru2_5", "--explain"]) == 0
    out = capsys.readouterr().out
    assert "1: the page as 1036 x 1036, tokens 37 x 37 (layout pass alone)" in out
    assert "none is" in out and "30 prompt (assumed)" in out


#: config.json of Qwen/Qwen2-VL-2B-Instruct
HUB = {
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "model_type": "qwen2_vl",
    "hidden_act": "silu",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rope_scaling": {"mrope_section": [16, 24, 24], "type": "mrope"},
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "in_chans": 3,
        "hidden_size": 1536,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    },
    "vocab_size": 151936,
}


def test_a_folder_of_another_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(HUB))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"min_pixels": 3136, "max_pixels": 12845056}))
    model = load_cost_model(model=str(tmp_path))
    assert isinstance(model, CostModel)
    assert model.parameters == 2_208_985_600  # the published count, 2.21 billion
    assert model.page(1275, 1650).layout == (46, 59)
