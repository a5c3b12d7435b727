"""Folders with a checkpoint of Idefics3: Granite-Docling's files, SmolDocling's, what the library saves."""

import json
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers.models.idefics3.configuration_idefics3 import Idefics3Config

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import find
from modelmeter.models.idefics3 import CostModel
from modelmeter.models.idefics3.reference.whole import sizes_of
from tests.models.deepseek_ocr.published_config import with_value
from tests.models.idefics3.small import OVERRIDES

#: the values of the file that is published, by its keys
PUBLISHED: dict[str, Any] = {
    "architectures": ["Idefics3ForConditionalGeneration"],
    "dtype": "bfloat16",
    "image_token_id": 100270,
    "model_type": "idefics3",
    "scale_factor": 4,
    "text_config": {
        "_name_or_path": "models/granitev06_hf_ai4k_sft_data_v4",
        "attention_bias": False,
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 9,
        "num_hidden_layers": 30,
        "num_key_value_heads": 3,
        "pretraining_tp": 1,
        "rope_scaling": None,
        "rope_theta": 100000.0,
        "tie_word_embeddings": True,
        "use_cache": False,
        "vocab_size": 100352,
    },
    "tie_word_embeddings": True,
    "use_cache": True,
    "vision_config": {
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 768,
        "image_size": 512,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-06,
        "max_image_size": {"longest_edge": 512},
        "model_type": "idefics3_vision",
        "num_attention_heads": 12,
        "num_channels": 3,
        "num_hidden_layers": 12,
        "patch_size": 16,
        "size": {"longest_edge": 512},
    },
    "vocab_size": 100352,
}


def load(folder: Path, config: dict[str, Any], *overrides: str) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    model = load_cost_model(overrides, model=str(folder))
    assert isinstance(model, CostModel)
    return model


def test_the_published_config_is_the_default(tmp_path: Path) -> None:
    model, default = load(tmp_path, PUBLISHED), load_cost_model(model="granite_docling_258m")
    assert replace(model.config, checkpoint=default.config.checkpoint) == default.config
    assert find(str(tmp_path)).model == "idefics3"


def test_another_vocabulary(tmp_path: Path) -> None:
    """SmolDocling's decoder has the sizes of this one, but a smaller vocabulary."""
    config = deepcopy(PUBLISHED)
    config["text_config"] |= {"vocab_size": 49280, "rope_interleaved": False, "is_llama_config": True}
    model = load(tmp_path, config)
    assert load_cost_model(model="idefics3").parameters - model.parameters == (100352 - 49280) * 576


@pytest.mark.parametrize("overrides", [[], OVERRIDES], ids=["published", "small"])
def test_what_the_library_saves(tmp_path: Path, overrides: list[str]) -> None:
    """Its own file, of the sizes of a configuration, is that configuration again; tiles are the processor's."""
    expected = load_cost_model(overrides, model="idefics3")
    sizes = sizes_of(expected)
    saved: Any = Idefics3Config(
        text_config={"model_type": "llama", **sizes["text"]},
        vision_config=sizes["vision"],
        scale_factor=sizes["scale_factor"],
        tie_word_embeddings=sizes["text"]["tie_word_embeddings"],
    )
    saved.architectures = ["Idefics3ForConditionalGeneration"]
    saved.save_pretrained(tmp_path)
    workload = expected.config.workload
    tiles = {
        "max_image_size": {"longest_edge": workload.max_image_size},
        "size": {"longest_edge": workload.longest_edge},
        "do_image_splitting": True,
        "image_processor_type": "Idefics3ImageProcessor",
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(tiles))
    config: Any = load_cost_model(model=str(tmp_path)).config
    assert replace(config, checkpoint=expected.config.checkpoint) == expected.config


REFUSED = {
    "bias": ("text_config/attention_bias", True, "attention_bias=True is not modelled; False is."),
    "activation": ("vision_config/hidden_act", "gelu", "hidden_act='gelu' is not modelled"),
    "rope": ("text_config/rope_scaling", {"type": "linear"}, "rope_scaling.type='linear' is not modelled"),
    "unknown": ("connector_layers", 2, "connector_layers=2 is not modelled and could change the cost"),
    "fp8": ("quantization_config", {"quant_method": "fp8"}, "{'quant_method': 'fp8'}: quantised weights are not"),
}


@pytest.mark.parametrize("path, value, words", REFUSED.values(), ids=REFUSED)
def test_what_is_not_modelled(tmp_path: Path, path: str, value: Any, words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load(tmp_path, with_value(PUBLISHED, path, value))


@pytest.mark.parametrize(
    ("group", "key", "words"),
    [
        ("text_config", "vocab_size", "text_config has no vocab_size"),
        ("vision_config", "hidden_size", "vision_config has no hidden_size"),
        ("vision_config", "patch_size", "vision_config has no patch_size"),
        (None, "scale_factor", "config.json has no scale_factor"),
    ],
)
def test_the_librarys_defaults_are_another_models(tmp_path: Path, group: str | None, key: str, words: str) -> None:
    config = deepcopy(PUBLISHED)
    del (config if group is None else config[group])[key]
    with pytest.raises(ModelMeterError, match=f"{words}, and the library's default is another model's; add it"):
        load(tmp_path, config)
