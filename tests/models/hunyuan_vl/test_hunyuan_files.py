"""Folders with a checkpoint of HunyuanOCR: the published layout and transformers', and what is not modelled."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models.hunyuan_vl import CostModel
from modelmeter.models.hunyuan_vl.reference.whole import reference_of

#: what the published file states, with its values
PUBLISHED: dict[str, Any] = {
    "architectures": ["HunYuanVLForConditionalGeneration"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attention_head_dim": 128,
    "dtype": "bfloat16",
    "eod_token_id": 120020,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "image_newline_token_id": 120121,
    "image_start_token_id": 120118,
    "image_token_id": 120120,
    "intermediate_size": 3584,
    "max_position_embeddings": 32768,
    "mlp_bias": False,
    "model_type": "hunyuan_vl",
    "norm_type": "rms",
    "num_attention_heads": 16,
    "num_experts": 1,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "org_vocab_size": 120818,
    "pad_id": 120002,
    "pretraining_tp": 1,
    "rope_scaling": {
        "alpha": 1000.0,
        "beta_fast": 32,
        "factor": 1.0,
        "mscale": 1.0,
        "type": "xdrope",
        "xdrope_section": [16, 16, 16, 16],
    },
    "rope_theta": 10000.0,
    "routed_scaling_factor": 1.0,
    "text_end_id": 8,
    "tie_word_embeddings": True,
    "use_cla": False,
    "use_qk_norm": True,
    "vision_config": {
        "add_patchemb_bias": True,
        "cat_extra_token": 1,
        "hidden_act": "gelu",
        "hidden_dropout": 0.0,
        "hidden_size": 1152,
        "img_max_token_num": 4096,
        "intermediate_size": 4304,
        "interpolate_mode": "bilinear",
        "max_image_size": 2048,
        "max_vit_seq_len": 16384,
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": 27,
        "out_hidden_size": 1024,
        "patch_size": 16,
        "spatial_merge_size": 2,
    },
    "vocab_size": 120818,
}
PREPROCESSOR = {
    "min_pixels": 262144,
    "max_pixels": 4194304,
    "patch_size": 16,
    "resample": 1,
    "temporal_patch_size": 1,
    "merge_size": 2,
    "image_processor_type": "HunYuanVLImageProcessor",
}


def load(folder: Path, config: dict[str, Any], *overrides: str) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    model = load_cost_model(overrides, model=str(folder))
    assert isinstance(model, CostModel)
    return model


def test_the_published_files_are_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    model, published = load(tmp_path, PUBLISHED), load_cost_model(model="hunyuan_ocr")
    for group in ("vision", "decoder", "workload", "runtime"):
        assert getattr(model.config, group) == getattr(published.config, group)
    assert model.page(1275, 1650, 3).total == published.page(1275, 1650, 3).total


def test_what_transformers_saves_of_another_size(tmp_path: Path) -> None:
    """Its own configuration classes write the files; the modules that they make have our parameters."""
    sizes = ("vision.num_hidden_layers=2", "vision.out_hidden_size=512", "decoder.hidden_size=512")
    others = ("decoder.num_hidden_layers=2", "decoder.vocab_size=300", "decoder.mrope_section=[16,24,24]")
    reference = reference_of(load_cost_model([*sizes, *others], model="hunyuan_vl"))
    reference.config.save_pretrained(tmp_path)
    limits = {"size": {"shortest_edge": 65536, "longest_edge": 1048576}, "patch_size": 16, "merge_size": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(limits))
    model = load(tmp_path, json.loads((tmp_path / "config.json").read_text()))
    assert model.parameters == reference.parameter_count
    assert (model.model.decoder.axes, model.workload.max_pixels) == (3, 1048576)


def test_the_merger_is_as_wide_as_the_decoder_where_nothing_is_said(tmp_path: Path) -> None:
    vision = {name: value for name, value in PUBLISHED["vision_config"].items() if name != "out_hidden_size"}
    model = load(tmp_path, {**PUBLISHED, "hidden_size": 512, "vision_config": vision})
    assert model.config.vision.out_hidden_size == 512


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another head": ({"attention_head_dim": 64}, "head_dim=128, but attention_head_dim=64"),
    "no width": ({"hidden_size": ...}, "config.json does not say hidden_size of its text model; add it"),
    "experts": ({"num_experts": 8}, "num_experts=8 is not modelled; 1 is"),
    "keys shared by layers": ({"use_cla": True}, "use_cla=True is not modelled; False is"),
    "no norms of queries": ({"use_qk_norm": False}, "use_qk_norm=False is not modelled; True is"),
    "another resampling": (
        {"vision_config": {**PUBLISHED["vision_config"], "interpolate_mode": "bicubic"}},
        "vision_config.interpolate_mode='bicubic' is not modelled; 'bilinear' is",
    ),
    "frames": (
        {"vision_config": {**PUBLISHED["vision_config"], "temporal_patch_size": 2}},
        "vision_config.temporal_patch_size=2 is not modelled; 1 is",
    ),
    "an unknown key": ({"sparse": 3}, "sparse=3 is not modelled and could change the cost"),
    "widths that do not fit": (
        {"vision_config": {**PUBLISHED["vision_config"], "out_hidden_size": 512}},
        "vision.out_hidden_size=512 differs from decoder.hidden_size=1024",
    ),
    "quantised": ({"quantization_config": {"bits": 4}}, "quantised weights are not read"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_modelled_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    config = {name: value for name, value in {**PUBLISHED, **change}.items() if value is not ...}
    with pytest.raises(ModelMeterError) as refused:
        load(tmp_path, config)
    assert said in str(refused.value)
