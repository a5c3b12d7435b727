"""The decoder as other models' library code has it, against their modules on the meta device: operator by operator."""

from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from transformers.cache_utils import DynamicCache
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3Model
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from modelmeter.layers.base_layer import LayerList
from modelmeter.layers.code import Code, EngineTraits, Execution
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.deepstack import Deepstack
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.models.common.vision_language import held_bytes, only_walk
from modelmeter.reference.building import ATTENTION, DTYPES, cache_tensors, on_meta
from modelmeter.reference.masked_index import entries_declared
from modelmeter.reference.measurement import Measurement, measure
from modelmeter.shape_tensor import Tape
from modelmeter.walk import Walk

#: unequal sizes, of which those of a head are multiples of 8
SIZES = {
    "hidden_size": 48,
    "intermediate_size": 88,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}


class Library(NamedTuple):
    """A decoder of the library, and ours as it is."""

    config: Any
    model: Any
    of_config: dict[str, Any]
    ours: dict[str, Any]


SECTIONS = [1, 1, 2]
LIBRARIES = {
    "qwen3": Library(Qwen3Config, Qwen3Model, {"head_dim": 16}, {"head_dim": 16, "qk_norm": True}),
    "qwen2_5_vl": Library(
        Qwen2_5_VLTextConfig,
        Qwen2_5_VLTextModel,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": SECTIONS}},
        {"qkv_bias": True, "mrope_section": SECTIONS},
    ),
    "qwen3_vl": Library(
        Qwen3VLTextConfig,
        Qwen3VLTextModel,
        {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2]}},
        {
            "head_dim": 16,
            "qk_norm": True,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
            "layer_outputs_kept": True,
        },
    ),
}

#: pages, tokens, tokens before them
PASSES = ((1, 1, 0), (1, 77, 0), (1, 1, 77), (1, 1, 80), (3, 40, 0), (3, 1, 40))


def walked(ours: Decoder, batch: int, tokens: int, past: int, image_tokens: int = 0) -> tuple[Walk, int]:
    """A pass, and the bytes of the cache that it was given. image_tokens: of a prompt with features for two layers."""
    tape = Tape()
    states = ours.given_cache(tape, batch, past) if past else ours.empty_cache()
    given_bytes = held_bytes(states)
    width = SIZES["hidden_size"]
    deepstack = None
    if image_tokens:
        features = tuple(tape.input((image_tokens, width), ours.dtype) for _ in range(2))
        deepstack = Deepstack(tape.input((batch, tokens), "bool"), features)
    ours.call_remembered("", tape.input((batch, tokens, width), ours.dtype), states, 0, deepstack)
    return only_walk(tape), given_bytes


def library_of(name: str, dtype: str, attention: str) -> tuple[Any, Any, Decoder]:
    """The library's configuration and model on the meta device, and ours."""
    library = LIBRARIES[name]
    with on_meta(dtype):
        config = library.config(vocab_size=50, pad_token_id=0, **SIZES, **library.of_config)
        theirs = library.model._from_config(config, attn_implementation=ATTENTION[attention])
    ours = Decoder(**SIZES, **library.ours, window_mask=False, dtype=dtype, attention=attention)
    return config, theirs.eval(), ours


def assert_measured(walk: Walk, given_bytes: int, stage: Measurement) -> None:
    """Operator by operator, and the peaks."""
    assert [(each.aten, each.bytes_read, each.bytes_written) for each in walk.records()] == [
        (each.operator, each.traffic.read_bytes, each.traffic.written_bytes) for each in stage.operator_traffic
    ]
    assert (walk.tensor_core_flops, walk.peak_bytes, walk.peak_operator) == (
        stage.flops,
        stage.activation_peak_bytes,
        stage.peak_operator,
    )
    assert walk.resident_peak_bytes + given_bytes == stage.resident_peak_bytes


