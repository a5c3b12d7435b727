"""Times of kernels by hand, on a device of round figures; what a device's file may say of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmeter import kernel_classes
from modelmeter.calibration.kernel_carry import carried, kin_of
from modelmeter.devices import bundled_devices
from modelmeter.devices.kernel_time import (
    CONSTANTS,
    SECONDS,
    DeviceRates,
    bias_attention_seconds,
    convolution_seconds,
    gemm_seconds,
    generation_attention_seconds,
    moe_seconds,
    moving_seconds,
    overlapped,
    prefill_attention_seconds,
)
from modelmeter.errors import ModelMeterError
from tests.devices.synthetic import SOURCE, slow_device

#: 1,000 FLOPs and 100 bytes a second, 10 multiprocessors
RATES = DeviceRates(peak=1000.0, bandwidth=100.0, vector=500.0, processors=10, l2_bytes=60)
GEMM = {
    **{"overhead_s": 1.0, "matmul": 0.5, "bandwidth": 0.5, "overlap": 0.25, "tile": 128, "tile_half": 0.0},
    **{"waves": 0.0, "split_s": 0.0, "l2_share": 0.5, "l2_speed": 3.0},
}
MOE = {
    **{"overhead_s": 1.0, "matmul": 0.5, "bandwidth": 0.5, "overlap": 0.25, "activations": 2.0},
    **{"misaligned": 3.0, "few": 8, "tile_least": 32, "tile": 64},
}
PREFILL = {
    **{"overhead_s": 1.0, "matmul": 0.5, "exponentials": 0.5, "bandwidth": 0.5, "overlap": 0.0, "chain": 0.0},
    **{"waves": 0.0, "tile_rows": 128, "tile_rows_wide": 64, "tile_keys": 64},
}
DECODE = {
    **{"overhead_s": 1.0, "bandwidth": 0.5, "overlap": 0.0, "l2_share": 0.0, "l2_speed": 1.0},
    **{"tile_s": 100.0, "key_s": 3.0, "grouped_key_s": 0.5, "split_s": 7.0},
}


def test_the_shorter_part_hides_but_for_the_overlap() -> None:
    assert overlapped(8.0, 4.0, 0.25) == overlapped(4.0, 8.0, 0.25) == 9.0
    assert overlapped(8.0, 4.0, 0) == 8 and overlapped(8.0, 4.0, 1) == 12


def product(constants: dict[str, float], rows: Any, columns: Any, *, rates: DeviceRates = RATES, **sizes: Any) -> Any:
    """A product of depth 1: 2 x rows x columns FLOPs at 500 a second where nothing is lost."""
    flops = 2 * rows * columns * sizes.get("batch", 1)
    return gemm_seconds(constants, rates, rows=rows, columns=columns, flops=flops, nbytes=200, **sizes)


def test_a_product() -> None:
    whole = 2 * 128 * 128 / 500
    memory = 200 / 50  # at 50 bytes a second
    assert product(GEMM, 128, 128) == pytest.approx(1 + whole + 0.25 * memory)
    # half a tile takes as long as a whole one, and two tiles of 64 columns as much as one of 128
    assert product(GEMM, 64, 128) == pytest.approx(1 + whole + 0.25 * memory)
    assert product(GEMM | {"tile": 64}, 64, 128) == pytest.approx(1 + whole / 2 + 0.25 * memory)
    # two at once; of a weight whose columns nobody says: a square one
    assert product(GEMM, 128, 128, batch=2) == pytest.approx(1 + 2 * whole + 0.25 * memory)
    square = gemm_seconds(GEMM, RATES, rows=128, flops=2 * 128 * 128 * 128, nbytes=200)
    assert square == pytest.approx(1 + 128 * whole + 0.25 * memory)


def test_tiles_and_waves_of_a_product() -> None:
    whole = 2 * 128 * 128 / 500
    fast = replace(RATES, bandwidth=1e12)
    # a tile of 128 x 128 has 64 / (64 + 256 / 3) of its rate, the largest of 128 x 256 has a half
    assert product(GEMM | {"tile_half": 256 / 3}, 128, 128, rates=fast) == pytest.approx(1 + whole * 7 / 6)
    assert product(GEMM | {"tile_half": 256 / 3}, 128, 256, rates=fast) == pytest.approx(1 + 2 * whole)
    # one tile on ten multiprocessors: nine idle, a third of which counts; in eight parts only two do
    parts = {"waves": 1 / 3, "split_s": 1e6}
    assert product(GEMM | parts, 128, 128, rates=fast) == pytest.approx(1 + whole * (1 + 9 / 3))
    parts["split_s"] = 2.0
    eight = 1 + whole * (8 + 2 / 3) / 8 + 2
    assert product(GEMM | parts, 128, 128, rates=fast) == pytest.approx(eight)
    # eight sums of 128 x 128 in float32, written and read at 10^6 bytes a second; and the 200 bytes, at half of that
    slow = replace(RATES, bandwidth=1e6)
    summed = 8 * 128 * 128 * 4 * 2 / 1e6
    assert product(GEMM | parts, 128, 128, rates=slow) == pytest.approx(eight + summed + 0.25 * 200 / 5e5)


def test_weights_in_the_cache() -> None:
    """Half of the cache holds 30 bytes: all of 30 that go round, and of 60 a half to the third power."""
    for resident, held in ((30, 1), (60, 1 / 8), (0, 0)):
        seconds = gemm_seconds(GEMM, RATES, rows=128, columns=128, flops=0, nbytes=300, resident=resident)
        assert seconds == pytest.approx(1 + 6 * (1 - held + held / 3))


def test_a_block_of_experts() -> None:
    sizes = {"flops": 2000, "weight_bytes": 100, "activation_bytes": 50}
    # up to 8 rows of an expert in a tile of 16; then of 32, of 64, and two of 64
    for rows, padded in ((8, 16), (12, 32), (40, 64), (100, 128)):
        expected = 1 + 4 * padded / rows + 0.25 * 2 + 2 * 0.5
        assert moe_seconds(MOE, RATES, rows_an_expert=rows, **sizes) == pytest.approx(expected)
    slower = moe_seconds(MOE, RATES, rows_an_expert=8, misaligned=1, **sizes)
    assert slower == pytest.approx(1 + 3 * (4 * 2 + 0.25 * 2) + 2 * 0.5)


def test_attention_of_a_prefill_and_of_an_encoder() -> None:
    def seconds(causal: bool, **changes: float) -> Any:
        sizes = {"batch": 1, "heads": 10, "kv_heads": 10, "length": 256, "head_dim": 48}
        return prefill_attention_seconds(PREFILL | changes, RATES, causal=causal, **sizes)

    tile = 4 * 128 * 64 * 64 / (500 / 10) + 128 * 64 / (250 / 10)  # a head of 48 runs as one of 64
    # 20 query tiles over 10 multiprocessors: 2 each, of 4 key tiles, of which causal ones see 2 and 4
    assert seconds(False) == pytest.approx(1 + 2 * 4 * tile)
    assert seconds(True) == pytest.approx(1 + 2 * 3 * tile)
    assert seconds(False, chain=0.5) == pytest.approx(1 + (2 * 4 + 0.5 * 4) * tile)
    memory = 2 * (2 * 10 + 2 * 10) * 256 * 48 / 50
    assert seconds(False, overlap=0.5) == pytest.approx(1 + 2 * 4 * tile + 0.5 * memory)


def test_a_prefill_behind_other_keys() -> None:
    sizes = {"batch": 1, "heads": 10, "kv_heads": 10, "length": 256, "head_dim": 64, "causal": True}
    tile = 4 * 128 * 64 * 64 / 50 + 128 * 64 / 25
    # two query tiles for each multiprocessor, which see 2 and 4 key tiles of their own, and 4 of those before
    assert prefill_attention_seconds(PREFILL, RATES, **sizes) == pytest.approx(1 + 2 * 3 * tile)
    assert prefill_attention_seconds(PREFILL, RATES, before=256, **sizes) == pytest.approx(1 + 2 * 7 * tile)
    # the memory alone: queries and results of 256, keys and values of 512 positions
    memory = PREFILL | {"bandwidth": 1e-6}
    nbytes = 2 * 10 * 64 * (2 * 256 + 2 * 512)
    assert prefill_attention_seconds(memory, RATES, before=256, **sizes) == pytest.approx(1 + nbytes / 1e-4)


def test_the_last_wave() -> None:
    sizes = {"batch": 1, "heads": 1, "kv_heads": 1, "head_dim": 64, "causal": False}
    work = 4 * 128 * 64 * 64 / 50 + 128 * 64 / 25
    for length, tiles in ((128, 1), (128 * 12, 12)):
        fill = (10 if tiles == 1 else 20) / tiles - 1
        expected = tiles / 10 * (length / 64) * (1 + 0.5 * fill) * work
        got = prefill_attention_seconds(PREFILL | {"waves": 0.5}, RATES, length=length, **sizes)
        assert got == pytest.approx(1 + expected)


def test_a_decode_step() -> None:
    own = generation_attention_seconds(DECODE, RATES, batch=2, heads=4, kv_heads=4, keys=200, head_dim=64)
    assert own == max(100 * 8 / 10 + 3 * 200 / 2, 4 * 2 * (4 + 4 * 200) * 64 / 50) + 1
    shared = generation_attention_seconds(DECODE, RATES, batch=2, heads=4, kv_heads=2, keys=200, head_dim=64)
    assert shared == max(100 * 4 / 10 + 0.5 * 200 / 2, 4 * 2 * (4 + 2 * 200) * 64 / 50) + 1 + 7
    few = generation_attention_seconds(DECODE, RATES, batch=2, heads=4, kv_heads=2, keys=128, head_dim=64)
    assert few == max(100 * 4 / 10 + 0.5 * 128 / 2, 4 * 2 * (4 + 2 * 128) * 64 / 50) + 1


def test_attention_with_a_bias() -> None:
    biased = {"overhead_s": 1.0, "matmul": 0.5, "bytes_per_flop": 0.1}
    # 2,000 FLOPs at 500 a second, then 100 bytes at a tenth of 500 a second; the memory needs a second for them
    assert bias_attention_seconds(biased, RATES, flops=2000, nbytes=100) == 1 + 4 + 2
    # hardly a product: 100 bytes a second of the memory's are what counts
    assert bias_attention_seconds(biased | {"bytes_per_flop": 1}, RATES, flops=0, nbytes=400) == 1 + 4


def test_a_convolution() -> None:
    conv = {"overhead_s": 1.0, "matmul": 0.5, "vector": 0.25, "depth_s": 0.125}
    sizes = {"flops": 2000, "nbytes": 50}
    assert convolution_seconds(conv, RATES, channels=16, depth=144, **sizes) == 1 + 18 + 2000 / 500
    # three channels fill no matrix unit: a quarter of 500 FLOPs a second
    assert convolution_seconds(conv, RATES, channels=3, depth=144, **sizes) == 1 + 18 + 2000 / 125
    assert convolution_seconds(conv, RATES, channels=16, depth=0, flops=0, nbytes=50) == 1 + 0.5


def test_a_chain_of_pointwise_operators() -> None:
    moving = {"overhead_s": 1.0, "bandwidth": 0.25, "bytes_per_flop": 0.2}
    # 24 of 60 bytes of the cache hold operands: 100 bytes a second of the vector units, 25 of the memory
    assert moving_seconds(moving, RATES, nbytes=20) == 1 + 20 / 100
    assert moving_seconds(moving, RATES, nbytes=224) == 1 + 200 / 25


def test_every_class_has_a_time() -> None:
    assert set(SECONDS) == set(kernel_classes.CLASSES)


@pytest.mark.parametrize(
    "device",
    [each for each in bundled_devices() if "bf16" in each.matmul_flops_per_s and each.kernels],
    ids=lambda each: each.name,
)
def test_times_grow_with_sizes_on_every_device_that_has_constants(device: Any) -> None:
    rates = device.rates("bf16")
    rows = np.array([1.0, 16, 64, 256, 1024, 8192])
    gemm = device.kernels["gemm"].values

    def product(rows: Any) -> Any:
        sizes = {"flops": 2 * rows * 1280 * 1280, "nbytes": 2 * (1280 * 1280 + 2560 * rows)}
        return gemm_seconds(gemm, rates, rows=rows, columns=1280, **sizes)

    times = product(rows)
    assert (np.diff(times) > 0).all()
    assert times[2] == product(64)  # of numbers as of arrays
    keys = np.array([1.0, 100, 1000, 10_000])
    decode = device.kernels["generation_attention"].values
    for kv_heads in (10, 2):
        times = generation_attention_seconds(
            decode, rates, batch=16, heads=10, kv_heads=kv_heads, keys=keys, head_dim=128
        )
        assert (np.diff(times) > 0).all()
    lengths = np.array([1.0, 257, 577, 1025, 4096])
    for name, causal in (("context_attention", True), ("encoder_attention", False)):
        if name in device.kernels:
            sizes = {"batch": 1, "heads": 16, "kv_heads": 16, "head_dim": 64}
            times = prefill_attention_seconds(
                device.kernels[name].values, rates, length=lengths, causal=causal, **sizes
            )
            assert (np.diff(times) > 0).all()


FITTED_CLASSES = {
    "A100-80G": ["gemm", "moe", "context_attention", "generation_attention", "elementwise"],
    "H100-SXM": list(kernel_classes.CLASSES),
    "H200": [name for name in kernel_classes.CLASSES if name not in ("elementwise", *kernel_classes.COLLECTIVES)],
    "L40S": [
        *("gemm", "moe", "context_attention", "encoder_attention", "generation_attention"),
        *kernel_classes.COLLECTIVES,
    ],
    "RTX-PRO-6000-Server": [
        *("gemm", "moe", "context_attention", "encoder_attention", "generation_attention", "elementwise"),
    ],
    "RTX-4090": ["gemm", "context_attention", "generation_attention", "elementwise"],
}


def test_every_gpu_has_every_class_and_says_from_where() -> None:
    for device in bundled_devices():
        classes = set(() if device.kind == "cpu" else kernel_classes.CLASSES)
        assert set(device.kernels) == classes.difference(() if device.link else kernel_classes.COLLECTIVES), device.name
        fitted = [name for name, constants in device.kernels.items() if constants.origin == "fitted"]
        assert fitted == FITTED_CLASSES.get(device.name, []), device.name
        for name, constants in device.kernels.items():
            assert constants.errors is not None and 0 < constants.errors.median < constants.errors.p90, device.name
            assert constants.origin in ("fitted", "carried") and constants.source
            assert (constants.fitted_rows > 0) == (constants.origin == "fitted")
            if constants.origin == "fitted" and name not in ("copy", "convolution"):
                assert constants.errors.median <= 0.12, (device.name, name)


def test_what_is_carried_is_what_its_source_says() -> None:
    devices = {device.name: device for device in bundled_devices()}
    checked = 0
    for device in devices.values():
        for name, constants in device.kernels.items():
            if constants.origin == "carried":
                kin = constants.source.split("; ")[0].split(", ")
                assert kin == [each.name for each in kin_of(name, device, list(devices.values()))]
                assert constants.values == carried(name, device, list(devices.values())), (device.name, name)
                checked += 1
    assert checked > 200


# -- a file of the user's own ----------------------------------------------------------------------------------------

COPY = {"overhead_s": 2e-6, "bandwidth": 0.5, "bytes_per_flop": 0.05, "origin": "given", "source": "my own"}


def test_constants_of_the_users_own(tmp_path: Path) -> None:
    device = slow_device(tmp_path, kernels={"copy": COPY})
    assert dict(device.kernels["copy"].values) == {"overhead_s": 2e-6, "bandwidth": 0.5, "bytes_per_flop": 0.05}
    assert (device.kernels["copy"].origin, device.kernels["copy"].errors) == ("given", None)
    assert not slow_device(tmp_path).kernels


@pytest.mark.parametrize(
    "kernels, text",
    [
        ({"gemms": COPY}, "slow.yaml: kernels.gemms is no key of kernels, whose names are classes of kernels"),
        ({"copy": COPY | {"speed": 1}}, "kernels.copy.speed is no key of the constants of copy"),
        ({"copy": COPY | {"bandwidth": 1.2}}, "kernels.copy.bandwidth=1.2 is too large; give 1 or less"),
        ({"copy": COPY | {"bandwidth": -0.1}}, "kernels.copy.bandwidth=-0.1 is too small"),
        ({"copy": COPY | {"overhead_s": -1e-6}}, "kernels.copy.overhead_s=-1e-06 is too small; give 0 or more"),
        ({"copy": COPY | {"origin": "guessed"}}, "kernels.copy.origin=guessed is unknown"),
        ({"copy": {"bandwidth": 0.5}}, "kernels.copy.overhead_s is missing; a class has all of its constants"),
        (
            {"encoder_attention": PREFILL | {"origin": "given", "source": "mine"}},
            "kernels.encoder_attention needs the number of multiprocessors; add multiprocessors with its source",
        ),
    ],
)
def test_wrong_constants_are_refused(kernels: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError) as raised:
        slow_device(tmp_path, kernels=kernels)
    assert text in str(raised.value)


def test_multiprocessors_have_a_source(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match="multiprocessors has no source"):
        slow_device(tmp_path, multiprocessors=4)
    source = SOURCE | {"figures": [*SOURCE["figures"], "multiprocessors"]}
    assert slow_device(tmp_path, multiprocessors=4, sources=[source]).multiprocessors == 4


def test_every_class_has_constants() -> None:
    assert set(CONSTANTS) == set(kernel_classes.CLASSES)
