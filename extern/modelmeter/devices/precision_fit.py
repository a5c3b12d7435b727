"""Which precisions of a model fit a device: weights, what is left, the longest context, pages at once, seconds a page.

The best is the one with most bits a weight that holds the pages and the context that are asked for: how much worse a
model reads at fewer bits is published for few, and for none of these by a figure that could be weighed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from modelmeter.devices.device import Device, NoPeak
from modelmeter.devices.page_memory import DoesNotFit, Memory
from modelmeter.devices.pages import PageKind, prepared
from modelmeter.devices.stage_time import StageTimes
from modelmeter.devices.throughput import Interval, compute_throughput
from modelmeter.errors import ModelMeterError
from modelmeter.search import largest
from modelmeter.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from modelmeter.models.common.contract import CostModel


@dataclass(frozen=True, kw_only=True)
class PrecisionFit:
    """One precision on a device. Figures are None where the precision cannot run there, `refused` says why.

    bits: a weight of the decoder's layers, on average. left_bytes: of the device's memory for KV cache, and where the
    engine has no pool for activations too. context: tokens of one sequence at most; of_model: as many as the model has
    positions. pages_at_once: of those given, 0 where none fits. page_s: seconds of one page alone; pages_per_s: with as
    many at once as fit.
    """

    precision: str
    kv: str | None
    refused: str | None = None
    bits: float | None = None
    weight_bytes: int | None = None
    left_bytes: int | None = None
    context: int | None = None
    of_model: bool = False
    pages_at_once: int = 0
    page_s: Interval | None = None
    pages_per_s: Interval | None = None


def fits(
    precisions: Iterable[str],
    load: Callable[[str], CostModel],
    device: Device,
    kinds: Callable[[CostModel], Sequence[PageKind[Any]]],
    *,
    context: int | None = None,
) -> Iterator[PrecisionFit]:
    """Each precision on `device`; load: makes the model in one. kinds: the pages. context: asked for, at least."""
    for name in precisions:
        try:
            model = load(name).for_times()
        except ModelMeterError as error:
            yield PrecisionFit(precision=name, kv=None, refused=str(error))
            continue
        yield _fit(name, model, device, kinds(model), context)


def _fit(
    name: str, model: CostModel, device: Device, kinds: Sequence[PageKind[Any]], asked: int | None
) -> PrecisionFit:
    memory = Memory(model, prepared(tuple(kinds), model, Fraction(0)), "longest")
    need = memory.need(1, device)
    pool = need.pool
    left = device.memory_bytes - need.weight_bytes - need.reserve_bytes
    known: dict[str, Any] = {
        "precision": name,
        "kv": model.config.precision.kv,
        "bits": _bits(model),
        "weight_bytes": need.weight_bytes,
        "left_bytes": left if pool is None else min(left, pool.tokens * pool.token_bytes),
    }
    limit = memory.limits(device).max_model_len
    room = largest(lambda tokens: _holds(memory, tokens, device), limit) if pool is None else min(pool.tokens, limit)
    if room:
        known |= {"context": room, "of_model": room == limit}
    try:
        times = StageTimes(model, device)
        alone, most = (compute_throughput(model, device, kinds, batch_size=batch, times=times) for batch in (1, None))
    except DoesNotFit:
        lacking = max(need.total_bytes - device.memory_bytes, memory.page_cache_bytes - max(known["left_bytes"], 0))
        return PrecisionFit(**known, refused=f"the page does not fit: {lacking / 1e9:.2f} GB too few")
    except NoPeak as error:
        return PrecisionFit(**known, refused=f"{str(error).split(';')[0]}; modelmeter devices lists those that do")
    except ModelMeterError as error:
        return PrecisionFit(**known, refused=str(error))
    known |= {"pages_at_once": most.batch_size, "page_s": alone.interval("page_s")}
    known["pages_per_s"] = most.interval("pages_per_s")
    if asked is not None and room < asked:
        whose = "the model has no more positions" if known["of_model"] else "the memory holds no more"
        known["refused"] = f"context {asked:,} is asked for, {room:,} tokens fit: {whose}"
    return PrecisionFit(**known)


def _holds(memory: Memory[Any], tokens: int, device: Device) -> bool:
    """Whether a sequence of so many tokens, and the pages' prefill, fit a device by what passes hold."""
    peak = max(memory.prefill_peak_bytes, memory.model.step(tokens - 1, 0).resident_peak_bytes)
    reserve_bytes = memory.need(1, device).reserve_bytes
    return memory.weight_bytes + peak + reserve_bytes <= device.memory_bytes


def _bits(model: CostModel) -> float:
    """Bits of a weight of the decoder's layers."""
    layers = [each for path, each in model.model.named_parameters() if path.startswith("layers.")]
    nbytes: int = sum(each.nbytes for each in layers)
    numbers: int = sum(each.numel for each in layers)
    return BITS_PER_BYTE * nbytes / numbers


def best_of(found: Sequence[PrecisionFit]) -> PrecisionFit | None:
    """The one with most bits a weight, of those that fit; of equal ones the fastest; None: none fits."""
    return max(
        (each for each in found if each.refused is None),
        key=lambda each: (each.bits or 0, each.pages_per_s.value if each.pages_per_s else 0),
        default=None,
    )


def fastest_of(found: Sequence[PrecisionFit]) -> PrecisionFit | None:
    """The one with most pages a second, of those that fit."""
    return max(
        (each for each in found if each.refused is None),
        key=lambda each: each.pages_per_s.value if each.pages_per_s else 0,
        default=None,
    )
