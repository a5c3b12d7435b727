"""Checkpoints of Qwen2.5-VL: those with a name, and folders of a user's own."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import find
from modelmeter.models.qwen2_5_vl import CHECKPOINTS, CostModel

#: parameters, image tokens of a page of 1275 x 1650
EXPECTED = {
    "olmocr_2_7b": (8_292_166_656, 36 * 46),
    "rolmocr": (8_292_166_656, 46 * 59),
    "infinity_parser_7b": (8_292_166_656, 42 * 54),
    "nanonets_ocr2_3b": (3_754_622_976, 46 * 59),
    "ocrflux_3b": (3_754_622_976, 46 * 59),
    "qwen2_5_vl_3b": (3_754_622_976, 46 * 59),
    "qwen2_5_vl_7b": (8_292_166_656, 46 * 59),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_named_checkpoints(name: str) -> None:
    model = load_cost_model(model=name)
    page = model.page(1275, 1650)
    assert (model.parameters, page.tokens.total) == EXPECTED[name]
    assert page.seq_len == page.tokens.total + 100
    labels = {each.figure: each.label for each in model.assumptions()}
    assert labels["prompt_tokens"] == "assumed"
    assert ("checkpoint" in labels) == (not name.startswith("qwen2_5_vl"))


def test_what_a_user_says_goes_before_the_checkpoint() -> None:
    model = load_cost_model(["workload=page", "runtime.prompt_tokens=7"], model="olmocr_2_7b")
    assert model.page(1275, 1650).seq_len == 46 * 59 + 7
    labels = {each.figure: each.label for each in model.assumptions()}
    assert labels["prompt_tokens"] == "declared"


#: config.json as the hub has the 3B: the text configuration at the top, and little of vision
HUB: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "vision_token_id": 151654,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 128000,
    "max_window_layers": 70,
    "model_type": "qwen2_5_vl",
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.2",
    "use_cache": True,
    "use_sliding_window": False,
    "vision_config": {
        "hidden_size": 1280,
        "in_chans": 3,
        "model_type": "qwen2_5_vl",
        "out_hidden_size": 2048,
        "spatial_patch_size": 14,
        "tokens_per_second": 2,
        "torch_dtype": "bfloat16",
    },
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vocab_size": 151936,
}
PREPROCESSOR: dict[str, Any] = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}


def load(folder: Path, config: dict[str, Any], preprocessor: Any = PREPROCESSOR, *overrides: str) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    model = load_cost_model(overrides, model=str(folder))
    assert isinstance(model, CostModel)
    return model


def test_the_hubs_layout_is_the_checkpoint(tmp_path: Path) -> None:
    model, same = load(tmp_path, HUB), load_cost_model(model="qwen2_5_vl_3b")
    assert find(str(tmp_path)).model == "qwen2_5_vl"
    assert replace(model.config, checkpoint=same.config.checkpoint) == same.config
    assert model.page(1275, 1650, 10) == same.page(1275, 1650, 10)


def test_transformers_layout(tmp_path: Path) -> None:
    """As transformers 5.23 saves it: the text configuration within."""
    text = {name: HUB[name] for name in ("intermediate_size", "num_attention_heads", "num_key_value_heads")}
    text |= {"hidden_size": 2048, "num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}
    text |= {"model_type": "qwen2_5_vl_text", "max_position_embeddings": 4096, "vocab_size": 1000}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}}
    vision = {"hidden_size": 1280, "out_hidden_size": 2048, "depth": 3, "fullatt_block_indexes": [1], "num_heads": 16}
    vision |= {"rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0}, "window_size": 112}
    config = {"architectures": HUB["architectures"], "text_config": text, "vision_config": vision, "dtype": "float16"}
    size = {"shortest_edge": 3136, "longest_edge": 1_000_000}
    model = load(tmp_path, config, {"size": size, "do_resize": True})
    same = load_cost_model(
        [
            "checkpoint=qwen2_5_vl_3b",
            "decoder.num_hidden_layers=3",
            "decoder.max_position_embeddings=4096",
            "decoder.vocab_size=1000",
            "decoder.tie_word_embeddings=false",
            "vision.depth=3",
            "vision.fullatt_block_indexes=[1]",
            "runtime.dtype=float16",
            "workload.max_pixels=1000000",
        ],
        model="qwen2_5_vl",
    )
    assert replace(model.config, checkpoint=same.config.checkpoint) == same.config


def test_a_users_override_goes_before_the_file(tmp_path: Path) -> None:
    model = load(tmp_path, HUB, PREPROCESSOR, "workload=olmocr", "decoder.num_hidden_layers=2")
    assert model.config.decoder.num_hidden_layers == 2
    assert model.page(1275, 1650).layout == (36, 46)


REFUSED = {  # changes of config.json, of preprocessor_config.json, what is said
    "quantised": ({"quantization_config": {"bits": 4}}, {}, "quantised weights are not read"),
    "window": ({"use_sliding_window": True}, {}, "use_sliding_window=True is not modelled; False is."),
    "unknown": ({"num_experts": 8}, {}, "num_experts=8 is not modelled and could change the cost"),
    "rope": ({"rope_scaling": {"rope_type": "yarn"}}, {}, "rope_scaling.rope_type='yarn' is not modelled"),
    "act": ({"hidden_act": "gelu"}, {}, "hidden_act='gelu' is not modelled; 'silu' is."),
    "no vision": ({"vision_config": None}, {}, "config.json does not say hidden_size of its vision model; add it."),
    "no layers": ({"num_hidden_layers": ...}, {}, "does not say num_hidden_layers of its text model; add it."),
    "two sizes": ({"text_config": {"hidden_size": 4096}}, {}, "some code reads the one, some the other"),
    "frames": ({}, {"temporal_patch_size": 1}, "temporal_patch_size=1 is not modelled; 2 is."),
    "patches": ({}, {"patch_size": 16}, "workload.patch_size=16 differs from vision.patch_size=14"),
    "limits": ({}, {"size": {"longest_edge": 1000}}, "size.longest_edge=1000, but max_pixels=12845056"),
    "other": ({"architectures": ["Florence2ForConditionalGeneration"], "model_type": "x"}, {}, "which is not modelled"),
}


@pytest.mark.parametrize("config, preprocessor, words", REFUSED.values(), ids=REFUSED)
def test_what_is_not_modelled(tmp_path: Path, config: dict[str, Any], preprocessor: dict[str, Any], words: str) -> None:
    changed = {name: value for name, value in {**HUB, **config}.items() if value is not ...}
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load(tmp_path, changed, {**PREPROCESSOR, **preprocessor})


def test_without_a_preprocessor_the_image_rule_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"neither preprocessor_config\.json nor processor_config\.json"):
        load(tmp_path, HUB, None)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("vision.out_hidden_size=2048", "the tower makes tokens of 2048 elements, and decoder.hidden_size=3584"),
        ("vision.num_heads=7", "7 heads of a tower of width 1280 are no multiple of 4 wide"),
        ("decoder.mrope_section=[16,24,23]", "sums to 63"),
        ("vision.window_size=20", "vision.window_size=20 pixels hold no token of 28"),
        ("vision.depth=30", "fullatt_block_indexes=[7, 15, 23, 31] are no blocks of vision.depth=30"),
        ("vision.spatial_merge_size=4", "workload.merge_size=2 differs from vision.spatial_merge_size=4"),
        ("execution=published", "there is no such execution"),
        ("runtime.experts_hit=3", "the decoder is dense"),
    ],
)
def test_sizes_that_do_not_fit_together(override: str, words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load_cost_model([override], model="qwen2_5_vl")
