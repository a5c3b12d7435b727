"""The decoder against transformers' module on the meta device: FLOPs, peaks, traffic, operator by operator."""

from functools import cache
from typing import Any, NamedTuple

import pytest
import torch

from modelmeter.errors import ModelMeterError
from modelmeter.layers import State
from modelmeter.layers.decoder.attention import GroupedQueryAttention
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.moe import MixtureOfExperts
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import PUBLISHED_DECODER
from modelmeter.models.deepseek_ocr.reference.modules import TextReference
from modelmeter.reference.building import cache_tensors
from modelmeter.reference.flops import measure_flops
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.memory import LiveSet
from modelmeter.reference.traffic import TrafficMeter
from modelmeter.shape_tensor import Tape
from modelmeter.walk import Call, OperatorRecord


class Figures(NamedTuple):
    """One pass: FLOPs, traffic, both peaks, the operator at the activation peak, and every operator's bytes."""

    flops: int
    io_bytes: int
    peak_bytes: int
    resident_peak_bytes: int
    peak_operator: str
    operators: list[tuple[str, int, int]]


@cache
def reference(dtype: str = "bfloat16", attention: str = "flash", **architecture: int) -> TextReference:
    return TextReference(dtype=dtype, attention=attention, **architecture)


def walked(model: Decoder, batch: int, tokens: int, past: int, hit: int, width: int, kv: int) -> Figures:
    tape = Tape()
    shape = (batch, kv, past, model.head_dim)
    states = [
        State(tape.given(shape, model.dtype), tape.given(shape, model.dtype)) if past else State() for _ in model.layers
    ]
    tape.resident_peak_bytes = tape.given_bytes
    result = model(tape.input((batch, tokens, width), model.dtype), states, hit)
    records: list[OperatorRecord] = []
    for entry in tape.entries:
        records.extend(entry.walk.records(entry.path) if isinstance(entry, Call) else [entry])
    cached = sum(item.storage.nbytes for state in states for item in state.items)
    assert tape.live_bytes == result.storage.nbytes + cached  # live = outputs + KV
    assert tape.given_bytes == 0
    return Figures(
        sum(record.tensor_core_flops for record in records),
        sum(record.bytes_read + record.bytes_written for record in records),
        tape.peak_bytes,
        tape.resident_peak_bytes,
        tape.peak_operator,
        [(record.aten, record.bytes_read, record.bytes_written) for record in records],
    )


def measured(text: TextReference, batch: int, tokens: int, past: int, hit: int) -> Figures:
    def fresh() -> Any:
        return text.cache(batch, past)

    embeds = text.embeddings(batch, tokens)
    kv = fresh()
    flops = measure_flops(text.model, lambda: text(embeds, kv)).total
    del kv
    kv = fresh()
    with torch.no_grad(), FusedAttention(), LiveSet(text.model) as live:
        text(embeds, kv)
    del kv
    kv = fresh()
    with torch.no_grad(), FusedAttention(), LiveSet(text.model, given=cache_tensors(kv)) as resident:
        text(embeds, kv)
    del kv
    kv = fresh()
    with torch.no_grad(), FusedAttention(), TrafficMeter(text.model, kv=cache_tensors(kv), experts_hit=hit) as traffic:
        text(embeds, kv)
    return Figures(
        flops,
        traffic.total.total_bytes,
        live.peak_bytes,
        resident.peak_bytes,
        live.peak_operator,
        [(each.operator, each.traffic.read_bytes, each.traffic.written_bytes) for each in traffic.operators],
    )


def compare(batch: int, tokens: int, past: int, dtype: str, attention: str, **architecture: int) -> Figures:
    text = reference(dtype, attention, **architecture)
    experts = architecture.get("n_routed_experts", 64)
    hit = min(experts, architecture.get("num_experts_per_tok", 6) * batch * tokens)
    kept = {name: value for name, value in architecture.items() if name not in ("vocab_size",)}
    model = Decoder(dtype=dtype, attention=attention, **{**PUBLISHED_DECODER, **kept})
    kv = architecture.get("num_key_value_heads", architecture.get("num_attention_heads", 10))
    ours = walked(model, batch, tokens, past, hit, architecture.get("hidden_size", 1280), kv)
    theirs = measured(text, batch, tokens, past, hit)
    assert ours == theirs
    return ours


