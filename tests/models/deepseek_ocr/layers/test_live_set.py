"""The live set after every operator, not at the peak alone: analytic against the real modules."""

from typing import Any

import pytest
import torch
from torch import nn

from modelmeter.models.deepseek_ocr import ImageEncoderViT, VitModel, load_cost_model
from modelmeter.models.deepseek_ocr.reference.modules import TextReference, VisionReference
from modelmeter.models.deepseek_ocr.reference.replica import Clip, Decoder, ReplicaCache, Sam
from modelmeter.reference.building import on_meta
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.memory import LiveSet
from modelmeter.walk import Walk


def check(walk: Walk, module: nn.Module, *args: Any) -> None:
    with torch.no_grad(), FusedAttention(), LiveSet(module) as live:
        module(*args)
    analytic = [(record.aten, record.live_bytes) for record in walk.records()]
    operators = {operator for operator, _ in analytic}  # the others are views
    assert analytic == [row for row in live.series if row[0] in operators]
    assert len({live_bytes for _, live_bytes in analytic}) > 10


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("execution", ["transformers", "published"])
def test_vision(execution: str, views: int) -> None:
    common: Any = {"execution": execution, "batch_size": views, "img_size": 640}
    reference = VisionReference()
    sam, clip = reference.sam, reference.clip
    if execution == "published":
        with on_meta("bfloat16"):
            sam, clip = Sam().eval(), Clip().eval()
    check(ImageEncoderViT(**common).walk(), sam, reference.pixels(views, 640))
    check(VitModel(**common).walk(), clip, reference.sam_map(views, 640))


@pytest.mark.parametrize("attention", ["flash", "eager"])
@pytest.mark.parametrize("execution", ["transformers", "published"])
def test_decoder(execution: str, attention: str) -> None:
    model = load_cost_model([f"execution={execution}", f"runtime.attention={attention}"])
    text = TextReference(attention=attention)
    walk = model.model.decoder_walk(1, 100, 64)
    if execution == "transformers":
        check(walk, text, text.embeddings(1, 100), text.cache(1, 0))
        return
    with on_meta("bfloat16"):
        decoder = Decoder(eager=attention == "eager").eval()
    check(walk, decoder, text.embeddings(1, 100), ReplicaCache())
