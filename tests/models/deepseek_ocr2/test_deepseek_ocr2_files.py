"""Folders with a checkpoint of DeepSeek-OCR-2: the published layout, and transformers'."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from transformers.models.deepseek_ocr2.configuration_deepseek_ocr2 import DeepseekOcr2Config

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import find
from modelmeter.models.deepseek_ocr2 import CostModel
from modelmeter.models.deepseek_ocr2.reference.whole import sam_values, text_values
from tests.models.deepseek_ocr.published_config import with_value
from tests.models.deepseek_ocr2.small import OVERRIDES

DECODER: dict[str, Any] = {
    "bos_token_id": 0,
    "eos_token_id": 1,
    "first_k_dense_replace": 1,
    "hidden_size": 1280,
    "intermediate_size": 6848,
    "kv_lora_rank": None,
    "lm_head": True,
    "max_position_embeddings": 8192,
    "moe_intermediate_size": 896,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_attention_heads": 10,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 12,
    "num_key_value_heads": 10,
    "q_lora_rank": None,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "rm_head": False,
    "topk_group": 1,
    "topk_method": "greedy",
    "use_mla": False,
    "v_head_dim": 0,
    "vocab_size": 129280,
}
#: what public tests of other projects print of the checkpoint's file
PUBLISHED: dict[str, Any] = {
    **DECODER,
    "architectures": ["DeepseekOCR2ForCausalLM"],
    "candidate_resolutions": [[1024, 1024]],
    "global_view_pos": "head",
    "model_type": "deepseek_vl_v2",
    "tile_tag": "2D",
    "language_config": {**DECODER, "architectures": ["DeepseekV2ForCausalLM"], "torch_dtype": "bfloat16"},
    "projector_config": {
        "input_dim": 896,
        "model_type": "mlp_projector",
        "n_embed": 1280,
        "projector_type": "linear",
    },
    "vision_config": {
        "image_size": 1024,
        "mlp_ratio": 3.7362,
        "model_name": "deepencoderv2",
        "model_type": "vision",
        "width": {
            "qwen2-0-5b": {"dim": 896},
            "sam_vit_b": {
                "downsample_channels": [512, 1024],
                "global_attn_indexes": [2, 5, 8, 11],
                "heads": 12,
                "layers": 12,
                "width": 768,
            },
        },
    },
}


def load(folder: Path, config: dict[str, Any], *overrides: str) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    model = load_cost_model(overrides, model=str(folder))
    assert isinstance(model, CostModel)
    return model


def test_the_published_config_is_the_default(tmp_path: Path) -> None:
    model, default = load(tmp_path, PUBLISHED), load_cost_model(model="deepseek_ocr2")
    assert replace(model.config, checkpoint=default.config.checkpoint) == default.config
    assert find(str(tmp_path)).model == "deepseek_ocr2"


@pytest.mark.parametrize("overrides", [[], OVERRIDES], ids=["published", "small"])
def test_what_the_library_saves(tmp_path: Path, overrides: list[str]) -> None:
    """Its own file, of the sizes of a configuration, is that configuration again."""
    expected = load_cost_model(overrides, model="deepseek_ocr2").config
    vision = {
        "sam_config": sam_values(expected.vision.sam),
        "encoder_config": {**asdict(expected.vision.encoder), "vocab_size": 1},
    }
    saved: Any = DeepseekOcr2Config(text_config=text_values(asdict(expected.decoder)), vision_config=vision)
    saved.architectures = ["DeepseekOcr2ForConditionalGeneration"]
    saved.save_pretrained(tmp_path)
    config: Any = load_cost_model(model=str(tmp_path)).config
    assert replace(config, checkpoint=expected.checkpoint) == expected


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_the_image_processors_file(tmp_path: Path, name: str) -> None:
    content = {"max_patches": 12, "do_resize": True, "crop_to_patches": True, "size": {"height": 768, "width": 768}}
    (tmp_path / name).write_text(json.dumps({"image_processor": content} if name.startswith("processor") else content))
    workload = load(tmp_path, PUBLISHED).config.workload
    assert (workload.max_patches, workload.size, workload.tile_size) == (12, 768, 768)


REFUSED = {
    "other_width": ("vision_config/width/qwen2-0-5b/dim", 1024, "dim=1024 is not modelled; 896 is."),
    "other_tower": ("vision_config/model_name", "deeplip_b_l", "'deeplip_b_l' is not modelled; 'deepencoderv2' is."),
    "unknown": ("vision_config/width/qwen2-0-5b/layers", 12, "layers=12 is not modelled and could change the cost"),
    "projector": ("projector_config/input_dim", 2048, "projector_config.input_dim=2048 does not fit the layer"),
    "decoder": ("projector_config/n_embed", 640, "n_embed=640 does not fit the layer beside it, of 1280;"),
    "heads": ("head_dim", 64, "head_dim=64 times num_attention_heads=10 is not hidden_size=1280"),
    "mla": ("use_mla", True, "use_mla=True is not modelled; False is."),
    "fp8": ("quantization_config", {"quant_method": "fp8"}, "{'quant_method': 'fp8'}: quantised weights are not"),
}


@pytest.mark.parametrize("path, value, words", REFUSED.values(), ids=REFUSED)
def test_what_is_not_modelled(tmp_path: Path, path: str, value: Any, words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load(tmp_path, with_value(PUBLISHED, path, value))


def test_the_librarys_defaults_are_another_models(tmp_path: Path) -> None:
    bare: dict[str, Any] = {"model_type": "deepseek_ocr2", "text_config": {}, "vision_config": {}}
    with pytest.raises(ModelMeterError, match=r"text_config has no vocab_size, and the library's default is another"):
        load(tmp_path, bare)


def test_without_tiles_the_library_miscounts(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"crop_to_patches": False}))
    with pytest.raises(ModelMeterError, match="crop_to_patches=False is not modelled; True is"):
        load(tmp_path, PUBLISHED)
