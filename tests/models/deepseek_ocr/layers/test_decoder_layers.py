"""The decoder against transformers' module on the meta device: FLOPs, peaks, traffic, operator by operator."""

from typing import Any

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.layers import State
from modelmeter.layers.decoder.attention import GroupedQueryAttention
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.moe import MixtureOfExperts
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import PUBLISHED_DECODER
from modelmeter.models.deepseek_ocr.reference.modules import TextReference
from modelmeter.shape_tensor import Tape
from modelmeter.walk import Call, OperatorRecord
from tests.measured.account import digest
from tests.measured.recorded import recorded
from tests.measured.series.decoder import PASSES, Pass


def walked(case: Pass) -> dict[str, Any]:
    """The figures of a pass as they are recorded, by our walk."""
    sizes = {name: value for name, value in case.sizes.items() if name != "vocab_size"}
    model = Decoder(dtype=case.dtype, attention=case.attention, **{**PUBLISHED_DECODER, **sizes})
    tape = Tape()
    kv_heads = sizes.get("num_key_value_heads", 10)
    shape = (case.batch, kv_heads, case.past, model.head_dim)
    states = [
        State(tape.given(shape, model.dtype), tape.given(shape, model.dtype)) if case.past else State()
        for _ in model.layers
    ]
    tape.resident_peak_bytes = tape.given_bytes
    hidden = tape.input((case.batch, case.tokens, sizes.get("hidden_size", 1280)), model.dtype)
    result = model(hidden, states, case.experts_hit)
    records: list[OperatorRecord] = []
    for entry in tape.entries:
        records.extend(entry.walk.records(entry.path) if isinstance(entry, Call) else [entry])
    cached = sum(item.storage.nbytes for state in states for item in state.items)
    assert tape.live_bytes == result.storage.nbytes + cached  # live = outputs + KV
    assert tape.given_bytes == 0
    return {
        "flops": sum(record.tensor_core_flops for record in records),
        "io_bytes": sum(record.bytes_read + record.bytes_written for record in records),
        "peak_bytes": tape.peak_bytes,
        "resident_peak_bytes": tape.resident_peak_bytes,
        "peak_operator": tape.peak_operator,
        "operators": digest((record.aten, record.bytes_read, record.bytes_written) for record in records),
    }


@pytest.mark.parametrize("case", [each for each in PASSES if not each.past], ids=lambda case: case.name)
def test_prefill(case: Pass) -> None:
    assert walked(case) == recorded("decoder", case.name)


@pytest.mark.parametrize("case", [each for each in PASSES if each.past], ids=lambda case: case.name)
def test_decode_step(case: Pass) -> None:
    assert walked(case) == recorded("decoder", case.name)


def test_published_figures() -> None:
    prefill = walked(Pass(1, 913, 0))
    figures = (prefill["flops"], prefill["peak_bytes"], prefill["io_bytes"])
    assert figures == (797_349_048_320, 149_032_241, 11_171_753_481)
    assert walked(Pass(1, 913, 0, "bfloat16", "eager"))["peak_bytes"] == 168_204_328
    assert walked(Pass(1, 903, 0))["flops"] == 788_060_958_720
    assert walked(Pass(1, 1, 903))["flops"] == 872_775_680
    step = walked(Pass(1, 1, 913))
    assert (step["peak_bytes"], step["io_bytes"]) == (56_498_330, 999_397_876)
    assert step["resident_peak_bytes"] == 56_094_720 + 2_412_954


def test_parameters_equal_the_module() -> None:
    model = sum(parameter.numel() for parameter in TextReference().model.parameters())
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
