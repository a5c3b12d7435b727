"""Constants for devices that nobody measured: the median of kin, what power and error correction leave."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest

from modelmeter.calibration.kernel_carry import carried, kin_of
from modelmeter.devices import Device, load_device
from modelmeter.devices.kernel_time import CONSTANTS, FITTED, KernelConstants
from modelmeter.errors import ModelMeterError

GEMM = {
    **{"overhead_s": 4e-6, "matmul": 0.8, "bandwidth": 0.75, "overlap": 0.25, "tile": 64, "tile_half": 4.0},
    **{"least_rows": 64, "waves": 0.5, "split_s": 1e-6, "l2_share": 0.5, "l2_speed": 2.0},
}


def device(name: str, kernel_class: str = "gemm", *, rows: int = 1000, **changes: Any) -> Device:
    """A device of 400 TFLOP/s in the matrix units, 100 outside, 400 W; changes: of it, or of its constants."""
    constants = {
        key: changes.pop(key) for key in list(changes) if key in GEMM or key in ("bytes_per_flop", "exponentials")
    }
    values = {
        key: float(value) for key, value in (dict.fromkeys(CONSTANTS[kernel_class], 1) | GEMM | constants).items()
    }
    kernels = KernelConstants(values=values, origin=FITTED, source="made up", fitted_rows=rows, errors=None)
    about: dict[str, Any] = {
        "name": name,
        "matmul_flops_per_s": {"bf16": Fraction(400 * 10**12)},
        "vector_flops_per_s": Fraction(100 * 10**12),
        "architecture": name,
        "power_watts": Fraction(400),
        "inline_ecc": False,
    }
    return replace(load_device("H100-SXM"), **about | changes, kernels=MappingProxyType({kernel_class: kernels}))


def names(devices: Sequence[Device]) -> str:
    return "".join(each.name for each in devices)


def test_of_each_constant_the_median_and_of_tiles_one_that_exists() -> None:
    known = [device("a", overlap=0.1, tile=64), device("b", overlap=0.2, tile=64), device("c", overlap=0.6, tile=128)]
    assert carried("gemm", device("x"), known)["overlap"] == 0.2
    assert carried("gemm", device("x"), known)["tile"] == 64
    known.append(device("d", overlap=0.4, tile=128))
    assert carried("gemm", device("x"), known)["overlap"] == pytest.approx(0.3)
    assert carried("gemm", device("x"), known)["tile"] == 64
    assert carried("gemm", known[3], known)["overlap"] == 0.2  # itself excepted


def test_kin() -> None:
    half = {"matmul_flops_per_s": {"bf16": Fraction(200 * 10**12)}}
    known = [device("a"), device("b"), device("c", **half), device("d", rows=30)]
    assert names(kin_of("gemm", device("x"), known)) == "ab"  # few rows of d, half the rate of c
    assert names(kin_of("gemm", device("x", **half), known)) == "c"
    assert names(kin_of("gemm", device("x", architecture="a"), known)) == "a"
    assert names(kin_of("gemm", device("x", architecture=""), known)) == "ab"
    assert names(kin_of("gemm", device("x", architecture="c"), known)) == "ab"
    assert names(kin_of("gemm", device("x"), known[3:])) == "d"
    # nobody at half the rate: what the same chip reaches of its whole rate says nothing
    assert names(kin_of("gemm", device("x", architecture="a", **half), known[:2])) == "ab"
    # constants of GEMMs stand beside the tiles that they were fitted with
    tiles = [device("a", least_rows=16), device("b"), device("c", least_rows=16)]
    assert names(kin_of("gemm", device("x"), tiles)) == "ac"
    assert names(kin_of("gemm", device("x", architecture="b"), tiles)) == "b"
    assert carried("gemm", device("x"), tiles)["least_rows"] == 16
    fed = [device(name, "encoder_attention", exponentials=0.05) for name in ("hopper", "ada")]
    assert names(kin_of("encoder_attention", device("x", architecture="blackwell"), fed)) == "hopper"
    assert names(kin_of("encoder_attention", device("x", architecture="turing"), fed)) == "ada"


def test_half_the_lanes_move_as_many_bytes() -> None:
    known = [device("volta", "elementwise", bytes_per_flop=0.06), device("ada", "elementwise", bytes_per_flop=0.02)]
    assert carried("elementwise", device("x"), known)["bytes_per_flop"] == pytest.approx((0.03 + 0.02) / 2)
    turing = carried("elementwise", device("x", architecture="turing"), known)
    assert turing["bytes_per_flop"] == pytest.approx(0.03 + 0.02)


def test_power_limits_products() -> None:
    """The others reach 0.8 x 400 TFLOP/s on 400 W: 0.8 TFLOP/s a watt."""
    known = [device("a"), device("b")]
    assert carried("gemm", device("x", power_watts=Fraction(300)), known)["matmul"] == pytest.approx(0.6)
    assert carried("gemm", device("x", power_watts=Fraction(1000)), known)["matmul"] == 0.8
    assert carried("gemm", device("x", power_watts=None), known)["matmul"] == 0.8
    biased = device("x", "bias_attention", bytes_per_flop=0.03, power_watts=Fraction(100))
    assert carried("bias_attention", biased, [device("a", "bias_attention", bytes_per_flop=0.03)])["matmul"] == 0.8
    # Hopper's matrix units take less power; nothing is known of it here
    assert carried("gemm", device("x", architecture="hopper", power_watts=Fraction(100)), known)["matmul"] == 0.8


def test_error_correction_takes_a_sixteenth_of_the_rate() -> None:
    plain, corrected = device("a"), device("b", inline_ecc=True, bandwidth=0.75 * 15 / 16)
    for known in ([plain], [corrected], [plain, corrected]):
        assert carried("gemm", device("x"), known)["bandwidth"] == pytest.approx(0.75, rel=1e-3)
        assert carried("gemm", device("x", inline_ecc=True), known)["bandwidth"] == pytest.approx(0.7031, rel=1e-3)


def test_nobody_to_carry_from() -> None:
    with pytest.raises(ModelMeterError, match="no other device than x has fitted constants of moe"):
        carried("moe", device("x"), [device("a")])
