"""A bias that `F.linear` cannot fuse: added in place on a device, as the profiler shows, and so on meta in the mode."""

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import linear
from torch.profiler import ProfilerActivity, profile

from modelmeter.reference.in_place_bias import InPlaceBias
from modelmeter.reference.memory import LiveSet
from modelmeter.reference.traffic import TrafficMeter

T, K, N = 7, 3, 5
INPUTS: dict[str, Callable[[str], torch.Tensor]] = {
    "row-major": lambda device: torch.rand(2, T, K, device=device),
    "turned": lambda device: torch.rand(1, K, T, device=device).transpose(1, 2),
    "turned, several": lambda device: torch.rand(2, K, T, device=device).transpose(1, 2),
    "a turned matrix": lambda device: torch.rand(K, T, device=device).t(),
}


def weights(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    layer = torch.nn.Linear(K, N, device=device)
    return layer.weight, layer.bias


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
def test_the_mode_runs_what_a_device_runs(make: Callable[[str], torch.Tensor]) -> None:
    x, (weight, bias) = make("cpu"), weights("cpu")
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as seen:
        plain = linear(x, weight, bias)
    kernels = ("aten::clone", "aten::addmm", "aten::mm", "aten::add", "aten::add_")
    on_device = [event.name.removeprefix("aten::") for event in seen.events() if event.name in kernels]
    with torch.no_grad(), InPlaceBias():
        assert torch.equal(linear(x, weight, bias), plain)
    x, (weight, bias) = make("meta"), weights("meta")
    with torch.no_grad(), InPlaceBias(), TrafficMeter() as traffic:
        linear(x, weight, bias)
    assert [each.operator.split(".")[1] for each in traffic.operators] == on_device


def test_no_second_product_is_alive() -> None:
    """Without the mode there is one: should PyTorch change that, the mode may go."""
    x, (weight, bias) = INPUTS["turned"]("meta"), weights("meta")
    with torch.no_grad(), InPlaceBias(), LiveSet() as live:
        linear(x, weight, bias)
    assert (live.peak_bytes, live.peak_operator) == (4 * T * N, "aten.mm.default")
    with torch.no_grad(), LiveSet() as live:
        linear(x, weight, bias)
    assert (live.peak_bytes, live.peak_operator) == (2 * 4 * T * N, "aten.add.Tensor")


def test_a_product_without_a_bias_is_left_alone() -> None:
    x, (weight, _) = INPUTS["turned"]("meta"), weights("meta")
    with torch.no_grad(), InPlaceBias(), TrafficMeter() as traffic:
        assert linear(x, weight).shape == (1, T, N)
    assert list(traffic.by_operator) == ["aten.mm.default"]
