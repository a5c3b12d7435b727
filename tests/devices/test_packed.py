"""Times of kernels over packed weights: their factors beside bfloat16, errors, and types that a device lacks."""

from pathlib import Path

import pytest

from modelmeter import kernel_classes as classes
from modelmeter import load_cost_model
from modelmeter.devices import load_device
from modelmeter.devices.kernel_time import CARRIED, FITTED
from modelmeter.devices.packed import Factors, beside, packed_constants
from modelmeter.devices.stage_time import StageTimes
from modelmeter.errors import ModelMeterError
from modelmeter.layers.quantisation import SCHEMES
from modelmeter.walk import Walk
from tests.devices.test_stage_time import device_with, record
from tests.toy_model import load_cost_model as load_toy


def test_every_scheme_has_factors_on_every_device() -> None:
    for scheme in SCHEMES.values():
        for kernel_class in (classes.GEMM, classes.MOE):
            for device in ("H100-SXM", "RTX-3060-12GB"):
                constants = packed_constants(kernel_class, scheme.operands.name, device)
                assert all(factor > 0.1 for factor in constants.factors[:2])
                assert constants.errors.rows > 50


def test_what_was_fitted_and_what_is_carried() -> None:
    assert packed_constants(classes.GEMM, "fp8", "H100-SXM").origin == FITTED
    carried = packed_constants(classes.GEMM, "fp8", "L4")
    assert carried.origin == CARRIED
    assert carried.errors.p90 > 0.3  # of each fitted device by the others
    # nobody published rows of GGUF's kernels
    gguf, int4 = (packed_constants(classes.GEMM, name, "A100-80G") for name in ("gguf", "int4_wo"))
    assert (gguf.origin, int4.origin) == (CARRIED, FITTED)
    assert gguf.factors != packed_constants(classes.MOE, "gguf", "A100-80G").factors


def test_factors_stand_beside_the_constants_of_bfloat16() -> None:
    values = {"matmul": 0.5, "bandwidth": 0.8, "overhead_s": 4e-6, "overlap": 0.2}
    found = beside(classes.MOE, values, Factors(0.5, 1.2, 1e-6))
    assert found == pytest.approx({"matmul": 0.25, "bandwidth": 0.96, "overhead_s": 5e-6, "overlap": 0.2})
    # a GEMM's tiles have few rows, whatever the device's in bfloat16 have
    assert beside(classes.GEMM, values | {"least_rows": 64}, Factors(0.5, 1.2, 1e-6)) == found | {"least_rows": 16}
    none_beyond = beside(classes.GEMM, values, Factors(3.0, 1.5, 0.0))
    assert (none_beyond["matmul"], none_beyond["bandwidth"]) == (1.0, 1.0)
    attention = {"bandwidth": 0.9, "overhead_s": 0.0}  # which counts two bytes where there is one
    assert beside(classes.GENERATION_ATTENTION, attention, Factors(1.0, 2.0, 0.0))["bandwidth"] == 1.8


def test_a_gemm_over_packed_weights_by_hand(tmp_path: Path) -> None:
    """At 500 FLOPs and 10 bytes a second, an overhead of 1 s: 48 x 32 in one tile of 64 x 64, or three of 16 x 64."""
    figures = {"tensor_core_flops": 15360, "bytes_read": 40, "bytes_written": 20}
    plain, packed = (
        record("linear", "matmul", ((48, 5),), (48, 32), **figures, **more) for more in ({}, {"packed": "int4_wo"})
    )
    times = StageTimes(load_toy(), device_with(tmp_path))
    ((_, before), (_, after)) = times.operators(one_of(plain, packed))
    factors = packed_constants(classes.GEMM, "int4_wo", "a device of the user's").factors
    assert before == pytest.approx(1 + 81.92 + 0.25 * 6)
    expected = 1 + factors.overhead_s + 61.44 / factors.matmul + 0.25 * 6 / factors.bandwidth
    assert after == pytest.approx(expected)


def one_of(*records: object) -> Walk:
    return Walk(tuple(records), 0, 0, 0, 0, 0, 0, 0, 0, "", "", len(records))  # type: ignore[arg-type]


def test_a_type_that_a_device_lacks_is_refused_with_those_that_have_it() -> None:
    for name, scheme, peak, having in (
        ("A100-80G", "fp8_channel", "fp8", "H100-SXM"),
        ("H100-SXM", "nvfp4", "fp4", "RTX-5090"),
        ("RTX-3060-12GB", "mxfp4", "fp4", "B200"),
    ):
        model = load_cost_model(["engine=vllm", f"precision={scheme}"])
        with pytest.raises(ModelMeterError, match=rf"device {name} lists no matmul peak for {peak}.*{having}"):
            StageTimes(model, load_device(name))


@pytest.mark.parametrize("device", ["L40S", "H100-SXM"])
def test_steps_are_faster_the_fewer_bytes_they_read(device: str) -> None:
    """And their intervals, of more constants, are wider."""
    steps = {}
    for precision in ("unquantised", "fp8_channel", "awq"):
        model = load_cost_model(["engine=vllm", f"precision={precision}"], model="qwen2_5_vl_7b")
        steps[precision] = StageTimes(model, load_device(device)).step(2000)
    assert steps["unquantised"].value > 1.3 * steps["fp8_channel"].value
    relative = {name: step.high / step.value for name, step in steps.items()}
    assert relative["awq"] > relative["unquantised"]


def test_a_cache_of_fp8_is_read_sooner() -> None:
    times = [
        StageTimes(load_cost_model(["engine=vllm", *more]), load_device("H100-SXM")).step(8000, batch=32)
        for more in ([], ["precision.kv=fp8"])
    ]
    plain, fp8 = (each.by_class[classes.GENERATION_ATTENTION] for each in times)
    assert 0.5 * plain < fp8 < 0.75 * plain
