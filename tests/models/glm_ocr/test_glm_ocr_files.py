"""Checkpoints of GLM-OCR: the published one, and folders of a user's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models.glm_ocr import CostModel

#: config.json of zai-org/GLM-OCR, as transformers 5.3 saved it
HUB: dict[str, Any] = {
    "architectures": ["GlmOcrForConditionalGeneration"],
    "dtype": "bfloat16",
    "image_end_token_id": 59257,
    "image_start_token_id": 59256,
    "image_token_id": 59280,
    "model_type": "glm_ocr",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": "bfloat16",
        "eos_token_id": [59246, 59253],
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 1536,
        "initializer_range": 0.02,
        "intermediate_size": 4608,
        "max_position_embeddings": 131072,
        "model_type": "glm_ocr_text",
        "num_attention_heads": 16,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "num_nextn_predict_layers": 1,
        "pad_token_id": 59246,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {
            "mrope_section": [16, 24, 24],
            "partial_rotary_factor": 1.0,
            "rope_theta": 10000,
            "rope_type": "default",
        },
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": 59392,
    },
    "tie_word_embeddings": False,
    "transformers_version": "5.3.0",
    "video_end_token_id": 59259,
    "video_start_token_id": 59258,
    "video_token_id": 59281,
    "vision_config": {
        "attention_bias": True,
        "attention_dropout": 0.0,
        "depth": 24,
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": 1024,
        "image_size": 336,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "model_type": "glm_ocr_vision",
        "num_heads": 16,
        "out_hidden_size": 1536,
        "patch_size": 14,
        "rms_norm_eps": 1e-05,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
}
PREPROCESSOR = {
    "size": {"shortest_edge": 12544, "longest_edge": 9633792},
    "do_rescale": True,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Glm46VImageProcessor",
    "processor_class": "Glm46VProcessor",
}


def folder(path: Path, preprocessor: dict[str, Any] | None = None, **text: Any) -> str:
    config = {**HUB, "text_config": {**HUB["text_config"], **text}}
    (path / "config.json").write_text(json.dumps(config))
    (path / "preprocessor_config.json").write_text(json.dumps({**PREPROCESSOR, **(preprocessor or {})}))
    return str(path)


def test_the_published_files_are_the_checkpoint(tmp_path: Path) -> None:
    own, published = load_cost_model(model=folder(tmp_path)), load_cost_model(model="glm_ocr")
    assert isinstance(own, CostModel)
    assert own.config.decoder == published.config.decoder
    assert own.config.vision == published.config.vision
    assert own.config.workload == published.config.workload
    assert own.parameters == 1_107_405_824


def test_a_folder_of_other_sizes(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 8, "num_nextn_predict_layers": 0}
    own = load_cost_model(model=folder(tmp_path, {"size": {"shortest_edge": 3136, "longest_edge": 1003520}}, **sizes))
    assert len(own.model.decoder.layers) == 8
    assert own.page(1275, 1650).layout == (22, 28)  # by the root of 2 x 1,275 x 1,650 over 1,003,520, 2.048


#: what a file says otherwise, and what refuses it
REFUSED = {
    "part of a head turns": ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial"),
    "biases": ({"attention_bias": True}, "attention_bias"),
    "two further layers": ({"num_nextn_predict_layers": 2}, "num_nextn_predict_layers"),
    "another activation": ({"hidden_act": "gelu"}, "hidden_act"),
    "unknown": ({"sliding": 3}, "sliding"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(text: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=message):
        load_cost_model(model=folder(tmp_path, **text))
