"""One call of real modules under all instruments at once: FLOPs, elements, traffic, live set, weights, KV cache.

No instrument holds a tensor, so none disturbs another, and one run answers for all of them.

    measured = measure({"": module}, lambda: module(x))
    measured.flops, measured.io_bytes, measured.activation_peak_bytes, measured.peak_operator
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from modelmeter.errors import ModelMeterError
from modelmeter.reference._dispatch import Roots, by_path
from modelmeter.reference.elements import ElementCount
from modelmeter.reference.flops import OperatorFlops, measure_flops
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.host_copies import HostCopies
from modelmeter.reference.in_place_bias import InPlaceBias
from modelmeter.reference.memory import LiveSet
from modelmeter.reference.traffic import OperatorTraffic, Traffic, TrafficMeter


def no_cache() -> list[Tensor]:
    """The tensors of no cache."""
    return []


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One call. FLOPs: a multiply-add is 2. Paths are dotted, relative to the roots.

    elements: by operator, of what is no product. activation_peak_bytes: what the call made, its KV cache included and
    the given one excluded; resident_peak_bytes: the given cache counted until its owner drops it. peak_operator,
    peak_path, peak_run: the first operator to reach the activation peak, its module, and which run of that module's
    outermost part. weight_bytes: distinct parameters. kv_bytes: held by the cache after the call; kv_added_bytes: how
    much more than before it. live_series, element_series: every operator, views included, with the bytes alive after
    it, as activation_peak_bytes counts them, and with its elements.
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
    peak_run: int
    elements: Mapping[str, int]
    weight_bytes: int
    kv_bytes: int
    kv_added_bytes: int
    live_series: Sequence[tuple[str, int]]
    element_series: Sequence[tuple[str, int]]

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
    weights: Sequence[nn.Module | nn.Parameter] | None = None,
) -> Measurement:
    """Run `call` once, without gradients, as a GPU runs attention, biases and copies to the host, and measure it.

    cached: gives the tensors of the KV cache, before the call and after it. experts_hit: see `TrafficMeter`.
    device: whose memory the peaks are of; "cpu" stands for a GPU. weights: the parts whose parameters the call needs,
    all under the roots where there is no such list; a call that reads another one is refused.
    """
    traffic = TrafficMeter(roots, kv=cached(), experts_hit=experts_hit)
    live, resident = LiveSet(roots, device=device), LiveSet(roots, given=cached(), device=device)
    elements = ElementCount(roots)
    known = parameters(by_path(roots).values())
    needed = known if weights is None else parameters(weights)
    kv_bytes_before = stored_bytes(cached())
    try:
        with FusedAttention(), InPlaceBias(), HostCopies(device), traffic, live, resident, elements:
            count = measure_flops(roots, call)
    except ModelMeterError:
        raise
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelMeterError(f"reference: the modules cannot run this on the meta device: {reason}") from error
    traffic.mark_kv(cached())
    needed_ids = {id(each) for each in needed}
    unlisted = [each for each in traffic.read_of(known) if id(each) not in needed_ids]
    if unlisted:
        raise ModelMeterError(
            f"measurement: the call reads {len(unlisted)} parameters, the first of shape {list(unlisted[0].shape)}, "
            "that are in none of the parts listed as its weights; list their part."
        )
    kv_bytes = stored_bytes(cached())
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
        peak_run=live.peak_run,
        elements=dict(elements.by_operator),
        weight_bytes=stored_bytes(needed),
        kv_bytes=kv_bytes,
        kv_added_bytes=kv_bytes - kv_bytes_before,
        live_series=live.series,
        element_series=elements.series,
    )


def parameters(parts: Iterable[nn.Module | nn.Parameter]) -> list[nn.Parameter]:
    """Every parameter of some parts, once. Buffers are none: no checkpoint holds them."""
    found: dict[int, nn.Parameter] = {}
    for part in parts:
        found |= {id(each): each for each in ([part] if isinstance(part, nn.Parameter) else part.parameters())}
    return list(found.values())


def stored_bytes(held: Iterable[Tensor]) -> int:
    """Bytes of the storages of some tensors, each once."""
    storages = {each.untyped_storage()._cdata: each.untyped_storage().nbytes() for each in held}
    return sum(storages.values())
