"""One call of real modules under all instruments at once: FLOPs, traffic, live set.

No instrument holds a tensor, so none disturbs another, and one run answers for all of them.

    measured = measure({"": module}, lambda: module(x))
    measured.flops, measured.io_bytes, measured.activation_peak_bytes, measured.peak_operator
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from modelmeter.errors import ModelMeterError
from modelmeter.reference._dispatch import Roots
from modelmeter.reference.flops import OperatorFlops, measure_flops
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.host_copies import HostCopies
from modelmeter.reference.memory import LiveSet
from modelmeter.reference.traffic import OperatorTraffic, Traffic, TrafficMeter


def no_cache() -> list[Tensor]:
    """The tensors of no cache."""
    return []


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One call. FLOPs: a multiply-add is 2. Paths are dotted, relative to the roots.

    activation_peak_bytes: what the call made, its KV cache included and the given one excluded; resident_peak_bytes:
    the given cache counted until its owner drops it. peak_operator, peak_path: the first to reach the activation peak.
    kv_bytes: held by the cache after the call. live_series: every operator, views included, and the bytes alive after
    it, as activation_peak_bytes counts them.
    """

    flops: int
    flops_by_module: Mapping[str, int]
    operator_flops: Sequence[OperatorFlops]
    traffic: Traffic
    operator_traffic: Sequence[OperatorTraffic]
    activation_peak_bytes: int
    resident_peak_bytes: int
    peak_operator: str
    peak_path: str
    kv_bytes: int
    live_series: Sequence[tuple[str, int]]

    @property
    def io_bytes(self) -> int:
        """Bytes read and written."""
        return self.traffic.total_bytes


def measure(
    roots: Roots,
    call: Callable[[], object],
    *,
    cached: Callable[[], list[Tensor]] = no_cache,
    experts_hit: int | None = None,
    device: str = "meta",
) -> Measurement:
    """Run `call` once, without gradients and with a GPU's fused attention and copies to the host, and measure it.

    cached: gives the tensors of the KV cache, before the call and after it. experts_hit: see `TrafficMeter`.
    device: whose memory the peaks are of; "cpu" stands for a GPU.
    """
    traffic = TrafficMeter(roots, kv=cached(), experts_hit=experts_hit)
    live, resident = LiveSet(roots, device=device), LiveSet(roots, given=cached(), device=device)
    try:
        with FusedAttention(), HostCopies(device), traffic, live, resident:
            count = measure_flops(roots, call)
    except ModelMeterError:
        raise
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelMeterError(f"reference: the modules cannot run this on the meta device: {reason}") from error
    traffic.mark_kv(cached())
    return Measurement(
        flops=count.total,
        flops_by_module=count.by_module,
        operator_flops=count.operators,
        traffic=traffic.total,
        operator_traffic=traffic.operators,
        activation_peak_bytes=live.peak_bytes,
        resident_peak_bytes=resident.peak_bytes,
        peak_operator=live.peak_operator,
        peak_path=live.peak_path,
        kv_bytes=sum(tensor.untyped_storage().nbytes() for tensor in cached()),
        live_series=live.series,
    )