TYPES = [("bfloat16", "flash"), ("bfloat16", "eager"), ("float32", "flash"), ("float32", "eager"), ("float16", "flash")]


@pytest.mark.parametrize("dtype, attention", TYPES)
@pytest.mark.parametrize("tokens", [1, 100, 913])
def test_prefill(tokens: int, dtype: str, attention: str) -> None:
    compare(1, tokens, 0, dtype, attention)


@pytest.mark.parametrize("dtype, attention", TYPES)
@pytest.mark.parametrize("past", [100, 913])
def test_decode_step(past: int, dtype: str, attention: str) -> None:
    compare(1, 1, past, dtype, attention)


@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_pages_in_a_batch(attention: str) -> None:
    compare(3, 40, 0, "bfloat16", attention)
    compare(3, 1, 40, "bfloat16", attention)


ARCHITECTURES: list[dict[str, int]] = [
    {"num_hidden_layers": 3, "hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 8},
    {"num_hidden_layers": 4, "first_k_dense_replace": 2, "n_routed_experts": 16, "num_experts_per_tok": 3},
    {"num_hidden_layers": 2, "first_k_dense_replace": 0, "n_shared_experts": 1, "moe_intermediate_size": 96},
    {"num_hidden_layers": 2, "first_k_dense_replace": 2, "intermediate_size": 1000},
    {"num_hidden_layers": 5, "num_attention_heads": 20, "num_key_value_heads": 20, "n_routed_experts": 8},
    {"num_hidden_layers": 3, "num_attention_heads": 10, "num_key_value_heads": 2, "vocab_size": 1000},
    {"num_hidden_layers": 3, "num_attention_heads": 10, "num_key_value_heads": 1, "num_experts_per_tok": 1},
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_other_architectures(architecture: dict[str, int]) -> None:
    compare(1, 77, 0, "bfloat16", "flash", **architecture)
    compare(1, 1, 77, "bfloat16", "flash", **architecture)


def test_published_figures() -> None:
    prefill = compare(1, 913, 0, "bfloat16", "flash")
    assert (prefill.flops, prefill.peak_bytes, prefill.io_bytes) == (797_349_048_320, 149_032_241, 11_171_753_481)
    assert compare(1, 913, 0, "bfloat16", "eager").peak_bytes == 168_204_328
    assert compare(1, 903, 0, "bfloat16", "flash").flops == 788_060_958_720
    assert compare(1, 1, 903, "bfloat16", "flash").flops == 872_775_680
    step = compare(1, 1, 913, "bfloat16", "flash")
    assert (step.peak_bytes, step.io_bytes) == (56_498_330, 999_397_876)
    assert step.resident_peak_bytes == 56_094_720 + 2_412_954


def test_parameters_equal_the_module() -> None:
    text = reference()
    model = sum(parameter.numel() for parameter in text.model.parameters())
    embedding = 129_280 * 1280
    assert Decoder(**PUBLISHED_DECODER).parameter_count() == model - embedding


@pytest.mark.parametrize(
    "make, text",
    [
        (
            lambda: GroupedQueryAttention(1280, 30, 8),
            r"num_attention_heads=30 does not divide by num_key_value_heads=8 \(remainder 6\); .* 1, 2, 3, 5, 6, 10",
        ),
        (lambda: GroupedQueryAttention(1000, 30, 5), "hidden_size=1000 does not divide by num_attention_heads=30"),
        (lambda: MixtureOfExperts(64, 32, 4, 6, 1), "num_experts_per_tok=6 is more than n_routed_experts=4"),
    ],
)
def test_wrong_architectures_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        make()
