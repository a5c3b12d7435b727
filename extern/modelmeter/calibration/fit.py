"""Which device do measured times show: the roofline's own rates, fitted. Exact on times that a roofline made.

The model is that of `devices.roofline`: time = max(FLOPs / rate, bytes / bandwidth) + launch overhead.

- Bandwidth and overhead: the line through the copies' times over their bytes with the least squares of the residuals
  as shares of each time, so that an operator of 5 us weighs as much as one of 5 ms.
- Rates of GEMMs: the share `matmul` of the peaks, one for all types, with which the GEMMs that compute bounds
  take together the time that they were measured to take: a mean over FLOPs, not over shapes. Compute bounds a GEMM
  that takes longer to compute than to move its bytes, and than the overhead, at the best share that any GEMM shows.
- Peaks: given (the published ones of a known device), or else the best rate that any GEMM of the type shows; of
  the bandwidth, the fastest copy. A GEMM that took less than its bytes take at the fitted bandwidth found its
  operands in a cache, and one shorter than two overheads says nothing of a rate, nor does such a copy: none of them
  shows a peak or a share.
- Vector: what float32 GEMMs without TF32 reach, which run on the cores that are no matrix units.

Arithmetic is in fractions: nothing is rounded before the device's file is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from modelmeter.errors import ModelMeterError


@dataclass(frozen=True, kw_only=True)
class TimedCopy:
    """A copy that reads and writes `nbytes` bytes in all."""

    nbytes: int
    seconds: Fraction


@dataclass(frozen=True, kw_only=True)
class TimedProduct:
    """One call of a product. peak: its type's, as in a device file. count: how often a page runs it; 0: a probe."""

    name: str
    peak: str
    flops: int
    nbytes: int
    count: int
    seconds: Fraction


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Rates that the shares are shares of: FLOPs and bytes a second."""

    matmul: Mapping[str, Fraction]
    vector: Fraction
    bandwidth: Fraction


@dataclass(frozen=True, kw_only=True)
class Residual:
    """A GEMM's measured time beside the fitted one. bound: "compute", "memory" or "launch", the longest part."""

    product: TimedProduct
    predicted_s: Fraction
    bound: str

    @property
    def error(self) -> Fraction:
        """Measured less predicted time, as a share of the predicted one."""
        return self.product.seconds / self.predicted_s - 1


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The device that the times show. compute_bound: whether compute bounds any GEMM of the page; else `matmul`
    is the best share that any GEMM or probe shows.
    """

    peaks: Peaks
    matmul: Fraction
    vector: Fraction
    bandwidth: Fraction
    launch_s: Fraction
    compute_bound: bool
    residuals: tuple[Residual, ...]

    @property
    def median_error(self) -> Fraction:
        """The median size of the GEMMs' errors, as a share of the fitted times."""
        return median(abs(residual.error) for residual in self.residuals)

    @property
    def total_error(self) -> Fraction:
        """Measured less fitted time of all of a page's GEMMs together, as a share of the fitted one."""
        measured = sum(each.product.seconds * each.product.count for each in self.residuals)
        return Fraction(measured) / sum(each.predicted_s * each.product.count for each in self.residuals) - 1


def fit_transfers(copies: Sequence[TimedCopy]) -> tuple[Fraction, Fraction]:
    """(bytes a second, seconds an operator) of copies of at least two different sizes."""
    if len({copy.nbytes for copy in copies}) < 2:
        raise ModelMeterError("fit: bandwidth and overhead need copies of two different sizes.")
    _check_times("copy", [(str(copy.nbytes), copy.seconds) for copy in copies])
    # residual of a copy: (overhead + nbytes * slope) / seconds - 1; the normal equations of its square
    inverse = [1 / copy.seconds for copy in copies]
    scaled = [copy.nbytes / copy.seconds for copy in copies]
    ones, mixed, squares = _dot(inverse, inverse), _dot(inverse, scaled), _dot(scaled, scaled)
    right, right_bytes = sum(inverse, Fraction(0)), sum(scaled, Fraction(0))
    determinant = ones * squares - mixed * mixed
    launch = (right * squares - right_bytes * mixed) / determinant
    slope = (ones * right_bytes - mixed * right) / determinant
    if launch < 0:  # noise: an operator takes no time less than none
        launch, slope = Fraction(0), right_bytes / squares
    if slope <= 0:
        raise ModelMeterError(
            "fit: larger copies took no longer than smaller ones; measure again on a quieter machine."
        )
    return 1 / slope, launch


