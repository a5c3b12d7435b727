"""Collectives over a link: times by hand, what a device's file may say of a link, and published figures."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmeter import kernel_classes as classes
from modelmeter.devices import Roofline, bundled_devices, load_device
from modelmeter.devices.collectives import (
    CROWDING_MOST,
    DIRECT,
    HOST,
    OWN_BYTES,
    PEER,
    Link,
    all_gather_seconds,
    all_reduce_seconds,
    least_link_bytes,
    link_bytes,
)
from modelmeter.devices.device import NoLink
from modelmeter.devices.stage_time import PASS_ERROR, Estimate, NoConstants, StageTimes
from modelmeter.errors import ModelMeterError
from modelmeter.operators import all_gather, all_reduce
from modelmeter.shape_tensor import Tape
from modelmeter.walk import Walk
from tests.devices.synthetic import LINK, SOURCE, slow_device
from tests.toy_model import load_cost_model as load_toy

KIB, MIB = 2**10, 2**20
RING = {"overhead_s": 1.0, "hop_s": 0.25, "short_bandwidth": 0.25, "long_s": 1.0, "bandwidth": 0.5}
REDUCE = {"own_s": 1.0, "stage_s": 0.5, "own_bandwidth": 0.5, **RING}


def link(kind: str, peers: int = 1) -> Link:
    """Half a MiB a second."""
    return Link(name="wire", kind=kind, bandwidth_bytes_per_s=Fraction(512 * KIB), peers=peers)


BY_HAND = {  # link, devices, bytes, seconds; NCCL begins after 1 s, and a quarter for each device beyond two
    "one stage": (DIRECT, 2, 512 * KIB, 1 + 1 / 0.5),
    "one stage of four": (DIRECT, 4, 256 * KIB, 1 + 3 * 0.5 / 0.5),
    "two stages of four": (DIRECT, 4, 512 * KIB, 1 + 0.5 + 2 * 3 / 4 / 0.5),
    "two stages of eight": (DIRECT, 8, 256 * KIB, 1 + 0.5 + 2 * 7 / 8 * 0.5 / 0.5),
    "NCCL beyond the limit": (DIRECT, 2, 8 * MIB, 1 + min(16 / 0.25, 1 + 16 / 0.5)),
    "NCCL of three": (DIRECT, 3, 512 * KIB, 1.25 + min(4 / 3 / 0.25, 1 + 4 / 3 / 0.5)),
    "NCCL of ten": (DIRECT, 10, 512 * KIB, 3 + min(1.8 / 0.25, 1 + 1.8 / 0.5)),
    "two over PCIe": (PEER, 2, 512 * KIB, 1 + 1 / 0.5),
    "four over PCIe, at half the rate": (PEER, 4, 512 * KIB, 1.5 + min(3 / 0.25, 1 + 3 / 0.5)),
    "by way of the host": (HOST, 2, 512 * KIB, 1 + min(1 / 0.25, 1 + 1 / 0.5)),
    "a short message": (HOST, 2, 128 * KIB, 1 + 0.25 / 0.25),
}


@pytest.mark.parametrize("kind, ranks, nbytes, seconds", BY_HAND.values(), ids=BY_HAND)
def test_an_all_reduce_by_hand(kind: str, ranks: int, nbytes: int, seconds: float) -> None:
    assert all_reduce_seconds(REDUCE, link(kind), message_bytes=nbytes, ranks=ranks) == pytest.approx(seconds)


def test_numbers_as_arrays() -> None:
    cases = [case for case in BY_HAND.values() if case[0] == DIRECT]
    _, ranks, nbytes, seconds = map(np.array, zip(*cases, strict=True))
    assert all_reduce_seconds(REDUCE, link(DIRECT), message_bytes=nbytes, ranks=ranks) == pytest.approx(seconds)


def test_an_all_gather_by_hand() -> None:
    half_a_mib = {"message_bytes": 512 * KIB, "ranks": 4}  # three quarters of it pass
    assert all_gather_seconds(RING, link(DIRECT), **half_a_mib) == 1.5 + 1 + 0.75 / 0.5
    assert all_gather_seconds(RING, link(PEER), **half_a_mib) == 1.5 + 1 + 2 * 0.75 / 0.5
    assert all_gather_seconds(RING, link(PEER), **half_a_mib, crowding=0) == 1.5 + 1 + 0.75 / 0.5
    assert all_gather_seconds(RING, link(PEER), **half_a_mib, crowding=2) == 1.5 + 1 + 4 * 0.75 / 0.5


def test_a_mesh_has_a_link_for_each_peer() -> None:
    mesh = link(DIRECT, peers=3)
    assert [mesh.used(ranks) for ranks in (2, 3, 4, 8)] == [1, 2, 3, 3]
    assert link_bytes(classes.ALL_GATHER, mesh, message_bytes=400, ranks=4) == 100
    # two use one link of it, four all three
    assert all_reduce_seconds(REDUCE, mesh, message_bytes=512 * KIB, ranks=2) == 1 + 1 / 0.5
    assert all_reduce_seconds(REDUCE, mesh, message_bytes=256 * KIB, ranks=4) == 1 + 0.5 / 0.5


@pytest.mark.parametrize("device", [each for each in bundled_devices() if each.link], ids=lambda each: each.name)
def test_times_grow_with_bytes_and_devices(device: Any) -> None:
    sizes = 2.0 ** np.arange(8, 31, 2)  # between neighbours of a kernel's limit the next one may be quicker
    for name, law in ((classes.ALL_REDUCE, all_reduce_seconds), (classes.ALL_GATHER, all_gather_seconds)):
        values = device.kernels[name].values
        by_ranks = [law(values, device.link, message_bytes=sizes, ranks=ranks) for ranks in (2, 4, 8)]
        for times in by_ranks:
            assert (np.diff(times) > 0).all()
        if device.link.peers == 1:  # in a mesh several links carry what two devices have one for
            assert (np.diff(by_ranks, axis=0) >= 0).all()
        least = [least_link_bytes(name, device.link, message_bytes=sizes, ranks=ranks) for ranks in (2, 4, 8)]
        assert (by_ranks > np.array(least) / float(device.link.bandwidth_bytes_per_s)).all()


# -- published figures ------------------------------------------------------------------------------------------------

_TABLES = "ai-dynamo/aiconfigurator at 095f58a5, systems/data/<device>/comm; a message is 2 bytes x message_size"
PUBLISHED = {  # device, operator, devices, bytes, microseconds; reports/timing/collectives.md has those outside as well
    # vLLM 0.24 in a CUDA graph; the fit is on 0.19
    "H100, own kernel": ("H100-SXM", all_reduce, 2, 2 * MIB, 12.38),
    "H100, NCCL": ("H100-SXM", all_reduce, 2, 8 * MIB, 45.0),
    "H100, eight": ("H100-SXM", all_reduce, 8, 512 * KIB, 12.0),
    "L40S, own kernel": ("L40S", all_reduce, 2, 2 * MIB, 116.8),
    "L40S, eight that slow each other": ("L40S", all_reduce, 8, 32 * MIB, 30062.3),
    # devices without a row in any fit
    "A100, all-gather": ("A100-80G", all_gather, 2, 512 * MIB, 1790.0),
    "RTX PRO 6000, all-gather": ("RTX-PRO-6000-Server", all_gather, 2, 2 * MIB, 47.2),
    "RTX PRO 6000, long all-gather": ("RTX-PRO-6000-Server", all_gather, 2, 512 * MIB, 8306.0),
    "RTX PRO 6000, eight": ("RTX-PRO-6000-Server", all_reduce, 8, 256, 23.6),
}


def walk_of(operator: Any, nbytes: int, ranks: int) -> Walk:
    """A collective whose message has so many bytes."""
    tape = Tape()
    elements = nbytes // 2 if operator is all_reduce else nbytes // 2 // ranks
    operator(tape.input((1, elements), "bfloat16"), ranks)
    return tape.walk()


@pytest.mark.parametrize("device, operator, ranks, nbytes, measured_us", PUBLISHED.values(), ids=PUBLISHED)
def test_published_figures_lie_in_the_interval(
    device: str, operator: Any, ranks: int, nbytes: int, measured_us: float
) -> None:
    estimate = StageTimes(load_toy(), load_device(device)).walk(walk_of(operator, nbytes, ranks))
    assert estimate.low * 1e6 <= measured_us <= estimate.high * 1e6, (estimate.value, _TABLES)


def test_hosts_over_pcie_lie_between_both_ends() -> None:
    """Of NCCL on hosts that hardly slow devices (nccl-tests in the READMEs of two drivers) and on one that does."""
    hosts = (  # device, devices, bytes, microseconds, how far the rate falls there
        ("RTX-4090", 6, 32 * MIB, 2275.1, 0.0),  # tinygrad/open-gpu-kernel-modules
        ("RTX-5090", 8, 8 * MIB, 326.13, 0.0),  # aikitoria/open-gpu-kernel-modules
        ("RTX-5090", 8, 128 * MIB, 5355.16, 0.0),
        ("L40S", 4, 32 * MIB, 9836.6, CROWDING_MOST),  # aiconfigurator, NCCL 2.27
        ("L40S", 8, 32 * MIB, 38854.0, CROWDING_MOST),
    )
    for name, ranks, nbytes, measured_us, crowding in hosts:
        device = load_device(name)
        values = device.kernels[classes.ALL_REDUCE].values
        assert device.link is not None
        seconds = all_reduce_seconds(values, device.link, message_bytes=nbytes, ranks=ranks, own=0, crowding=crowding)
        assert seconds * 1e6 == pytest.approx(measured_us, rel=0.25), name


# -- the interval, the bound, refusals --------------------------------------------------------------------------------


def linked(folder: Path, *, errors: Any = None, **changes: Any) -> Any:
    """The slow device, 20 bytes a second, with a link and constants of collectives."""
    kernels = {
        name: values | {"origin": "given", "source": "made up"}
        for name, values in ((classes.ALL_REDUCE, REDUCE), (classes.ALL_GATHER, RING))
    }
    if errors:
        kernels[classes.ALL_REDUCE]["errors"] = dict(zip(("rows", "median", "p90"), errors, strict=True))
    source = SOURCE | {"figures": [*SOURCE["figures"], "link"]}
    return slow_device(folder, link=LINK | changes, kernels=kernels, sources=[source])


def estimate_of(device: Any, nbytes: int, ranks: int) -> Estimate:
    times = object.__new__(StageTimes)  # the toy model has other classes too, which this device has no constants of
    times.device, times.bound, times.float32 = device, False, "fp32"
    return times.walk(walk_of(all_reduce, nbytes, ranks))


def test_the_interval_of_several_over_pcie_spans_the_worst_host(tmp_path: Path) -> None:
    device = linked(tmp_path, kind=PEER, errors=(9, 0.1, 0.2))
    # 40 bytes of two: no host matters
    two = estimate_of(device, 40, 2)
    assert two.value == pytest.approx(1 + 40 / 5)
    assert two.widths[classes.ALL_REDUCE] == pytest.approx(9 * np.hypot(0.1, 0.2))
    # of four 60 bytes pass at half of 10 a second: 12 s; where devices slow each other most, at a quarter: 24 s
    four = estimate_of(device, 40, 4)
    value, worst = 1.5 + 1 + 12 / 0.5, 1.5 + 1 + 24 / 0.5
    assert four.value == pytest.approx(value)
    width = np.hypot(0.1 * worst + worst - value, 0.2 * value)
    assert four.widths[classes.ALL_REDUCE] == pytest.approx(width)
    assert four.high == pytest.approx(value + np.hypot(width, PASS_ERROR * value))
    assert four.high > worst


def test_the_bound_is_the_longer_of_memory_and_link(tmp_path: Path) -> None:
    """40 bytes of two devices: 80 through memory at 20 a second, 40 over the link."""
    cases = (
        (10.0, DIRECT, all_reduce, 2, 4),
        (5.0, DIRECT, all_reduce, 2, 8),
        (40.0, DIRECT, all_reduce, 2, 4),
        (5.0, PEER, all_reduce, 4, 12),  # 60 bytes pass
        (5.0, DIRECT, all_reduce, 4, 8),  # a switch may add them on their way: 40
        (5.0, DIRECT, all_gather, 4, 6),  # 30 bytes pass; 10 read and 40 written
        (100.0, DIRECT, all_gather, 4, Fraction(5, 2)),
    )
    for rate, kind, operator, ranks, seconds in cases:
        device = linked(tmp_path, bandwidth_bytes_per_s=rate, kind=kind)
        collective = walk_of(operator, 40, ranks)
        time = Roofline(device).stage(collective)
        assert time.exact_seconds == seconds
        assert time.share("memory") == 1
        times = StageTimes(load_toy(["execution=serving"]), device)
        assert times.walk(collective).value == pytest.approx(float(seconds))


def test_what_was_measured_of_eight_h100_is_no_faster_than_the_bound() -> None:
    """NCCL adds in the switch: 475 GB/s of a ring's bytes (NVIDIA/nccl-tests issue 272, 8 H200) over links of 450."""
    link_of_h200 = load_device("H200").linked()
    nbytes = 8 * 2**30
    measured_s = 2 * 7 / 8 * nbytes / 475e9
    message = {"message_bytes": nbytes, "ranks": 8}
    rate = float(link_of_h200.bandwidth_bytes_per_s)
    assert link_bytes(classes.ALL_REDUCE, link_of_h200, **message) / rate > measured_s
    assert least_link_bytes(classes.ALL_REDUCE, link_of_h200, **message) / rate < measured_s


