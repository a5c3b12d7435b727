"""Checkpoints of Qwen3-VL: those with a name, and folders of a user's own."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import find
from modelmeter.models.qwen3_vl import CHECKPOINTS, CostModel

#: parameters, and image tokens of pages of 1275 x 1650 and 3508 x 2480 (of more than Chandra's 6,291,456 pixels)
EXPECTED = {
    "qwen3_vl_2b": (2_127_532_032, 40 * 52, 110 * 78),
    "qwen3_vl_4b": (4_437_815_808, 40 * 52, 110 * 78),
    "qwen3_vl_8b": (8_767_123_696, 40 * 52, 110 * 78),
    "chandra": (8_767_123_696, 40 * 52, 93 * 66),  # 2983 x 2108 pixels
    "firered_ocr_2b": (2_127_532_032, 40 * 52, 110 * 78),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_named_checkpoints(name: str) -> None:
    model = load_cost_model(model=name)
    page = model.page(1275, 1650)
    assert (model.parameters, page.tokens.total, model.page(3508, 2480).tokens.total) == EXPECTED[name]
    assert page.seq_len == page.tokens.total + 100
    labels = {each.figure: each.label for each in model.assumptions()}
    assert labels["prompt_tokens"] == "assumed"
    assert ("checkpoint" in labels) == (not name.startswith("qwen3_vl"))


#: config.json as transformers 4.57 saved it for the 4B
HUB: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 151655,
    "model_type": "qwen3_vl",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "dtype": "bfloat16",
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2560,
        "initializer_range": 0.02,
        "intermediate_size": 9728,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": 151936,
    },
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 151656,
    "vision_config": {
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2560,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
}
PREPROCESSOR: dict[str, Any] = {
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
    "image_processor_type": "Qwen2VLImageProcessorFast",
}


def load(folder: Path, config: dict[str, Any], preprocessor: Any = PREPROCESSOR, *overrides: str) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    model = load_cost_model(overrides, model=str(folder))
    assert isinstance(model, CostModel)
    return model


def test_the_hubs_files_are_the_checkpoint(tmp_path: Path) -> None:
    model, same = load(tmp_path, HUB), load_cost_model(model="qwen3_vl_4b")
    assert find(str(tmp_path)).model == "qwen3_vl"
    assert replace(model.config, checkpoint=same.config.checkpoint) == same.config
    assert model.page(1275, 1650, 10) == same.page(1275, 1650, 10)


def test_transformers_layout(tmp_path: Path) -> None:
    """As transformers 5.23 saves it: rotary sections among `rope_parameters`, and those of the tower."""
    text = {name: value for name, value in HUB["text_config"].items() if not name.startswith("rope")}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]}}
    vision = HUB["vision_config"] | {"rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0}}
    model = load(tmp_path, {**HUB, "text_config": text, "vision_config": vision}, PREPROCESSOR, "workload=chandra")
    assert model.config.decoder == load_cost_model(model="qwen3_vl_4b").config.decoder
    assert model.page(3508, 2480).layout == (93, 66)


REFUSED = {  # changes of the text configuration, of the vision configuration, what is said
    "bias": ({"attention_bias": True}, {}, "attention_bias=True is not modelled; False is."),
    "sections": ({"rope_scaling": {"mrope_interleaved": False}}, {}, "mrope_interleaved=False is not modelled"),
    "experts": ({"num_experts": 8}, {}, "num_experts=8 is not modelled and could change the cost"),
    "no head": ({"head_dim": ...}, {}, "does not say head_dim of its text model; add it."),
    "head": ({"head_dim": 80}, {}, "sums to 64, and decoder.head_dim=80"),
    "act": ({}, {"hidden_act": "silu"}, "hidden_act='silu' is not modelled; 'gelu_pytorch_tanh' is."),
    "no taps": ({}, {"deepstack_visual_indexes": ...}, "does not say deepstack_visual_indexes of its vision model"),
    "taps": ({}, {"deepstack_visual_indexes": [5, 24]}, "are no ascending blocks of vision.depth=24"),
    "table": ({}, {"num_position_embeddings": 2300}, "num_position_embeddings=2300 make no square grid"),
}


@pytest.mark.parametrize("text, vision, words", REFUSED.values(), ids=REFUSED)
def test_what_is_not_modelled(tmp_path: Path, text: dict[str, Any], vision: dict[str, Any], words: str) -> None:
    config = dict(HUB)
    for part, changes in (("text_config", text), ("vision_config", vision)):
        config[part] = {name: value for name, value in {**HUB[part], **changes}.items() if value is not ...}
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load(tmp_path, config)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("vision.out_hidden_size=2560", "the tower makes tokens of 2560 elements, and decoder.hidden_size=2048"),
        ("vision.num_heads=7", "7 heads of a tower of width 1024 are no multiple of 4 wide"),
        ("vision.depth=17", "deepstack_visual_indexes=[5, 11, 17] are no ascending blocks of vision.depth=17"),
        ("vision.patch_size=14", "workload.patch_size=16 differs from vision.patch_size=14"),
        ("execution=published", "there is no such execution"),
        ("runtime.experts_hit=3", "the decoder is dense"),
    ],
)
def test_sizes_that_do_not_fit_together(override: str, words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load_cost_model([override], model="qwen3_vl")