def _dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    return sum((one * other for one, other in zip(left, right, strict=True)), Fraction(0))


def fit_device(products: Sequence[TimedProduct], copies: Sequence[TimedCopy], peaks: Peaks | None = None) -> Fit:
    """The device that these times show; `peaks` None: the best rates among them stand for its peaks.

    A share above 1 (of peaks that are given) is refused: the peaks are another device's.
    """
    _check_times("GEMM", [(product.name, product.seconds) for product in products])
    bandwidth, launch_s = fit_transfers(copies)
    rates: dict[str, Fraction] = {}
    for product in products:
        beyond_s = product.seconds - launch_s
        if beyond_s >= max(product.nbytes / bandwidth, launch_s):  # else its operands lay in a cache
            rates[product.peak] = max(product.flops / beyond_s, rates.get(product.peak, Fraction(0)))
    if "fp32" not in rates:
        raise ModelMeterError(
            "fit: no float32 GEMM took as long as its bytes and an operator's overhead; measure a larger one."
        )
    if peaks is None:
        copied = [copy.nbytes / (copy.seconds - launch_s) for copy in copies if copy.seconds >= 2 * launch_s]
        # by the line itself, too: no copy need reach it
        peaks = Peaks(matmul=rates, vector=rates["fp32"], bandwidth=max(*copied, bandwidth))
    missing = sorted({product.peak for product in products} - set(peaks.matmul))
    if missing:
        raise ModelMeterError(
            f"fit: no peak is known for {', '.join(missing)}; give the peaks of a device that has them."
        )
    matmul, compute_bound = _matmul_share(products, peaks.matmul, bandwidth, launch_s)
    shares = {"matmul": matmul, "vector": rates["fp32"] / peaks.vector, "bandwidth": bandwidth / peaks.bandwidth}
    for name, share in shares.items():
        if share > 1:
            raise ModelMeterError(
                f"fit: {name} reaches {float(share):.4g} of the peak that was given; the peaks are another device's: "
                "give this one's, or none."
            )
    residuals = tuple(_residual(product, peaks.matmul, matmul, bandwidth, launch_s) for product in products)
    return Fit(
        peaks=peaks,
        matmul=matmul,
        vector=shares["vector"],
        bandwidth=shares["bandwidth"],
        launch_s=launch_s,
        compute_bound=compute_bound,
        residuals=residuals,
    )


def _matmul_share(
    products: Sequence[TimedProduct], peaks: Mapping[str, Fraction], bandwidth: Fraction, launch_s: Fraction
) -> tuple[Fraction, bool]:
    """The share of the peaks, and whether compute bounds any GEMM at it."""
    timed = [product for product in products if product.seconds - launch_s >= max(product.nbytes / bandwidth, launch_s)]
    at_peak = {product: product.flops / peaks[product.peak] for product in timed}
    best = max(at_peak[product] / (product.seconds - launch_s) for product in timed)
    bound = [
        product
        for product in timed
        if product.count and at_peak[product] / best >= max(product.nbytes / bandwidth, launch_s)
    ]
    if not bound:
        return best, False
    least = sum((at_peak[product] * product.count for product in bound), Fraction(0))
    return least / sum((product.seconds - launch_s) * product.count for product in bound), True


def _residual(
    product: TimedProduct, peaks: Mapping[str, Fraction], share: Fraction, bandwidth: Fraction, launch_s: Fraction
) -> Residual:
    compute, memory = product.flops / (peaks[product.peak] * share), product.nbytes / bandwidth
    bound = "launch" if launch_s > max(compute, memory) else "compute" if compute >= memory else "memory"
    return Residual(product=product, predicted_s=max(compute, memory) + launch_s, bound=bound)


def _check_times(what: str, times: Sequence[tuple[str, Fraction]]) -> None:
    if not times:
        raise ModelMeterError(f"fit: no {what} was timed.")
    for name, seconds in times:
        if seconds <= 0:
            raise ModelMeterError(f"fit: {what} {name} took {float(seconds):g} s; a time is above 0.")
