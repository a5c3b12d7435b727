"""Folders with a checkpoint of DeepSeek-OCR's published layout."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import find
from modelmeter.models.deepseek_ocr import CostModel
from tests.models.deepseek_ocr.published_config import DEEPSEEK_OCR, with_decoder, with_value


def load(folder: Path, config: dict[str, Any], *overrides: str) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    model = load_cost_model(overrides, model=str(folder))
    assert isinstance(model, CostModel)
    return model


def test_the_published_config_is_the_default(tmp_path: Path) -> None:
    model, default = load(tmp_path, DEEPSEEK_OCR), load_cost_model()
    assert replace(model.config, checkpoint=default.config.checkpoint) == default.config
    assert model.page(1275, 1650, 9) == default.page(1275, 1650, 9)
    assert find(str(tmp_path)).model == "deepseek_ocr"


def test_other_sizes(tmp_path: Path) -> None:
    config = with_decoder(with_decoder(DEEPSEEK_OCR, "num_hidden_layers", 6), "n_routed_experts", 32)
    sam = "vision_config/width/sam_vit_b"
    config = with_value(with_value(config, f"{sam}/layers", 6), f"{sam}/global_attn_indexes", [2, 5])
    config = with_value(with_value(config, f"{sam}/width", 384), "vision_config/width/clip-l-14-224/layers", 3)
    config = with_value(config, "vision_config/width/clip-l-14-224/image_size", 336)
    overrides = [
        "decoder.num_hidden_layers=6",
        "decoder.n_routed_experts=32",
        "vision.sam.depth=6",
        "vision.sam.global_attn_indexes=[2,5]",
        "vision.sam.embed_dim=384",
        f"vision.sam.mlp_dim={4 * 384}",
        "vision.clip.num_layers=3",
        f"vision.clip.num_positions={24 * 24 + 1}",
    ]
    assert load(tmp_path, config).page(640, 900) == load_cost_model(overrides).page(640, 900)


def test_the_decoder_may_stand_in_one_place(tmp_path: Path) -> None:
    top = {key: value for key, value in DEEPSEEK_OCR.items() if key not in DEEPSEEK_OCR["language_config"]}
    again = {key: DEEPSEEK_OCR[key] for key in ("architectures", "torch_dtype")}
    inside = load(tmp_path, top | again)
    outside = load(tmp_path, with_value(DEEPSEEK_OCR, "language_config", ...))
    assert inside.page(600, 800) == outside.page(600, 800) == load_cost_model().page(600, 800)


REFUSED = {  # path of a key, its value, what is said
    "two_places": (
        "hidden_size",
        640,
        "config.json: hidden_size=640, but language_config.hidden_size=1280: some code reads the one",
    ),
    "mla": ("use_mla", True, "use_mla=True is not modelled; False is."),
    "mtp": ("num_nextn_predict_layers", 1, "num_nextn_predict_layers=1 is not modelled; 0 or None is."),
    "window": ("sliding_window", 128, "sliding_window=128 is not modelled and could change the cost"),
    "rope": ("rope_scaling", {"type": "yarn"}, "rope_scaling={'type': 'yarn'} is not modelled; None is."),
    "tower": ("vision_config/model_name", "deepencoderv2", "model_name='deepencoderv2' is not modelled; 'deeplip_b_l'"),
    "second_tower": ("vision_config/width/qwen2-0-5b", {}, "vision_config.width.qwen2-0-5b={} is not modelled"),
    "pooling": ("projector_config/token_pooling", True, "projector_config.token_pooling=True is not modelled"),
    "projector": ("projector_config/input_dim", 896, "vision.projector.input_dim=896 is not the width of SAM's and"),
    "heads": ("head_dim", 64, "head_dim=64 times num_attention_heads=10 is not hidden_size=1280"),
    "fp8": (
        "quantization_config",
        {"quant_method": "fp8"},
        "{'quant_method': 'fp8'}: quantised weights are not",
    ),
    "second_model": (
        "architectures",
        ["DeepseekVLV2ForCausalLM"],
        "is of DeepseekVLV2ForCausalLM (model_type deepseek_vl_v2), which is not modelled; these are: "
        "DeepseekOCRForCausalLM (deepseek_ocr), DeepseekOCR2ForCausalLM (deepseek_ocr2), ",
    ),
    "no_class": ("architectures", ..., "is of model_type deepseek_vl_v2, without architectures, which is not modelled"),
}


@pytest.mark.parametrize("path, value, words", REFUSED.values(), ids=REFUSED)
def test_what_is_not_modelled(tmp_path: Path, path: str, value: Any, words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load(tmp_path, with_value(DEEPSEEK_OCR, path, value))


def test_every_size_of_the_decoder_is_stated(tmp_path: Path) -> None:
    words = "config.json has no moe_intermediate_size, neither at the top nor in language_config; add it."
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load(tmp_path, with_decoder(DEEPSEEK_OCR, "moe_intermediate_size", ...))


def test_the_processors_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text("{")
    assert load(tmp_path, DEEPSEEK_OCR, "workload=base").page(600, 800).tokens.total == 273
