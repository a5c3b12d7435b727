"""Folders with a checkpoint of Qianfan-OCR: the published layout and transformers', and what is not modelled."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen3Config

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import find
from modelmeter.models.qianfan_ocr import CostModel
from modelmeter.models.qianfan_ocr.checkpoint_files import LIBRARY_TEXT
from modelmeter.models.qianfan_ocr.reference.whole import QianfanOcrWhole
from tests.models.qianfan_ocr.small import OVERRIDES

#: in the layout that the conversion script of the library reads
PUBLISHED: dict[str, Any] = {
    "architectures": ["InternVLChatModel"],
    "model_type": "internvl_chat",
    "downsample_ratio": 0.5,
    "dynamic_image_size": True,
    "force_image_size": 448,
    "max_dynamic_patch": 12,
    "min_dynamic_patch": 1,
    "pad2square": False,
    "ps_version": "v2",
    "select_layer": -1,
    "template": "internvl2_5",
    "use_backbone_lora": 0,
    "use_llm_lora": 0,
    "use_thumbnail": True,
    "torch_dtype": "bfloat16",
    "llm_config": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "max_position_embeddings": 32768,
        "max_window_layers": 36,
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 5000000,
        "sliding_window": None,
        "use_deepep": False,
        "use_sliding_window": False,
        "vocab_size": 153678,
    },
    "vision_config": {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_6b",
        "attention_dropout": 0.0,
        "drop_path_rate": 0.1,
        "dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "image_size": 448,
        "initializer_factor": 0.1,
        "intermediate_size": 4096,
        "layer_norm_eps": 1e-6,
        "norm_type": "layer_norm",
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "qk_normalization": False,
        "qkv_bias": True,
        "use_flash_attn": True,
    },
}


def load(folder: Path, config: dict[str, Any], *overrides: str) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    model = load_cost_model(overrides, model=str(folder))
    assert isinstance(model, CostModel)
    return model


def changed(**within: dict[str, Any]) -> dict[str, Any]:
    """The published file with other values within its mappings."""
    return {**PUBLISHED, **{name: {**PUBLISHED[name], **values} for name, values in within.items()}}


def test_the_published_layout_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"image_seq_length": 256, "processor_class": "InternVLProcessor"})
    )
    model, default = load(tmp_path, PUBLISHED), load_cost_model(model="qianfan_ocr")
    assert replace(model.config, checkpoint=default.config.checkpoint) == default.config
    assert find(str(tmp_path)).model == "qianfan_ocr"


@pytest.mark.parametrize(
    "overrides", [(), (*OVERRIDES, "decoder.tie_word_embeddings=true")], ids=["published", "small"]
)
def test_what_transformers_saves(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    """The library's own class, saved as it saves itself, with all the defaults that it adds."""
    expected = load_cost_model(overrides, model="qianfan_ocr")
    assert isinstance(expected, CostModel)
    saved = QianfanOcrWhole(expected).page.model.config
    saved.architectures = ["QianfanOCRForConditionalGeneration"]
    saved.image_seq_length = expected.workload.view_tokens
    saved.save_pretrained(tmp_path)
    model = load_cost_model(model=str(tmp_path))
    assert replace(model.config, checkpoint=expected.config.checkpoint) == expected.config


def test_what_a_file_leaves_out_of_the_decoder_is_the_librarys(tmp_path: Path) -> None:
    library = Qwen3Config().to_dict()
    assert {name: library[name] for name in LIBRARY_TEXT} == LIBRARY_TEXT
    config = {"architectures": ["QianfanOCRForConditionalGeneration"], "text_config": {"hidden_size": 2560}}
    decoder = load(tmp_path, config).config.decoder
    assert (decoder.num_key_value_heads, decoder.intermediate_size, decoder.hidden_size) == (32, 22016, 2560)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_the_image_processors_file(tmp_path: Path, name: str) -> None:
    content = {
        "image_processor_type": "GotOcr2ImageProcessor",
        "crop_to_patches": False,
        "do_resize": True,
        "max_patches": 12,
        "min_patches": 4,
        "size": {"height": 448, "width": 448},
    }
    (tmp_path / name).write_text(json.dumps({"image_processor": content} if name.startswith("processor") else content))
    config = {key: value for key, value in PUBLISHED.items() if key != "min_dynamic_patch"}
    workload = load(tmp_path, config).config.workload
    assert (workload.max_patches, workload.min_patches, workload.crop_to_patches) == (12, 4, True)
    with pytest.raises(ModelMeterError, match=r"min_dynamic_patch=1: some code reads the one|min_patches=4, but"):
        load(tmp_path, PUBLISHED)


def test_another_size(tmp_path: Path) -> None:
    """A page of a fine-tune with other limits and fewer layers."""
    config = {**changed(llm_config={"num_hidden_layers": 28}), "max_dynamic_patch": 24}
    model = load(tmp_path, config)
    assert model.config.decoder.num_hidden_layers == 28
    assert model.page(1300, 1650).tokens.total == (20 + 1) * 256  # 4 x 5 is nearer to its shape than 3 x 4


REFUSED = {
    "another decoder": (changed(llm_config={"model_type": "qwen2"}), "llm_config.model_type='qwen2' is not modelled"),
    "a norm of heads": (changed(vision_config={"qk_normalization": True}), "qk_normalization=True is not modelled"),
    "no thumbnail": ({**PUBLISHED, "use_thumbnail": False}, "use_thumbnail=False is not modelled; True is"),
    "two sides": (
        {**PUBLISHED, "force_image_size": 336},
        "image_size=448, but .*force_image_size=336|force_image_size",
    ),
    "unknown": ({**PUBLISHED, "pixel_merge": 3}, "pixel_merge=3 is not modelled and could change the cost"),
    "quantised": ({**PUBLISHED, "quantization_config": {"bits": 4}}, "quantised weights are not read"),
    "no square": (
        {
            "architectures": ["QianfanOCRForConditionalGeneration"],
            "vision_config": {"image_size": [448, 336]},
        },
        r"vision_config.image_size=\[448, 336\] is no square",
    ),
    "tokens": (
        {"architectures": ["QianfanOCRForConditionalGeneration"], "image_seq_length": 64},
        "image_seq_length=64, but a view of these sides has 256 tokens",
    ),
}


@pytest.mark.parametrize(("config", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_modelled_is_refused(tmp_path: Path, config: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        load(tmp_path, config)
