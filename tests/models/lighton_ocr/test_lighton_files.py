"""Folders with a checkpoint of LightOnOCR: the published layout and transformers', and what is not modelled."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import find
from modelmeter.models.lighton_ocr import CostModel
from modelmeter.models.lighton_ocr.reference.page import PageReference
from tests.models.lighton_ocr.small import OVERRIDES, TEXT, VISION

#: what the file of the first checkpoint states, with its values
PUBLISHED: dict[str, Any] = {
    "architectures": ["LightOnOCRForConditionalGeneration"],
    "model_type": "mistral3",
    "dtype": "bfloat16",
    "image_token_id": 151655,
    "multimodal_projector_bias": False,
    "projector_hidden_act": "gelu",
    "spatial_merge_size": 2,
    "vision_feature_layer": -1,
    "text_config": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "layer_types": ["full_attention"] * 28,
        "max_position_embeddings": 8192,
        "max_window_layers": 28,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "vision_config": {
        "model_type": "pixtral",
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 1024,
        "image_size": 1540,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "rope_theta": 10000,
    },
}
PREPROCESSOR = {
    "image_processor_type": "PixtralImageProcessorFast",
    "do_resize": True,
    "do_center_crop": None,
    "patch_size": 14,
    "size": {"longest_edge": 1540},
}


def load(folder: Path, config: dict[str, Any], *overrides: str) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    model = load_cost_model(overrides, model=str(folder))
    assert isinstance(model, CostModel)
    return model


def changed(**within: dict[str, Any]) -> dict[str, Any]:
    """The published file with other values within its mappings."""
    return {**PUBLISHED, **{name: {**PUBLISHED[name], **values} for name, values in within.items()}}


def test_the_published_files_are_the_default(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    model, default = load(tmp_path, PUBLISHED), load_cost_model(model="lighton_ocr")
    assert replace(model.config, checkpoint=default.config.checkpoint) == default.config
    assert find(str(tmp_path)).model == "lighton_ocr"


def test_the_second_checkpoint_has_more_positions(tmp_path: Path) -> None:
    second = load_cost_model(model="lighton_ocr_2_1b")
    model = load(tmp_path, changed(text_config={"max_position_embeddings": 16384, "use_qk_norm": True}))
    assert replace(model.config, checkpoint=second.config.checkpoint) == second.config
    assert second.max_position_embeddings == 16384
    assert 2_011_367_489 - 2 * second.parameters == 71_745  # its weights' file: these, and a header


def test_what_transformers_saves(tmp_path: Path) -> None:
    """The library's own class, saved as it saves itself, with all the defaults that it adds."""
    reference = PageReference(text=TEXT, vision={**VISION, "head_dim": 16})
    reference.config.architectures = ["LightOnOcrForConditionalGeneration"]
    reference.config.save_pretrained(tmp_path)
    model = load_cost_model(model=str(tmp_path))
    same = load_cost_model([*OVERRIDES, "decoder.max_position_embeddings=32768"], model="lighton_ocr")
    assert replace(model.config, checkpoint=same.config.checkpoint) == same.config


def test_the_image_processors_values(tmp_path: Path) -> None:
    inner = {**PREPROCESSOR, "size": {"longest_edge": 1024}}
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"processor_class": "PixtralProcessor", "image_processor": inner})
    )
    assert load(tmp_path, PUBLISHED).config.workload.longest_edge == 1024
    (tmp_path / "processor_config.json").write_text(json.dumps({**inner, "patch_size": 16}))
    with pytest.raises(ModelMeterError, match=r"patch_size=16, but .*patch_size=14: some code reads the one"):
        load(tmp_path, PUBLISHED)


def test_sides_of_a_patch_as_the_image_processor_saves_them(tmp_path: Path) -> None:
    """A number, or a mapping of two that are alike."""
    for height, width in ((14, 14), (14, 16)):
        saved = {**PREPROCESSOR, "patch_size": {"height": height, "width": width}}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(saved))
        if height == width:
            assert load(tmp_path, PUBLISHED).config.workload.patch_size == 14
        else:
            with pytest.raises(ModelMeterError, match=r"patch_size\.width=16, but .*=14: some code reads the one"):
                load(tmp_path, PUBLISHED)


@pytest.mark.parametrize("vocab_size", [16_384, 32_768])
def test_a_smaller_vocabulary_is_as_many_rows_fewer(tmp_path: Path, vocab_size: int) -> None:
    model = load(tmp_path, changed(text_config={"vocab_size": vocab_size}))
    assert load_cost_model(model="lighton_ocr").parameters - model.parameters == 1024 * (151_936 - vocab_size)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (changed(text_config={"attention_bias": True}), r"text_config\.attention_bias=True is not modelled; False is"),
        (changed(text_config={"layer_types": ["sliding_attention"] * 28}), "layer_types"),
        (changed(text_config={"num_hidden_layers": 4}), "layer_types has 28 entries for num_hidden_layers=4"),
        (changed(text_config={"rope_scaling": {"rope_type": "yarn"}}), "rope_type"),
        (changed(text_config={"sliding_window": 128}), "sliding_window=128 is not modelled"),
        (changed(vision_config={"hidden_act": "gelu"}), "hidden_act"),
        (changed(vision_config={"head_dim": 32}), r"head_dim=32 of 16 heads is not its hidden_size=1024"),
        ({**PUBLISHED, "multimodal_projector_bias": True}, "multimodal_projector_bias=True is not modelled"),
        ({**PUBLISHED, "vision_feature_layer": -2}, "vision_feature_layer=-2 is not modelled; -1 is"),
        ({**PUBLISHED, "quantization_config": {"bits": 8}}, "quantised weights are not read"),
        ({**PUBLISHED, "n_experts": 4}, "n_experts=4 is not modelled and could change the cost"),
    ],
)
def test_what_is_not_modelled_is_refused(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelMeterError, match=words):
        load(tmp_path, config)
