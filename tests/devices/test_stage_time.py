"""Times of stages: kernels by hand on a device of round figures, laws against walks, sums, intervals."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.walked import walked_operators
from modelmeter import kernel_classes as classes
from modelmeter import load_cost_model
from modelmeter.devices import Device, Roofline, bundled_devices, load_device
from modelmeter.devices.stage_time import (
    HOSTS_DIFFER,
    NO_TIME,
    OPERATOR_S,
    PASS,
    PASS_ERROR,
    Estimate,
    IssuedTime,
    NoConstants,
    StageTimes,
)
from modelmeter.errors import ModelMeterError
from modelmeter.kernels import kernel_of
from modelmeter.models import model_package
from modelmeter.walk import OperatorRecord
from tests.devices.synthetic import LINK, SOURCE, slow_device, walk
from tests.toy_model import load_cost_model as load_toy
from tests.toy_model.workload import Grid

pytestmark = pytest.mark.slow  # seconds, not for every change

#: of the device, 1,000 FLOPs and 20 bytes a second: constants whose times are easily worked out
COMMON = {"overhead_s": 1.0, "matmul": 0.5, "bandwidth": 0.5, "overlap": 0.25}
ATTENTION = {
    **{"overhead_s": 1.0, "matmul": 0.5, "exponentials": 0.5, "bandwidth": 0.5, "overlap": 0.0, "chain": 0.0},
    **{"waves": 0.0, "tile_rows": 128, "tile_rows_wide": 64, "tile_keys": 64},
}
RING = {"overhead_s": 1.0, "hop_s": 0.25, "short_bandwidth": 0.25, "long_s": 1.0, "bandwidth": 0.5}
VALUES: dict[str, dict[str, float]] = {
    classes.GEMM: {
        **COMMON,
        **{"tile": 64, "least_rows": 64, "tile_half": 0.0, "waves": 0.0, "split_s": 0.0},
        **{"l2_share": 0.5, "l2_speed": 3.0},
    },
    classes.MOE: {**COMMON, "activations": 2.0, "misaligned": 2.0, "few": 16, "tile_least": 32, "tile": 32},
    classes.CONTEXT_ATTENTION: ATTENTION,
    classes.ENCODER_ATTENTION: ATTENTION,
    classes.GENERATION_ATTENTION: {
        **{"overhead_s": 1.0, "bandwidth": 0.5, "overlap": 0.0, "l2_share": 0.0, "l2_speed": 1.0},
        **{"tile_s": 0.5, "key_s": 0.3, "grouped_key_s": 0.1, "split_s": 0.7},
    },
    classes.BIAS_ATTENTION: {"overhead_s": 1.0, "matmul": 0.5, "bytes_per_flop": 0.2},
    classes.ELEMENTWISE: {"overhead_s": 1.0, "bandwidth": 0.5, "bytes_per_flop": 0.5},
    classes.COPY: {"overhead_s": 0.75, "bandwidth": 0.25, "bytes_per_flop": 1.0},
    classes.STRIDED: {"overhead_s": 1.0, "bandwidth": 0.5, "elements_per_flop": 0.08},
    classes.CONVOLUTION: {"overhead_s": 0.25, "matmul": 0.5, "vector": 0.5, "depth_s": 0.01},
    classes.ALL_REDUCE: {"own_s": 1.0, "stage_s": 0.5, "own_bandwidth": 0.5, **RING},
    classes.ALL_GATHER: RING,
}
ERRORS = {"rows": 10, "median": 0.1, "p90": 0.3}


def constants(name: str, **changes: Any) -> dict[str, Any]:
    """A class's constants as a device's file has them."""
    return VALUES[name] | {"origin": "given", "source": "made up", "errors": dict(ERRORS)} | changes


def device_with(folder: Path, names: Iterable[str] = classes.CLASSES, **changes: Any) -> Device:
    """The slow device with 10 multiprocessors, a link of 10 bytes a second and the constants of these classes."""
    source = SOURCE | {"figures": [*SOURCE["figures"], "multiprocessors", "link"]}
    kernels = {name: constants(name, **changes) for name in names}
    return slow_device(folder, kernels=kernels, multiprocessors=10, link=LINK, sources=[source])


@pytest.fixture
def slow(tmp_path: Path) -> Device:
    return device_with(tmp_path)


@pytest.fixture
def times(slow: Device) -> StageTimes:
    return StageTimes(load_toy(), slow)


def record(name: str, kind: str, inputs: Any, output: Any, **figures: Any) -> OperatorRecord:
    """An operator with these shapes and figures, the others 0."""
    counts = dict.fromkeys(OperatorRecord._fields[7:], 0) | figures
    path = counts.pop("path", "")
    dtype = counts.pop("dtype", "bfloat16")
    return OperatorRecord(path, name, f"aten.{name}.default", kind, dtype, inputs, (output,), **counts)


DECODER = {"path": "layers.0.self_attn"}
#: an operator of each class, and its seconds by hand
BY_HAND: dict[str, tuple[OperatorRecord, float]] = {
    # a tile of 64 x 64: 40,960 FLOPs for 15,360 at 500 a second; 60 bytes at 10 a second
    "gemm": (
        record("linear", "matmul", ((48, 5),), (48, 32), tensor_core_flops=15360, bytes_read=40, bytes_written=20),
        1 + 81.92 + 0.25 * 6,
    ),
    # the same in float32, whose peak is a tenth
    "gemm-float32": (
        record("linear", "matmul", ((48, 5),), (48, 32), tensor_core_flops=15360, bytes_read=60, dtype="float32"),
        1 + 819.2 + 0.25 * 6,
    ),
    # of a batch of 7 products each has a tile
    "gemm-batched": (
        record("bmm", "matmul", ((7, 3, 5), (7, 5, 2)), (7, 3, 2), tensor_core_flops=420, bytes_read=60),
        1 + 7 * 64 * 64 * 10 / 500 + 0.25 * 6,
    ),
    # 24 rows of 2 experts whose weights take 2 x 3 x 5 = 30 bytes each: 12 an expert run as 16; half of the overhead;
    # a width of 3 or 5 is misaligned
    "moe": (
        record(
            *("grouped_mm", "matmul", ((24, 3), (4,)), (24, 5)),
            **{
                "tensor_core_flops": 3000,
                "bytes_read": 100,
                "bytes_written": 40,
                "weight_bytes": 60,
                "expert_bytes": 30,
            },
        ),
        0.5 + 2 * (3000 * 16 / 12 / 500 + 0.25 * 60 / 10) + 2 * 80 / 20,
    ),
    "moe-aligned": (
        record(
            *("grouped_mm", "matmul", ((24, 16), (4,)), (24, 32)),
            **{
                "tensor_core_flops": 3000,
                "bytes_read": 2088,
                "bytes_written": 40,
                "weight_bytes": 2048,
                "expert_bytes": 1024,
            },
        ),
        0.5 + 2048 / 10 + 0.25 * 3000 * 16 / 12 / 500 + 2 * 80 / 20,
    ),
    # the block as one: of 4 experts of (2 x 2 x 3 + 3 x 2) x 2 = 36 bytes 2 are hit, by 12 rows each
    "moe-block": (
        record(
            *("fused_moe", "matmul", ((6, 3), (6, 4), (6, 4), (4, 4, 3), (4, 3, 2)), (6, 3)),
            **{"tensor_core_flops": 3000, "bytes_read": 152, "weight_bytes": 72, "expert_bytes": 36},
        ),
        # 2 x 6 x 3 elements in and out; 24 rows by 3 x 3 of the hidden size and 4 x 2 of the width
        1 + 2 * (3000 * 16 / 12 / 500 + 0.25 * 72 / 10) + 2 * 2 * (36 + 24 * (9 + 8)) / 20,
    ),
    # less a copy of 2 x 256 x 64 keys, and as many values, of 2 bytes read and written, at 5 bytes a second
    # 2 query tiles of 4 heads over 10 multiprocessors, each sees 1.5 of 2 times 2 key tiles
    "context_attention": (
        record("attention", "attention", ((1, 4, 256, 64), *((1, 2, 256, 64),) * 2), (1, 4, 256, 64), **DECODER),
        1 + 8 * 3 / 10 * (4 * 128 * 64 * 64 / 50 + 128 * 64 / 2.5) - (0.75 + 4 * 2 * 2 * 256 * 64 / 5),
    ),
    # the same over 192 keys before, 3 key tiles that each query tile sees too
    "context_attention, over a cache": (
        record(
            "attention",
            "attention",
            ((1, 4, 256, 64), (1, 2, 192, 64), (1, 2, 256, 64), (1, 2, 192, 64), (1, 2, 256, 64)),
            (1, 4, 256, 64),
            **DECODER,
        ),
        1 + 8 * 6 / 10 * (4 * 128 * 64 * 64 / 50 + 128 * 64 / 2.5) - (0.75 + 4 * 2 * 2 * 256 * 64 / 5),
    ),
    "encoder_attention": (
        record("attention", "attention", ((1, 4, 256, 64),) * 3, (1, 4, 256, 64)),
        1 + 8 * 4 / 10 * (4 * 128 * 64 * 64 / 50 + 128 * 64 / 2.5),
    ),
    # keys in two pieces, 40 + 1; less the copy of one key and value a head
    "generation_attention": (
        record(
            *("attention", "attention"),
            ((2, 4, 1, 64), (2, 4, 40, 64), (2, 4, 1, 64), (2, 4, 40, 64), (2, 4, 1, 64)),
            (2, 4, 1, 64),
            **DECODER,
        ),
        1 + 4 * 2 * (4 + 4 * 41) * 64 / 10 - (0.75 + 4 * 2 * 2 * 4 * 64 / 5),
    ),
    "bias_attention": (
        record(
            *("attention", "attention", ((1, 2, 8, 4),) * 3 + ((1, 2, 8, 8),), (1, 2, 8, 4)),
            **{"tensor_core_flops": 2000, "bytes_read": 20},
        ),
        1 + 4 + 2,  # 20 bytes at 10 a second
    ),
    "elementwise": (record("add", "elementwise", ((3, 5), (3, 5)), (3, 5), bytes_read=40, bytes_written=20), 1 + 6),
    "reduction": (record("mean", "reduction", ((3, 5),), (3, 1), bytes_read=20), 1 + 2),
    "copy": (record("cat", "copy", ((3, 5),), (3, 5), bytes_written=20), 0.75 + 4),
    # a number is no operand that is looked up
    "elementwise-number": (record("add", "elementwise", ((3, 5), ()), (3, 5), bytes_read=40), 1 + 4),
    # 20 bytes take 2 seconds, 15 elements 3.75
    "strided": (record("add", "elementwise", ((3, 5), (5,)), (3, 5), bytes_read=20, elements=15), 1 + 3.75),
    "strided-copy": (record("copy", "copy", ((3, 5),), (3, 5), bytes_read=60, elements=15), 1 + 6),
    # 8 channels by a window of 2 x 3: 48 products an output
    "convolution": (
        record("conv2d", "matmul", ((1, 8, 8, 8), (2, 8, 2, 3)), (1, 2, 2, 2), tensor_core_flops=2000),
        0.25 + 0.48 + 4,
    ),
    # of two devices by vLLM's own kernel: 40 bytes at half of the link's 10 a second
    "all_reduce": (record("all_reduce", "collective", ((4, 5),), (4, 5), bytes_written=40, ranks=2), 1 + 8),
    # of four devices 30 of 40 bytes pass, in 3 seconds at the link's full rate: twice that, begun later, is quicker
    "all_gather": (
        record("all_gather", "collective", ((4, 5),), (4, 20), bytes_written=40, ranks=4),
        1 + 2 * 0.25 + min(3 / 0.25, 1 + 3 / 0.5),
    ),
}


@pytest.mark.parametrize("operator, seconds", BY_HAND.values(), ids=BY_HAND)
def test_an_operator_of_each_class_by_hand(operator: OperatorRecord, seconds: float, times: StageTimes) -> None:
    estimate = times.walk(walk(operator))
    assert estimate.value == pytest.approx(seconds)
    assert estimate.launches == 1
    assert times.operators(walk(operator)) == [(operator, pytest.approx(seconds))]


def test_by_hand_has_all_classes() -> None:
    assert {kernel_of(operator).kernel_class for operator, _ in BY_HAND.values()} == set(classes.CLASSES)


def test_a_walk_is_the_sum_of_its_operators(times: StageTimes) -> None:
    gemm, copy = BY_HAND["gemm"], BY_HAND["copy"]
    inner = walk(gemm[0], copy[0])
    estimate = times.walk(walk(inner, copy[0], inner))
    assert estimate.by_class == {"gemm": pytest.approx(2 * gemm[1]), "copy": pytest.approx(3 * copy[1])}
    assert estimate.launches == 5
    assert sum(seconds for _, seconds in times.operators(walk(inner, copy[0], inner))) == pytest.approx(estimate.value)


def test_the_interval_contains_the_estimate_and_narrows_with_kinds_of_kernels(times: StageTimes) -> None:
    first = record("cat", "copy", ((1,),), (1,), bytes_read=10)
    one = times.walk(walk(first))
    assert one.widths["copy"] == pytest.approx(one.value * np.hypot(0.1, 0.3))
    assert one.widths[PASS] == pytest.approx(one.value * PASS_ERROR)
    relative = (0.1**2 + 0.3**2 + PASS_ERROR**2) ** 0.5
    assert one.low == pytest.approx(one.value / (1 + relative))
    assert one.high == pytest.approx(one.value * (1 + relative))
    same = times.walk(walk(*[first] * 4))  # of one shape: the same error four times
    assert same.widths["copy"] / same.value == pytest.approx(one.widths["copy"] / one.value)
    shapes = [record("cat", "copy", ((1,),), (1,), bytes_read=10, elements=n, cuda_core_flops=n) for n in range(4)]
    several = times.walk(walk(*shapes))
    assert several.value == pytest.approx(4 * one.value)
    assert several.widths["copy"] / several.value == pytest.approx(np.hypot(0.1, 0.3 / 2))
    both = times.walk(walk(first, BY_HAND["elementwise"][0]))  # classes err apart
    assert both.high / both.value - 1 < one.high / one.value - 1


def test_constants_without_errors_have_no_width(tmp_path: Path) -> None:
    estimate = StageTimes(load_toy(), device_with(tmp_path, errors=None)).step(7)
    assert estimate.low == estimate.value == estimate.high > 0


def test_estimates_add_and_multiply() -> None:
    one = Estimate(by_class={"gemm": 2.0}, widths={"gemm": 0.3}, launches=2)
    other = Estimate(by_class={"gemm": 1.0, "copy": 4.0}, widths={"gemm": 0.1, "copy": 0.3}, launches=3)
    both = one + other
    assert both.by_class == {"gemm": 3.0, "copy": 4.0} and both.launches == 5
    assert both.widths == {"gemm": pytest.approx(0.4), "copy": 0.3}
    assert both.high == pytest.approx(7 * (1 + 0.5 / 7))
    half = both * 0.5
    assert (half.value, half.low) == (3.5, pytest.approx(both.low / 2))
    assert 0.5 * both == half
    assert (NO_TIME.value, NO_TIME.low, NO_TIME.high) == (0, 0, 0)
    assert one + NO_TIME == one


# -- laws -------------------------------------------------------------------------------------------------------------

GRIDS = [Grid(columns, rows) for columns, rows in ((4, 4), (5, 9), (11, 6), (13, 18), (4, 64), (64, 64))]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("runtime.attention=eager",),
        ("runtime.dtype=float32",),
        ("execution=serving",),
        ("runtime.batch_size=3",),
        ("runtime.head=none", "runtime.prompt_tokens=0"),
    ],
    ids=str,
)
def test_laws_are_walks(overrides: tuple[str, ...], slow: Device) -> None:
    model = load_toy(overrides)
    times = StageTimes(model, slow)
    for stage in ("vision", "prefill"):
        together = times.stages(stage, GRIDS)
        for index, grid in enumerate(GRIDS):
            plain = times.walk(model.stage_walk(stage, page=model.layout_cost(grid)))
            same(together.one(index), plain)
            same(times.stage(stage, grid), plain)
    for context in (0, 1, 2, 127, 128, 500):
        same(times.step(context), times.walk(model.stage_walk("decode", context=context)))
    same(times.prompt(77), times.walk(model.stage_walk("prefill", page=model.text(77))))
    five = model.batched(5)
    same(times.step(77, batch=5), times.walk(five.stage_walk("decode", context=77)))


def same(one: Estimate, other: Estimate) -> None:
    """Equal but for the order of sums.

    Two shapes of a law may be the same at one layout: as a walk of that layout alone sees it, they err together.
    """
    assert one.launches == other.launches
    assert one.by_class == pytest.approx(dict(other.by_class), rel=1e-9)
    for kernel_class, width in one.widths.items():
        assert 0.5 * other.widths[kernel_class] <= width <= other.widths[kernel_class] * (1 + 1e-9)
    assert one.low <= one.value <= one.high


TWO_SAM = ("vision.sam.depth=2", "vision.sam.global_attn_indexes=[1]")


WITH_EXPERTS = ("deepseek_ocr", "deepseek_ocr2", "unlimited_ocr")


@pytest.mark.parametrize(
    "name, execution", [(name, execution) for name in WITH_EXPERTS for execution in model_package(name).EXECUTIONS]
)
def test_laws_of_models_with_experts_are_walks(name: str, execution: str, slow: Device) -> None:
    overrides = [f"execution={execution}", "decoder.num_hidden_layers=2", *TWO_SAM]
    model = load_cost_model(overrides, model=name)
    times = StageTimes(model, slow)
    sizes = ((1275, 1650), (600, 800), (3000, 900))
    layouts = [model.workload.layout(*size) for size in sizes]
    uniform = load_cost_model([*overrides, "runtime.experts_hit=uniform"], model=name)
    together = times.stages("prefill", layouts)
    for index, layout in enumerate(layouts):
        same(together.one(index), times.walk(uniform.stage_walk("prefill", page=uniform.layout_cost(layout))))
    for batch, seq_len, generated in ((1, 300, 0), (4, 300, 5), (4, 300, 200)):
        several = uniform.batched(batch)
        plain = several.stage_walk("decode", context=seq_len + generated, generated=generated)
        same(times.step(seq_len + generated, batch=batch, generated=generated), times.walk(plain))


@pytest.mark.parametrize("name", WITH_EXPERTS)
def test_decode_is_the_sum_of_its_steps(name: str, slow: Device) -> None:
    times = StageTimes(load_cost_model(["decoder.num_hidden_layers=2"], model=name), slow)
    for seq_len, steps, batch in ((283, 1, 1), (283, 140, 1), (913, 3, 4)):
        each = [times.step(seq_len + n, batch=batch, generated=n) for n in range(steps)]
        total = times.decode(seq_len, steps, batch=batch)
        assert total.value == pytest.approx(sum(one.value for one in each))
        assert total.launches == sum(one.launches for one in each)
        for kernel_class, width in total.widths.items():
            assert width == pytest.approx(sum(one.widths[kernel_class] for one in each))
    many = times.decode_many([283, 913, 400], [5, 0, 7], batch=2)
    assert many.value.tolist() == pytest.approx(
        [times.decode(283, 5, batch=2).value, 0.0, times.decode(400, 7, batch=2).value]
    )
    assert times.decode(283, 0).value == 0


def test_weighted_and_one_of_many(times: StageTimes) -> None:
    many = times.stages("prefill", GRIDS[:2])
    assert len(many) == 2
    assert many.value.tolist() == pytest.approx([many.one(0).value, many.one(1).value])
    assert many.low.tolist() == pytest.approx([many.one(0).low, many.one(1).low])
    assert many.high.tolist() == pytest.approx([many.one(0).high, many.one(1).high])
    mean = many.weighted([0.25, 0.75])
    assert mean.value == pytest.approx(0.25 * many.one(0).value + 0.75 * many.one(1).value)
    assert many.weighted([1, 1]).high == pytest.approx((many.one(0) + many.one(1)).high)


def test_no_layout_is_walked_but_one_of_each_law(slow: Device) -> None:
    times = StageTimes(load_toy(), slow)
    every = [Grid(columns, rows) for columns in range(4, 65) for rows in range(4, 65)]
    with walked_operators() as names:
        first = times.stages("prefill", every[:500])
        walked = len(names)
        again = times.stages("prefill", every)
    assert len(names) - walked < 16 * 250  # the laws that the first 500 grids do not need, of 16
    assert again.value[:500].tolist() == first.value.tolist()
    with walked_operators() as names:
        StageTimes(times.model, slow).stages("prefill", every)  # another device's times: the laws are the model's
    assert names == []


def test_larger_pages_and_longer_contexts_take_longer(times: StageTimes) -> None:
    columns = times.stages("prefill", [Grid(columns, 16) for columns in (4, 8, 16, 32, 64)])
    assert (np.diff(columns.value) > 0).all()
    contexts = [times.step(context).value for context in (1, 100, 1000, 4000)]
    assert contexts == sorted(contexts)
    batches = [times.step(100, batch=batch).value for batch in (1, 2, 7, 60)]
    assert batches == sorted(batches)


def test_the_same_on_every_device_that_has_constants() -> None:
    model = load_toy(["runtime.dtype=float32"])  # which every device has a peak for
    for device in bundled_devices():
        if device.kernels:
            times = StageTimes(model, device)
            pages = times.stages("prefill", [Grid(side, side) for side in range(4, 65, 4)])
            assert (np.diff(pages.value) > 0).all(), device.name
            assert ((pages.low < pages.value) & (pages.value < pages.high)).all(), device.name
            steps = [times.step(context).value for context in (1, 100, 128, 129, 500, 4000)]
            assert steps == sorted(steps), device.name
            # one token is scaled by a number; several are by numbers that are broadcast, a kernel of another class
            batches = [times.step(100, batch=batch).value for batch in (2, 3, 7, 20, 60)]
            assert batches == sorted(batches), device.name


# -- what is counted as how -------------------------------------------------------------------------------------------


def test_experts_are_hit_evenly_unless_the_user_says_how_many(slow: Device) -> None:
    def step(*overrides: str) -> float:
        model = load_cost_model(["decoder.num_hidden_layers=2", *overrides])
        return StageTimes(model, slow).step(100, batch=16).by_class["moe"]

    assert step() == step("runtime.experts_hit=uniform") < step("runtime.experts_hit=max")
    model = load_cost_model(["decoder.num_hidden_layers=2"])
    StageTimes(model, slow).step(100, batch=16)
    assert model.settings()["runtime.experts_hit"] == "max"  # counts are as they were


def test_an_engine_replays_its_decode_steps_alone(slow: Device) -> None:
    times = StageTimes(load_cost_model(["execution=vllm", "decoder.num_hidden_layers=2", *TWO_SAM]), slow)
    assert times.host_s("decode", 100) == 0
    assert times.host_s("prefill", 100) == times.host_s("vision", 100) == 100 * OPERATOR_S


def test_of_a_bound_the_roofline(tmp_path: Path) -> None:
    device = slow_device(tmp_path, kernel_launch={"seconds": 0.5, "origin": "measured"})
    model = load_cost_model(["execution=serving", "decoder.num_hidden_layers=2", "runtime.experts_hit=max"])
    times = StageTimes(model, device)
    page = model.page(1275, 1650)
    roofline = Roofline(device).stage(model.stage_walk("prefill", page=page))
    estimate = times.stage("prefill", page.layout)
    assert times.bound
    assert estimate.low == estimate.value == estimate.high == pytest.approx(roofline.seconds)
    assert estimate.launches == roofline.operators
    assert times.issued("prefill", estimate).value == estimate.value


def test_a_host_issues_operators_unless_it_replays_a_graph(times: StageTimes) -> None:
    device = Estimate(by_class={"gemm": 1.0}, widths={"gemm": 0.1}, launches=100)
    issued = times.issued("decode", device, operator_s=0.02)
    assert (issued.host_s, issued.value, issued.waits_for) == (2.0, 2.0, "host")
    assert (issued.low, issued.high) == (2 / HOSTS_DIFFER, 2 * HOSTS_DIFFER)
    assert times.issued("decode", device).host_s == 100 * OPERATOR_S
    assert times.host_s("decode", np.array([1, 100]), operator_s=0.02).tolist() == [0.02, 2.0]
    fast = IssuedTime(device=device, host_s=0.95)
    assert (fast.value, fast.waits_for) == (1.0, "device")
    assert (fast.low, fast.high) == (device.low, 0.95 * HOSTS_DIFFER)


# -- bad input --------------------------------------------------------------------------------------------------------


def test_a_device_without_constants_of_a_class_is_refused(tmp_path: Path) -> None:
    device = device_with(tmp_path, ["gemm", "copy"])
    with pytest.raises(NoConstants) as raised:
        StageTimes(load_toy(), device)
    assert "device Slow has no constants of " in str(raised.value)
    assert "(it has gemm, copy), so times on it cannot be estimated; add kernels." in str(raised.value)
    with pytest.raises(NoConstants, match=r"device CPU-Xeon-8480 has no constants of \w+ kernels \(it has none\)"):
        StageTimes(load_toy(), load_device("CPU-Xeon-8480"))
    without = device_with(tmp_path, [name for name in classes.CLASSES if name != "encoder_attention"])
    with pytest.raises(NoConstants, match="no constants of encoder_attention kernels"):  # of the page, not of a step
        StageTimes(load_toy(), without)


def test_what_cannot_be_asked(times: StageTimes) -> None:
    with pytest.raises(ModelMeterError, match="stage decode is unknown"):
        times.stage("decode", GRIDS[0])
    with pytest.raises(ModelMeterError, match="steps=-2 after seq_len=3 tokens; both are 0 or more"):
        times.decode(3, -2)
    with pytest.raises(ModelMeterError, match="batch"):
        times.step(3, batch=0)
    with pytest.raises(ModelMeterError, match="StageTimes: float32=fp16 is unknown"):
        StageTimes(load_toy(), times.device, float32="fp16")
