"""The fit finds the rates of the roofline that made the times, exactly."""

from dataclasses import replace
from fractions import Fraction

import pytest

from modelmeter.calibration.fit import Peaks, TimedCopy, fit_device, fit_transfers
from modelmeter.errors import ModelMeterError
from tests.calibration.synthetic import BANDWIDTH, COPIES, LAUNCH_S, PRODUCTS, RATES, product


def test_a_synthetic_device_is_found_exactly() -> None:
    fit = fit_device(PRODUCTS, COPIES)
    assert {peak: rate * fit.matmul for peak, rate in fit.peaks.matmul.items()} == RATES
    assert fit.peaks.bandwidth * fit.bandwidth == BANDWIDTH
    assert fit.peaks.vector * fit.vector == RATES["fp32"]
    assert fit.launch_s == LAUNCH_S
    assert fit.compute_bound
    assert [residual.error for residual in fit.residuals] == [0] * len(PRODUCTS)
    assert (fit.median_error, fit.total_error) == (0, 0)
    assert [residual.bound for residual in fit.residuals] == ["compute", "compute", "memory", "launch", "compute"]


def test_shares_of_peaks_that_are_known() -> None:
    share = Fraction(3, 5)
    peaks = Peaks(
        matmul={peak: rate / share for peak, rate in RATES.items()},
        vector=RATES["fp32"] * 4,
        bandwidth=BANDWIDTH * Fraction(9, 8),
    )
    fit = fit_device(PRODUCTS, COPIES, peaks)
    assert (fit.matmul, fit.vector, fit.bandwidth) == (share, Fraction(1, 4), Fraction(8, 9))
    assert fit.peaks is peaks


def test_the_share_is_a_mean_over_flops() -> None:
    # 1e11 FLOPs three times at half the rate, 7e11 five times at the whole: 38e11 FLOPs in the time of 41e11
    slow = replace(PRODUCTS[0], seconds=(PRODUCTS[0].seconds - LAUNCH_S) * 2 + LAUNCH_S)
    fit = fit_device([slow, *PRODUCTS[1:]], COPIES)
    assert fit.matmul == Fraction(38, 41)
    assert fit.total_error == 0


def test_what_a_cache_or_the_overhead_hides_shows_no_rate() -> None:
    cached = replace(product("cached", 10**6, 10**8, 50), seconds=LAUNCH_S * 3)
    short = replace(product("short", 10**9, 10, 50), seconds=LAUNCH_S * Fraction(11, 10))
    fit = fit_device([*PRODUCTS, cached, short], COPIES)
    assert (fit.peaks.matmul, fit.matmul) == (RATES, 1)


def test_a_page_that_compute_does_not_bind() -> None:
    fit = fit_device([PRODUCTS[2], PRODUCTS[-1], replace(PRODUCTS[0], count=0)], COPIES)
    assert not fit.compute_bound
    assert fit.matmul * fit.peaks.matmul["bf16"] == RATES["bf16"]
    assert fit.bandwidth * fit.peaks.bandwidth == BANDWIDTH


def test_an_overhead_is_never_negative() -> None:
    copies = [TimedCopy(nbytes=size, seconds=Fraction(size) ** 2) for size in (10, 20)]
    bandwidth, launch_s = fit_transfers(copies)
    # t = 100 and 400 over 10 and 20 bytes: without an overhead, the slope is (1/10 + 1/20) / (1/100 + 1/400)
    assert (bandwidth, launch_s) == (Fraction(1, 12), 0)


@pytest.mark.parametrize(
    "products, copies, peaks, words",
    [
        ([], COPIES, None, "no GEMM was timed"),
        (PRODUCTS, COPIES[:1], None, "two different sizes"),
        (PRODUCTS[:3], COPIES, None, "no float32 GEMM"),
        ([replace(PRODUCTS[0], seconds=Fraction(0)), *PRODUCTS[1:]], COPIES, None, "GEMM large took 0 s"),
        (PRODUCTS, [TimedCopy(nbytes=4, seconds=Fraction(9)), COPIES[0]], None, "took no longer than smaller"),
        (PRODUCTS, COPIES, Peaks(matmul={"fp32": Fraction(10**12)}, vector=RATES["fp32"], bandwidth=BANDWIDTH), "bf16"),
        (PRODUCTS, COPIES, Peaks(matmul=RATES, vector=RATES["fp32"], bandwidth=BANDWIDTH / 2), "bandwidth reaches 2 "),
    ],
)
def test_times_that_show_nothing_are_refused(products, copies, peaks, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelMeterError, match=words):
        fit_device(products, copies, peaks)
