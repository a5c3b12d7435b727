"""Folders with a checkpoint of PaddleOCR-VL of a user's own."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import find
from modelmeter.models.paddleocr_vl import CostModel

#: config.json in the published layout: the text configuration at the top
HUB: dict[str, Any] = {
    "architectures": ["PaddleOCRVLForConditionalGeneration"],
    "model_type": "paddleocr_vl",
    "compression_ratio": 1.0,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "image_token_id": 100295,
    "intermediate_size": 3072,
    "max_position_embeddings": 131072,
    "num_attention_heads": 16,
    "num_hidden_layers": 18,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_is_neox_style": True,
    "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
    "rope_theta": 500000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_3d_rope": True,
    "use_bias": False,
    "video_token_id": 101307,
    "vision_end_token_id": 101306,
    "vision_start_token_id": 101305,
    "vocab_size": 103424,
    "weight_share_add_bias": True,
    "vision_config": {
        "architectures": ["PaddleOCRVisionModel"],
        "model_type": "paddleocr_vl",
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1152,
        "image_size": 384,
        "intermediate_size": 4304,
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "tokens_per_second": 2,
    },
}
PREPROCESSOR: dict[str, Any] = {
    "image_processor_type": "PaddleOCRVLImageProcessor",
    "min_pixels": 147384,
    "max_pixels": 2822400,
    "merge_size": 2,
    "patch_size": 14,
    "temporal_patch_size": 1,
}


def load(folder: Path, config: dict[str, Any], preprocessor: dict[str, Any] = PREPROCESSOR) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    model = load_cost_model(model=str(folder))
    assert isinstance(model, CostModel)
    return model


def test_the_published_layout_is_the_checkpoint(tmp_path: Path) -> None:
    model, same = load(tmp_path, HUB), load_cost_model(model="paddleocr_vl")
    assert find(str(tmp_path)).model == "paddleocr_vl"
    assert replace(model.config, checkpoint=same.config.checkpoint) == same.config


def test_transformers_layout_of_other_sizes(tmp_path: Path) -> None:
    top = ("architectures", "model_type", "vision_config", "tie_word_embeddings", "image_token_id")
    text = {name: value for name, value in HUB.items() if name not in top} | {"num_hidden_layers": 3}
    vision = {"hidden_size": 576, "rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0}}
    config = {name: HUB[name] for name in ("architectures", "tie_word_embeddings")}
    size = {"size": {"shortest_edge": 112896, "longest_edge": 1003520}}
    model = load(tmp_path, {**config, "text_config": text, "vision_config": vision}, size)
    assert (model.config.decoder.num_hidden_layers, model.config.vision.hidden_size) == (3, 576)
    assert model.page(1654, 2339).layout == (30, 42)


REFUSED = {  # changes of config.json, of preprocessor_config.json, what is said
    "biases": ({"use_bias": True}, {}, "use_bias=True is not modelled; False is."),
    "one axis": ({"use_3d_rope": False}, {}, "use_3d_rope=False is not modelled; True is."),
    "act": ({"vision_config": {"hidden_act": "silu"}}, {}, "hidden_act='silu' is not modelled"),
    "unknown": ({"num_experts": 8}, {}, "num_experts=8 is not modelled and could change the cost"),
    "frames": ({}, {"temporal_patch_size": 2}, "temporal_patch_size=2 is not modelled; 1 is."),
    "heads": ({"head_dim": 64}, {}, "sums to 64"),
    "patches": ({}, {"patch_size": 16}, "workload.patch_size=16 differs from vision.patch_size=14"),
}


@pytest.mark.parametrize(("config", "preprocessor", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_modelled(tmp_path: Path, config: dict[str, Any], preprocessor: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load(tmp_path, {**HUB, **config}, {**PREPROCESSOR, **preprocessor})
