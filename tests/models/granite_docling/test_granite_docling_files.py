"""Folders with a checkpoint of Granite-Docling: what the library saves, and what is not modelled."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers.models.granite_docling.configuration_granite_docling import GraniteDoclingConfig

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models.granite_docling.reference.whole import sizes_of
from tests.models.granite_docling.small import OVERRIDES


def save(folder: Path, overrides: list[str], **others: Any) -> Any:
    """The library's own file of a configuration, and its image processor's."""
    expected: Any = load_cost_model(overrides, model="granite_docling")
    sizes = sizes_of(expected)
    saved: Any = GraniteDoclingConfig(
        text_config=sizes["text"],
        vision_config=sizes["vision"],
        tie_word_embeddings=sizes["text"]["tie_word_embeddings"],
        **others,
    )
    saved.architectures = ["GraniteDoclingForConditionalGeneration"]
    saved.save_pretrained(folder)
    workload = expected.config.workload
    tiles = {
        "size": {"height": workload.size, "width": workload.size},
        "max_patches": workload.max_patches,
        "image_processor_type": "GraniteDoclingImageProcessor",
        "dense_max_patches": 0,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(tiles))
    return expected.config


@pytest.mark.parametrize("overrides", [[], [*OVERRIDES, "workload.max_patches=12"]], ids=["published", "small"])
def test_what_the_library_saves(tmp_path: Path, overrides: list[str]) -> None:
    expected = save(tmp_path, overrides)
    config: Any = load_cost_model(model=str(tmp_path)).config
    assert replace(config, checkpoint=expected.checkpoint) == expected


@pytest.mark.parametrize(
    ("group", "key", "value", "words"),
    [
        (None, "density_router_hidden_size", 64, "density_router_hidden_size=64 is not modelled; None is"),
        ("vision_config", "hidden_act", "gelu", "hidden_act='gelu' is not modelled"),
        ("vision_config", "out_hidden_size", 512, "out_hidden_size=512 is not text_config.hidden_size=1024"),
        ("text_config", "mlp_bias", True, "mlp_bias=True is not modelled; False is"),
    ],
)
def test_what_is_not_modelled(tmp_path: Path, group: str | None, key: str, value: Any, words: str) -> None:
    save(tmp_path, [])
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    (config if group is None else config[group])[key] = value
    file.write_text(json.dumps(config))
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load_cost_model(model=str(tmp_path))


def test_the_spread_rule_is_not_modelled(tmp_path: Path) -> None:
    save(tmp_path, [])
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"dense_max_patches": 48}))
    with pytest.raises(ModelMeterError, match="dense_max_patches=48 is not modelled; 0"):
        load_cost_model(model=str(tmp_path))
