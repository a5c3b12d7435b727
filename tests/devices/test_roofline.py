"""The roofline: times by hand on a synthetic device, exact sums, and decode in closed form against the loop."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter.devices import BOUNDS, Roofline, StageTime, load_device
from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import load_cost_model
from tests.devices.synthetic import operator, slow_device, walk, write_device

HALVED = {
    "efficiency": {"matmul": {"factor": 0.5, "origin": "measured"}, "bandwidth": {"factor": 0.8, "origin": "measured"}},
    "kernel_launch": {"seconds": 0.5, "origin": "measured"},
}
# on the halved device: bf16 500, fp32 50, vector 50 FLOP/s, 16 bytes/s, half a second to launch
A = operator("product", matmul=1000, nbytes=16)  # 2 s of FLOPs, 1 s of bytes
B = operator("gate", matmul=100, nbytes=48, dtype="float32")  # 2 s, 3 s
C = operator("pointwise", vector=100, nbytes=16)  # 2 s, 1 s
D = operator("scalar", nbytes=1)  # 1/16 s
INNER = walk(B, C)
OUTER = walk(A, INNER, INNER, D)


def test_times_by_hand(tmp_path: Path) -> None:
    time = Roofline(slow_device(tmp_path, **HALVED)).stage(OUTER)
    assert time.exact_seconds == Fraction("2.5") + 2 * (Fraction("3.5") + Fraction("2.5")) + Fraction("0.5625")
    compute, memory, launch = (Fraction(time.share(bound)) * Fraction("15.0625") for bound in BOUNDS)
    assert (float(compute), float(memory), float(launch)) == pytest.approx((7.5, 7.0, 0.5625))
    assert (time.seconds, time.operators) == (15.0625, 6)


def test_operators_sum_to_the_stage_and_say_what_bounds_them(tmp_path: Path) -> None:
    roofline = Roofline(slow_device(tmp_path, **HALVED))
    times = roofline.operators(OUTER)
    assert sum(time.ticks for time in times) == roofline.stage(OUTER).ticks
    assert [(time.record.path, time.bound) for time in times] == [
        ("product", "compute"),
        ("call1.gate", "memory"),
        ("call1.pointwise", "compute"),
        ("call2.gate", "memory"),
        ("call2.pointwise", "compute"),
        ("scalar", "launch"),
    ]
    assert times[0].share == pytest.approx(2.5 / 15.0625)
    assert times[1].compute_ticks * 3 == times[1].memory_ticks * 2  # 2 s of FLOPs, 3 s of bytes


def test_compute_where_both_take_as_long(tmp_path: Path) -> None:
    roofline = Roofline(slow_device(tmp_path))
    assert roofline.stage(walk(operator("even", matmul=50, nbytes=1))).share("compute") == 1


def test_equal_layers_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    parts = Roofline._parts
    monkeypatch.setattr(Roofline, "_parts", lambda self, record: (seen.append(record.path), parts(self, record))[1])
    roofline = Roofline(slow_device(tmp_path))
    layers = walk(*[INNER] * 12)
    twelve = roofline.stage(layers)
    assert seen == ["gate", "pointwise"]
    assert twelve.ticks == 12 * roofline.stage(INNER).ticks
    assert roofline.stage(layers) is twelve


def test_the_gate_runs_at_the_peak_of_its_own_type(tmp_path: Path) -> None:
    device = slow_device(tmp_path)
    gate = walk(operator("gate", matmul=100, dtype="float32"))
    assert Roofline(device).stage(gate).exact_seconds == 1
    assert Roofline(device, float32="tf32").stage(gate).exact_seconds == Fraction(1, 4)


def test_an_empty_stage_takes_no_time(tmp_path: Path) -> None:
    time = Roofline(slow_device(tmp_path)).stage(walk())
    assert (time.seconds, time.share("memory")) == (0, 0)


@pytest.mark.parametrize("stage", ["vision", "prefill"])
@pytest.mark.parametrize("name", ["A100-40G", "RTX-4090", "CPU-Xeon-8480"])
def test_operators_of_a_real_stage_sum_to_it(name: str, stage: str) -> None:
    model = load_cost_model(["workload=base"])
    roofline = Roofline(load_device(name))
    whole = model.stage_walk(stage, page=model.page(1275, 1650))
    times = roofline.operators(whole)
    assert sum(time.ticks for time in times) == roofline.stage(whole).ticks
    by_bound = {bound: sum(time.ticks for time in times if time.bound == bound) for bound in BOUNDS}
    time = roofline.stage(whole)
    assert list(by_bound.values()) == [time.compute_ticks, time.memory_ticks, time.launch_ticks]
    assert len(times) == time.operators == whole.operator_count


@pytest.mark.parametrize("stage", ["vision", "prefill", "decode"])
def test_more_bandwidth_is_never_slower(tmp_path: Path, stage: str) -> None:
    model = load_cost_model(["workload=small"])
    whole = model.stage_walk(stage, page=model.page(1275, 1650), context=500)
    peaks = {"matmul_flops_per_s": {"bf16": 1e12, "fp32": 1e11}, "vector_flops_per_s": 1e11}
    seconds = [
        Roofline(slow_device(tmp_path, **peaks, memory_bandwidth_bytes_per_s=bandwidth)).stage(whole).exact_seconds
        for bandwidth in (1e9, 3e9, 1e10, 1e11, 1e12, 1e13)
    ]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > seconds[-1]


# -- decode ---------------------------------------------------------------------------------------------------------

NUMBER = st.integers(0, 200)
GROWTH = st.tuples(NUMBER, NUMBER)
OPERATORS = st.lists(st.tuples(GROWTH, GROWTH, GROWTH), min_size=1, max_size=4)


def step_walk(operators: list[Any], context: int) -> Any:
    """A step whose operators compute and move start + slope * context."""
    inner = walk(
        *(
            operator(
                str(number),
                **{
                    name: start + slope * context
                    for name, (start, slope) in zip(("matmul", "vector", "nbytes"), each, strict=True)
                },
            )
            for number, each in enumerate(operators)
        )
    )
    return walk(inner, operator("still", nbytes=30), inner)


@settings(max_examples=150, deadline=None)
@given(OPERATORS, st.integers(0, 30), st.integers(1, 40), st.sampled_from([0, 0.5, 3, 40]))
def test_decode_in_closed_form_is_the_loop(
    tmp_path_factory: pytest.TempPathFactory, operators: list[Any], start: int, steps: int, launch_s: float
) -> None:
    launch = {"kernel_launch": {"seconds": launch_s, "origin": "measured"}}
    roofline = Roofline(slow_device(tmp_path_factory.mktemp("device"), **launch))
    loop = StageTime(ticks_per_s=roofline.ticks_per_s)
    for context in range(start, start + steps):
        loop += roofline.stage(step_walk(operators, context))
    walks = [step_walk(operators, context) for context in (3, 4, 50)]
    times = roofline.steps(walks[0], walks[1], walks[2], 3, 50)
    assert times.total(start, steps) == loop
    assert times.at(start) == roofline.stage(step_walk(operators, start))


def test_a_crossing_by_hand(tmp_path: Path) -> None:
    # 10 + c bytes against 100 FLOPs at 1000/s: memory 0.5 + c/20 s, compute 1 s; equal after 10 tokens
    grows = [((1000, 0), (0, 0), (10, 1))]
    roofline = Roofline(slow_device(tmp_path))
    walks = [step_walk(grows, context) for context in (0, 1, 30)]
    times = roofline.steps(walks[0], walks[1], walks[2], 0, 30)
    still = Fraction(30, 20)
    for context, seconds, compute in ((9, Fraction(1), 2), (10, Fraction(1), 2), (11, Fraction(21, 20), 0)):
        time = times.at(context)
        assert time.exact_seconds == 2 * seconds + still
        assert Fraction(time.compute_ticks, time.ticks_per_s) == compute
    # 8..10 at 1 s, then 21/20 and 22/20, twice each; five times the operator that stays
    assert times.total(8, 5).exact_seconds == 2 * (3 + Fraction(43, 20)) + 5 * still


def test_where_two_parts_take_as_long_the_sum_says_compute_too(tmp_path: Path) -> None:
    # 20 bytes, 1 s, against 100 FLOPs a token, c / 10 s: equal after 10 tokens
    grows = [((0, 100), (0, 0), (20, 0))]
    roofline = Roofline(slow_device(tmp_path))
    walks = [step_walk(grows, context) for context in (0, 1, 30)]
    time = roofline.steps(walks[0], walks[1], walks[2], 0, 30).total(8, 4)
    assert Fraction(time.compute_ticks, time.ticks_per_s) == 2 * (1 + Fraction(11, 10))  # after 10 and 11 tokens
    assert Fraction(time.memory_ticks, time.ticks_per_s) == 2 * (1 + 1) + 4 * Fraction(30, 20)


def test_real_decode_in_closed_form_is_the_loop(tmp_path: Path) -> None:
    model = load_cost_model().batched(7)
    # slow enough in each respect that operators change their bound on the way
    device = slow_device(
        tmp_path,
        matmul_flops_per_s={"bf16": 3e11, "fp32": 1e11},
        vector_flops_per_s=1e11,
        memory_bandwidth_bytes_per_s=1e11,
        kernel_launch={"seconds": 2.0e-4, "origin": "measured"},
    )
    roofline = Roofline(device)
    start, steps = 100, 60
    walks = [model.stage_walk("decode", context=context) for context in (start, start + 1, start + 1000)]
    loop = StageTime(ticks_per_s=roofline.ticks_per_s)
    for context in range(start, start + steps):
        loop += roofline.stage(model.stage_walk("decode", context=context))
    assert roofline.steps(walks[0], walks[1], walks[2], start, start + 1000).total(start, steps) == loop
    assert loop.launch_ticks and loop.memory_ticks


def test_steps_that_do_not_grow_evenly_are_refused(tmp_path: Path) -> None:
    roofline = Roofline(slow_device(tmp_path))

    def moving(*nbytes: int) -> list[Any]:
        return [walk(walk(operator("cache", nbytes=each))) for each in nbytes]

    with pytest.raises(ModelMeterError, match=r"aten.cache at cache does not grow evenly with the context from 1 to 9"):
        roofline.steps(*moving(10, 12, 27), 1, 9)
    assert roofline.steps(*moving(10, 12, 26), 1, 9).at(0).exact_seconds == Fraction(8, 20)
    two, other = walk(operator("cache"), operator("cache")), walk(operator("mask"))
    one = walk(operator("cache"))
    for walks in ((one, one, two), (one, other, one), (walk(one), walk(one), walk(operator("cache")))):
        with pytest.raises(ModelMeterError, match="different operators"):
            roofline.steps(*walks, 1, 9)


def test_what_cannot_be_timed_is_refused(tmp_path: Path) -> None:
    device = slow_device(tmp_path)
    with pytest.raises(
        ModelMeterError, match=re.escape("Slow lists no matmul peak for fp16 (it has bf16, tf32, fp32)")
    ):
        Roofline(device).stage(walk(operator("product", matmul=1, dtype="float16")))
    with pytest.raises(ModelMeterError, match='float32=tf31 is unknown; did you mean "tf32"'):
        Roofline(device, float32="tf31")
    with pytest.raises(ModelMeterError, match='bound memroy is unknown; did you mean "memory"'):
        Roofline(device).stage(OUTER).share("memroy")
    with pytest.raises(ModelMeterError, match="two devices"):
        Roofline(device).stage(OUTER) + Roofline(load_device("T4")).stage(walk())
    no_fp32 = load_device(write_device(tmp_path, matmul_flops_per_s={"bf16": 1.0}))
    with pytest.raises(ModelMeterError, match="no matmul peak for fp32"):
        Roofline(no_fp32).stage(OUTER)
