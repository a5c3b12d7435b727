"""The live set of programs that fit in the head; against the CPU allocator's log and against MemTracker."""

import gc

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from modelmeter.reference.memory import Holding, LiveSet


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(3, 11)
        self.down = nn.Linear(11, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.up(x)
        hidden = torch.relu(hidden)
        return x + self.down(hidden)


def test_peak_by_hand() -> None:
    module = TwoLayers().to("meta")
    x = torch.empty(2, 7, 3, device="meta")
    with torch.no_grad(), LiveSet(module) as live:
        out = module(x)
    # float32: hidden and its relu are alive together; neither x nor a weight counts
    assert live.peak_bytes == 4 * (14 * 11 + 14 * 11)
    assert (live.peak_operator, live.peak_path) == ("aten.relu.default", "")
    assert live.alive_at_peak == [
        Holding(size_bytes=616, shape=(14, 11), dtype="float32", operator="aten.addmm.default", path="up"),
        Holding(size_bytes=616, shape=(2, 7, 11), dtype="float32", operator="aten.relu.default", path=""),
    ]
    assert live.live_bytes == 4 * 14 * 3
    del out
    assert live.live_bytes == 0
    assert live.alive == []


def test_views_and_in_place_results_add_nothing() -> None:
    x = torch.empty(6, 4, device="meta")
    with torch.no_grad(), LiveSet() as live:
        y = x * 2
        y.t()[1:].view(3, 2, 3)
        y.add_(1)
        x.view(24).mul_(2)
    assert live.peak_bytes == live.live_bytes == 4 * 24


def test_the_peak_names_the_first_operator_to_reach_it() -> None:
    x = torch.empty(4, device="meta")
    with torch.no_grad(), LiveSet() as live:
        for function in (torch.exp, torch.sin):
            function(x)
    assert (live.peak_bytes, live.peak_operator) == (16, "aten.exp.default")


def test_given_tensors_are_resident_until_their_owner_drops_them() -> None:
    cache = [torch.empty(5, 4, device="meta"), torch.empty(5, 4, device="meta")]
    token = torch.empty(1, 4, device="meta")
    with torch.no_grad(), LiveSet(given=cache) as live:
        for index in range(2):
            cache[index] = torch.cat([cache[index], token])
    # 80 + 80 given; each cat makes 96 while its source is alive, then the source dies
    assert live.given_bytes == 160
    assert live.peak_bytes == 80 + 96 + 96
    assert live.live_bytes == 96 + 96
    assert [holding.operator for holding in live.alive_at_peak] == [
        "aten.cat.default",
        "aten.cat.default",
        "given",
    ]


def test_a_peak_that_is_only_given() -> None:
    cache = torch.empty(5, 4, device="meta")
    with torch.no_grad(), LiveSet(given=[cache[:2], cache[2:]]) as live:
        cache.view(20)
    assert (live.peak_bytes, live.peak_operator, live.given_bytes) == (80, "given", 80)


def test_other_devices_do_not_count() -> None:
    with torch.no_grad(), LiveSet() as live:
        torch.arange(100)
        torch.empty(3, device="meta")
    assert live.peak_bytes == 12


def test_no_reference_cycle_is_needed_to_free() -> None:
    gc.disable()
    try:
        module = TwoLayers().to("meta")
        with torch.no_grad(), LiveSet(module) as live:
            module(torch.empty(2, 7, 3, device="meta"))
        assert live.live_bytes == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fake_tensors(device: str) -> None:
    with FakeTensorMode():
        x = torch.empty(4, 8, device=device)
        with torch.no_grad(), LiveSet(device=device) as live:
            y = (x * 2).exp() + 1
    assert live.peak_bytes == 2 * (4 * 32)
    assert live.peak_operator == "aten.exp.default"
    assert live.live_bytes == 4 * y.numel()


def allocator_peak_bytes(call: object) -> int:
    """The highest running sum of the CPU allocator's own event log."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, record_shapes=False
    ) as profile:
        out = call()  # type: ignore[operator]
    del out
    events = profile.profiler.kineto_results.events()
    log = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    running = peak = 0
    for _, size_bytes in log:
        running += size_bytes
        peak = max(peak, running)
    return peak


class Attends(nn.Module):
    """Without convolutions: inside those, the CPU holds reordered weights."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(48)
        self.qkv = nn.Linear(48, 144)
        self.mlp = nn.Sequential(nn.Linear(48, 160), nn.GELU(), nn.Linear(160, 48))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm(x)).reshape(2, 20, 3, 48).permute(2, 0, 1, 3).unbind(0)
        x = x + torch.softmax(q @ k.transpose(-2, -1), dim=-1, dtype=torch.float64).float() @ v
        return x + self.mlp(x)


def test_the_cpu_allocator_logs_the_same_peak() -> None:
    module = Attends().eval()
    x = torch.ones(2, 20, 48)
    with torch.no_grad():
        module(x)  # first call: one-off allocations
        logged = allocator_peak_bytes(lambda: module(x))
        with LiveSet(module, device="cpu") as live:
            module(x)
        meta, meta_x = Attends().to("meta"), x.to("meta")
        with LiveSet(meta) as live_meta:
            meta(meta_x)
    assert live.peak_bytes == logged
    assert (live_meta.peak_bytes, live_meta.peak_operator) == (live.peak_bytes, live.peak_operator)


def test_mem_tracker_sees_the_same_activation_bytes() -> None:
    module = Attends().to("meta").eval()
    x = torch.empty(2, 20, 48, device="meta")
    tracker = MemTracker()
    tracker.track_external(module, x)
    with torch.no_grad(), tracker:
        module(x)
    snapshot = tracker.get_tracker_snapshot("peak")[torch.device("meta")]
    activation = {str(getattr(kind, "value", kind)): size for kind, size in snapshot.items()}
    with torch.no_grad(), LiveSet(module) as live:
        module(x)
    assert activation["Activation"] == live.peak_bytes