@pytest.mark.parametrize("attention", ["flash", "eager"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", LIBRARIES)
def test_the_walk_is_the_modules(name: str, dtype: str, attention: str) -> None:
    config, theirs, ours = library_of(name, dtype, attention)
    embedding = 50 * SIZES["hidden_size"]
    assert ours.parameter_count() == sum(each.numel() for each in theirs.parameters()) - embedding
    for batch, tokens, past in PASSES:
        cache = DynamicCache(config=config)
        kv_shape = (batch, SIZES["num_key_value_heads"], past, ours.head_dim)
        for layer in range(SIZES["num_hidden_layers"] if past else 0):
            cache.update(*(torch.empty(kv_shape, dtype=DTYPES[dtype], device="meta") for _ in range(2)), layer)
        embeds = torch.empty(batch, tokens, SIZES["hidden_size"], dtype=DTYPES[dtype], device="meta")
        positions = torch.empty(ours.axes, batch, tokens, dtype=torch.int64, device="meta")
        arguments = {"position_ids": positions} if ours.axes > 1 else {}

        def call(cache: DynamicCache = cache, embeds: Any = embeds, arguments: dict[str, Any] = arguments) -> None:
            theirs(inputs_embeds=embeds, past_key_values=cache, use_cache=True, **arguments)

        stage = measure({"": theirs}, call, cached=lambda cache=cache: cache_tensors(cache))  # type: ignore[misc]
        assert_measured(*walked(ours, batch, tokens, past), stage)


@pytest.mark.parametrize("attention", ["flash", "eager"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_features_are_added_after_the_first_layers(dtype: str, attention: str) -> None:
    config, theirs, ours = library_of("qwen3_vl", dtype, attention)
    for batch, tokens, image_tokens in ((1, 77, 60), (3, 40, 99)):
        cache = DynamicCache(config=config)
        shapes = ((batch, tokens, 48), (image_tokens, 48), (image_tokens, 48))
        embeds, *features = (torch.empty(shape, dtype=DTYPES[dtype], device="meta") for shape in shapes)
        places = torch.empty(batch, tokens, dtype=torch.bool, device="meta")
        positions = torch.empty(3, batch, tokens, dtype=torch.int64, device="meta")

        def call(arguments: dict[str, Any]) -> None:
            theirs(use_cache=True, **arguments)

        arguments = {
            "inputs_embeds": embeds,
            "past_key_values": cache,
            "position_ids": positions,
            "visual_pos_masks": places,
            "deepstack_visual_embeds": features,
        }
        with entries_declared(image_tokens):
            stage = measure({"": theirs}, partial(call, arguments), cached=partial(cache_tensors, cache))
        assert_measured(*walked(ours, batch, tokens, 0, image_tokens), stage)


def test_layers_of_one_kind_share_their_attention() -> None:
    """Each position has parameters of its own all the same."""
    ours = Decoder(**SIZES, qkv_bias=True, head_dim=8)
    assert isinstance(ours.layers, LayerList)
    one = 48 * 48 + 48 + 2 * (48 * 16 + 16) + 48 * 48
    assert sum(each.numel for path, each in ours.named_parameters() if ".self_attn." in path) == 3 * one


@pytest.mark.parametrize("apart", [False, True])
def test_an_engine_normalises_queries_and_keys(apart: bool) -> None:
    """In the kernel that turns them and writes the cache, or where that is two, each in a kernel before them."""
    traits = DecoderTraits(
        cos_sin_cached=True,
        kv_paged=True,
        cache_written_apart=apart,
        qkv_and_gate_up_fused=True,
        position_ids_given=True,
    )
    engine = Execution("engine", (EngineTraits(chains_fused=True, add_norm_fused=True), traits))
    ours = Decoder(**SIZES, head_dim=16, qk_norm=True, code=Code(engine))
    records = [each for each in walked(ours, 2, 5, 0)[0].records() if each.path.startswith("layers.1.self_attn")]
    query, key = 2 * 5 * 6 * 16 * 2, 2 * 5 * 2 * 16 * 2  # pages, tokens, heads, elements, bytes
    weight, table, places = 16 * 2, 2 * 5 * 16 * 2, 2 * 5 * 8  # rows of the table: one for each token
    found = {each.aten: (each.bytes_read, each.bytes_written) for each in records if each.kind == "fused"}
    if apart:
        assert [each.path for each in records if each.name == "rms_norm"] == [
            f"layers.1.self_attn.{name}" for name in ("q_norm", "k_norm")
        ]
        assert found["fused.rms_norm"] == (key + weight, key)
        assert found["fused.rotary"] == (query + key + table + places, query + key)
    else:
        assert found == {"fused.rotary_and_cache": (query + 2 * key + 2 * weight + table + places, query + 2 * key)}