def test_a_device_without_a_link_is_refused(tmp_path: Path) -> None:
    device = slow_device(tmp_path)
    collective = walk_of(all_reduce, 40, 2)
    for ask in (Roofline(device).stage, StageTimes(load_toy(["execution=serving"]), device).walk):
        with pytest.raises(NoLink) as raised:
            ask(collective)
        assert str(raised.value) == (
            "device Slow lists no link to others of its kind, so a model that is split over several of them has no "
            "time; run it whole on each (parallel.tensor=1), or add link with its name, kind (direct, peer, host), "
            "bandwidth_bytes_per_s one way and source to slow.yaml."
        )
    mac = load_device("M4-Max")
    times = StageTimes(load_toy(["runtime.dtype=float32"]), mac)  # which asks for no collective
    assert times.step(100).value > 0
    with pytest.raises(NoLink, match="device M4-Max lists no link"):
        times.walk(collective)


def test_a_link_without_constants_is_refused() -> None:
    device = load_device("H100-SXM")
    kernels = {name: each for name, each in device.kernels.items() if name not in classes.COLLECTIVES}
    times = StageTimes(load_toy(), replace(device, kernels=kernels))  # which asks for no collective
    with pytest.raises(NoConstants) as raised:
        times.walk(walk_of(all_reduce, 40, 2))
    assert "device H100-SXM has no constants of all_reduce kernels (it has gemm, " in str(raised.value)
    assert "add kernels.all_reduce to h100_sxm.yaml, as a device that is linked alike has it, or" in str(raised.value)


