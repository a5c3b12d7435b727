"""Elements that the walks work through, by operator, against those of the real modules: what CUDA-core FLOPs count."""

from collections import Counter

import pytest
import torch

from modelmeter.models.deepseek_ocr.scripts.verify.layer_cases import LayerCase, cases_of
from modelmeter.operators import FLOPS_PER_ELEMENT
from modelmeter.reference.elements import ElementCount
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.in_place_bias import InPlaceBias
from modelmeter.shape_tensor import Tape
from modelmeter.walk import Call, OperatorRecord

BLOCKS = [
    case
    for execution in ("transformers", "published")
    for case in cases_of(execution)
    if case.name in ("Block", "NoTPTransformerBlock", "DecoderLayer")
]


def walked(case: LayerCase) -> list[OperatorRecord]:
    tape = Tape()
    case.layer.call_remembered("", *case.on_shapes(tape))
    call = tape.entries[-1]
    assert isinstance(call, Call)
    return list(call.walk.records())


def test_the_blocks_are_of_every_kind() -> None:
    assert {case.module for case in BLOCKS} == {
        "sam_model.blocks.0",
        "sam_model.blocks.2",
        "vision_model.transformer.layers.0",
        "layers.0",
        "layers.1",
    }
    assert {"windowed", "global", "dense", "experts"} <= {case.note for case in BLOCKS}
    assert {case.attention for case in BLOCKS} == {"flash", "eager"}
    for layer in ("layers.0", "layers.1"):
        contexts = {case.inputs[3].context for case in BLOCKS if case.module == layer}
        assert contexts == {0, 913}  # prefill and decode


@pytest.mark.parametrize("case", BLOCKS, ids=str)
def test_elements_by_operator_equal_the_reference(case: LayerCase) -> None:
    call = case.prepare()
    with torch.no_grad(), FusedAttention(), InPlaceBias(), ElementCount() as measured:
        call()
    elements: Counter[str] = Counter()
    for record in walked(case):
        if record.kind not in ("matmul", "attention"):
            assert record.elements > 0
            assert record.cuda_core_flops == record.elements * FLOPS_PER_ELEMENT[record.name]
            elements[record.aten] += record.elements
        else:
            assert record.elements == record.cuda_core_flops == 0
    assert dict(elements) == dict(measured.by_operator) != {}
    assert all(count > 0 for count in measured.by_operator.values())
