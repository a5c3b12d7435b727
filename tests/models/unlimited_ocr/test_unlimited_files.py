"""Folders with a checkpoint of Unlimited-OCR: the published layout, and transformers'."""

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import deepseek_ocr, find
from modelmeter.models.common.configuration import COMMON_KINDS
from modelmeter.models.unlimited_ocr import CONFIGURATION, CostModel
from tests.models.deepseek_ocr.published_config import DEEPSEEK_OCR, UNLIMITED_OCR, with_decoder, with_value

WINDOW = ["reference_sliding_attention"]

#: the keys that transformers 5.23 writes for its classes, with sizes of our own
TRANSFORMERS = {
    "architectures": ["UnlimitedOcrForConditionalGeneration"],
    "model_type": "unlimited_ocr",
    "image_token_id": 128815,
    "tie_word_embeddings": False,
    "transformers_version": "5.23.0",
    "text_config": {
        "model_type": "unlimited_ocr_text",
        "hidden_size": 640,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "head_dim": 128,
        "num_hidden_layers": 4,
        "layer_types": WINDOW * 4,
        "mlp_layer_types": ["dense", "dense", "sparse", "sparse"],
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "sliding_window": 64,
        "use_cache": True,
        "output_router_logits": False,
        "pretraining_tp": 1,
    },
    "vision_config": {
        "model_type": "unlimited_ocr_vision",
        "sam_config": {
            "hidden_size": 384,
            "num_hidden_layers": 3,
            "global_attn_indexes": [1],
            "mlp_dim": 1000,
            "dtype": None,
            "use_abs_pos": True,
            "use_rel_pos": True,
            "chunk_size_feed_forward": 0,
            "id2label": {"0": "LABEL_0"},
            "return_dict": True,
        },
        "encoder_config": {"num_hidden_layers": 2, "intermediate_size": 2048, "hidden_act": "quick_gelu"},
    },
}
SAME = [
    "decoder.hidden_size=640",
    "decoder.num_attention_heads=5",
    "decoder.num_key_value_heads=5",
    "decoder.num_hidden_layers=4",
    "decoder.first_k_dense_replace=2",
    "decoder.sliding_window=64",
    "vision.sam.embed_dim=384",
    "vision.sam.depth=3",
    "vision.sam.global_attn_indexes=[1]",
    "vision.sam.mlp_dim=1000",
    "vision.clip.num_layers=2",
    "vision.clip.ffn_hidden_size=2048",
]


def load(folder: Path, config: dict[str, Any], *overrides: str) -> CostModel:
    (folder / "config.json").write_text(json.dumps(config))
    model = load_cost_model(overrides, model=str(folder))
    assert isinstance(model, CostModel)
    return model


def test_the_published_config_is_the_default(tmp_path: Path) -> None:
    model, default = load(tmp_path, UNLIMITED_OCR), load_cost_model(model="unlimited_ocr")
    assert replace(model.config, checkpoint=default.config.checkpoint) == default.config
    assert find(str(tmp_path)).model == "unlimited_ocr"


def test_transformers_layout(tmp_path: Path) -> None:
    model, same = load(tmp_path, TRANSFORMERS), load_cost_model(SAME, model="unlimited_ocr")
    assert replace(model.config, checkpoint=same.config.checkpoint) == same.config
    assert model.page(600, 800, 90) == same.page(600, 800, 90)


def test_transformers_own_defaults(tmp_path: Path) -> None:
    default = load_cost_model(model="unlimited_ocr").config
    for bare in (
        {"model_type": "unlimited_ocr"},
        {"architectures": TRANSFORMERS["architectures"], "text_config": {}, "vision_config": {"sam_config": None}},
    ):
        assert replace(load(tmp_path, bare).config, checkpoint=default.checkpoint) == default