@pytest.mark.parametrize(
    "given, text",
    [
        (LINK | {"kind": "wireless"}, "link.kind=wireless is unknown"),
        (LINK | {"bandwidth_bytes_per_s": 0}, "link.bandwidth_bytes_per_s=0 is too small"),
        ({"name": "Wire", "kind": DIRECT}, "link.bandwidth_bytes_per_s is missing; add it with its source"),
        (LINK | {"lanes": 16}, "link.lanes is no key of a link"),
        (LINK | {"peers": 0}, "link.peers=0 is too small; give 1 or more"),
        (LINK, "link has no source; name it under figures of one of the sources"),
    ],
)
def test_wrong_links_are_refused(given: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError) as raised:
        slow_device(tmp_path, link=given)
    assert text in str(raised.value)


def test_the_bundled_links() -> None:
    """One way: NVLink of A100, H100 and B200 600, 900 and 1,800 GB/s both ways; PCIe of 16 lanes 16, 32, 64 GB/s."""
    links = {device.name: device.link for device in bundled_devices()}
    assert {name for name, each in links.items() if each is None} == {"CPU-Xeon-8480", "M2-Max", "M3-Max", "M4-Max"}
    direct = {
        name: float(each.bandwidth_bytes_per_s) / 1e9 for name, each in links.items() if each and each.kind == DIRECT
    }
    assert direct == {
        **{"A100-40G": 300, "A100-80G": 300, "B200": 900, "H100-SXM": 450, "H20": 450, "H200": 450},
        **{"MI300X": 64, "V100-16GB": 150, "V100-32GB": 150},
    }
    of_pcie = {"3.0 x16": 16, "4.0 x8": 16, "4.0 x16": 32, "5.0 x8": 32, "5.0 x16": 64}
    for name, each in links.items():
        if each is None or each.kind == DIRECT:
            continue
        assert each.bandwidth_bytes_per_s == of_pcie[each.name.removeprefix("PCIe ")] * 10**9
        assert each.kind == (HOST if name.startswith(("RTX-30", "RTX-40", "RTX-50", "RX-")) else PEER), name
    assert OWN_BYTES == 8192 * 1024  # max_size of vLLM's CustomAllreduce
