"""The replica gives the figures that were measured on the published files (bfloat16, without autocast)."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE
from modelmeter.models.deepseek_ocr.reference.replica import CausalModel, Clip, Decoder, ReplicaCache, Sam
from modelmeter.reference.building import on_meta
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.memory import LiveSet
from modelmeter.reference.traffic import TrafficMeter


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


@cache
def built(kind: type[nn.Module], eager: bool = False) -> nn.Module:
    options = {"eager": True} if eager else {}
    with on_meta("bfloat16"):
        return kind(**options).eval()


def measured(module: nn.Module, *args: Any, given: int = 0) -> tuple[int, int]:
    """Peak and traffic, bytes; `given`: a cache of that many positions goes last."""

    def cache_of() -> tuple[Any, ...]:
        if not isinstance(module, Decoder | CausalModel):
            return ()
        held = [empty(1, 10, given, 128) for _ in range(24)] if given else []
        return (ReplicaCache(held[:12], held[12:]),)

    arguments = cache_of()
    with torch.no_grad(), FusedAttention(), LiveSet(module) as live:
        module(*args, *arguments)
    arguments = cache_of()
    with torch.no_grad(), FusedAttention(), TrafficMeter(module) as traffic:
        module(*args, *arguments)
    return live.peak_bytes, traffic.total.total_bytes


def test_parameters() -> None:
    with on_meta("bfloat16"):
        model = CausalModel()
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_336_106_240
    assert sum(parameter.numel() for parameter in model.model.sam_model.parameters()) == 95_569_152
    assert sum(parameter.numel() for parameter in model.model.vision_model.parameters()) == 303_177_728


@pytest.mark.parametrize(
    "kind, views, side, peak, gigabytes",
    [
        (Sam, 1, 1024, 459_276_288, 8.752),
        (Sam, 6, 640, 534_528_000, 15.295),
        (Clip, 1, 1024, 9_474_048, 1.343),
        (Clip, 6, 640, 22_339_584, 2.347),
    ],
)
def test_vision(kind: type[nn.Module], views: int, side: int, peak: int, gigabytes: float) -> None:
    grid = side // 64
    argument = empty(views, 3, side, side) if kind is Sam else empty(views, 1024, grid, grid)
    peak_bytes, io_bytes = measured(built(kind), argument)
    assert (peak_bytes, round(io_bytes / 1e9, 3)) == (peak, gigabytes)


@pytest.mark.parametrize(
    "tokens, past, eager, peak, gigabytes",
    [
        (913, 0, False, 152_507_520, 11.896),
        (913, 0, True, 154_174_658, 15.189),
        (1, 913, False, 56_496_904, 1.000),
        (1, 913, True, 56_496_904, 1.003),
    ],
)
def test_decoder(tokens: int, past: int, eager: bool, peak: int, gigabytes: float) -> None:
    decoder = built(Decoder, eager)
    decoder.declare_experts_hit(min(64, 6 * tokens))
    peak_bytes, io_bytes = measured(decoder, empty(1, tokens, 1280), given=past)
    assert (peak_bytes, round(io_bytes / 1e9, 3)) == (peak, gigabytes)


def test_a_page() -> None:
    model = built(CausalModel)
    pixels = [(empty(6, 3, 640, 640), empty(1, 3, 1024, 1024))]
    ids, mask = empty(1, 913, dtype=torch.int64), empty(1, 913, dtype=torch.bool)
    peak_bytes, io_bytes = measured(model, ids, pixels, mask, [(2, 3)])
    assert (peak_bytes, round(io_bytes / 1e9, 2)) == (766_627_840, 40.98)


def test_float32_wants_eager_attention() -> None:
    with on_meta("float32"):
        decoder = Decoder(ARCHITECTURE | {"num_hidden_layers": 1})
    with pytest.raises(ModelMeterError, match="half precision only; measure attention=eager"):
        decoder(empty(1, 4, 1280, dtype=torch.float32), ReplicaCache())