@pytest.mark.parametrize(
    "name, content",
    [
        ("preprocessor_config.json", {"image_processor_type": "UnlimitedOcrImageProcessor", "max_patches": 12}),
        ("processor_config.json", {"processor_class": "P", "image_processor": {"max_patches": 12, "do_resize": True}}),
    ],
)
def test_the_image_processors_file(tmp_path: Path, name: str, content: dict[str, Any]) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    assert load(tmp_path, UNLIMITED_OCR).config.workload.max_patches == 12
    content = {"size": {"height": 1280, "width": 1280}, "tile_size": 320, "crop_to_patches": False, "min_patches": 3}
    (tmp_path / name).write_text(json.dumps(content))
    workload = load(tmp_path, UNLIMITED_OCR).config.workload
    assert (workload.size, workload.tile_size, workload.crop_to_patches, workload.min_patches) == (1280, 320, False, 3)
    (tmp_path / name).write_text(json.dumps({"size": {"height": 1280, "width": 640}}))
    with pytest.raises(ModelMeterError, match=r"size\.width=640, but size\.height=1280"):
        load(tmp_path, UNLIMITED_OCR)


REFUSED = {  # path of a key, its value, what is said
    "dense_last": (
        "text_config/mlp_layer_types",
        ["sparse", "sparse", "sparse", "dense"],
        "mlp_layer_types=['sparse', 'sparse', 'sparse', 'dense'] is not modelled; one of num_hidden_layers=4 entries",
    ),
    "other_attention": (
        "text_config/layer_types",
        ["full_attention"] * 4,
        "text_config.layer_types[0]=full_attention is unknown",
    ),
    "fewer_types": ("text_config/layer_types", WINDOW * 3, "layer_types has 3 entries for num_hidden_layers=4"),
    "no_window": ("text_config/sliding_window", None, "text_config.sliding_window=None is no whole number"),
    "tied": ("tie_word_embeddings", True, "tie_word_embeddings=True is not modelled; False is."),
    "rope": (
        "text_config/rope_parameters/rope_type",
        "yarn",
        "text_config.rope_parameters.rope_type='yarn' is not modelled; 'default' is.",
    ),
    "no_table": (
        "vision_config/sam_config/use_rel_pos",
        False,
        "use_rel_pos=False is not modelled; True is.",
    ),
}


@pytest.mark.parametrize("path, value, words", REFUSED.values(), ids=REFUSED)
def test_what_is_not_modelled(tmp_path: Path, path: str, value: Any, words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load(tmp_path, with_value(TRANSFORMERS, path, value))


def _paths(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys of mappings within each other."""
    for key, value in content.items() if isinstance(content, dict) else ():
        yield (*path, key)
        yield from _paths(value, (*path, key))


FILES_OF = {
    "deepseek_ocr": (deepseek_ocr.CONFIGURATION, DEEPSEEK_OCR),
    "published": (CONFIGURATION, UNLIMITED_OCR),
    "transformers": (CONFIGURATION, TRANSFORMERS),
}
KEY = st.text(st.characters(exclude_characters="/"), min_size=1, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(list(FILES_OF)), data=st.data())
def test_whatever_a_file_holds_is_read_or_refused(name: str, data: st.DataObject) -> None:
    configuration, config = FILES_OF[name]
    for _ in range(data.draw(st.integers(1, 2))):
        path = "/".join(data.draw(st.sampled_from(list(_paths(config)))))
        config = with_value(config, path, data.draw(JSON | st.just(...)))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        try:
            values = configuration.files.read(folder, {**configuration.kinds, **COMMON_KINDS})
        except ModelMeterError as refusal:
            assert len(str(refusal)) <= 900
            return
    defaults = asdict(configuration.read({}))
    assert set(values) <= set(defaults)
    for group, stated in values.items():
        assert set(stated) <= set(defaults[group])


def test_the_published_layouts_own_relations(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"config\.json has no sliding_window"):
        load(tmp_path, with_value(with_decoder(UNLIMITED_OCR, "sliding_window_size", ...), "sliding_window", ...))
    with pytest.raises(ModelMeterError, match=r"sliding_window_size=64, but language_config\.sliding_window_size=128"):
        load(tmp_path, with_value(UNLIMITED_OCR, "sliding_window_size", 64))
    with pytest.raises(ModelMeterError, match=r"projector_config\.n_embed=640 does not fit .* of 1280 together"):
        load(tmp_path, with_value(UNLIMITED_OCR, "projector_config/n_embed", 640))
