"""Memory that pages need of a device, and how many of them fit at once.

An engine with a pool (`engine.Pool`) allocates the cache once and fills it with pages, each in whole blocks; what
passes hold beside is in its reserve. Code without one needs what its walks hold: weights, every page's cache, and the
larger of a step's and of one prefill's activations, beside what is left free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final, Generic

from modelmeter.devices.decode import before_last
from modelmeter.devices.device import Device, bundled_devices
from modelmeter.devices.engine import Limits, Pool, limits_of
from modelmeter.devices.pages import Page, Prepared, ServedModel
from modelmeter.devices.roofline import Roofline
from modelmeter.errors import ModelMeterError, near
from modelmeter.memory import amount, reserve_on, smaller_reserve
from modelmeter.search import largest

#: which cache every page of a batch is given room for: that of the longest page at its end, or that of the average
#: page at its average moment
LONGEST: Final = "longest"
MEAN: Final = "mean"
CACHES: Final = (LONGEST, MEAN)


class DoesNotFit(ModelMeterError):
    """A workload needs more memory than the device has."""


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """Bytes that a batch needs: weights, the cache of every page, what a pass holds besides at its peak, a reserve.

    load_bytes: beside the weights while they are brought there, before there is any cache. pool: of an engine that has
    one; then what a pass holds is in the reserve, with all that the engine leaves alone.
    """

    weight_bytes: int
    cache_bytes: int
    activation_bytes: int
    reserve_bytes: int
    load_bytes: int
    pool: Pool | None = None

    @property
    def total_bytes(self) -> int:
        """All that is there at once: cache and activations, or what loading takes where that is more."""
        return self.weight_bytes + max(self.cache_bytes + self.activation_bytes, self.load_bytes) + self.reserve_bytes


class Memory(Generic[Page]):
    """How much memory a batch of a workload needs: in decode, and while one page is prefilled beside the others."""

    def __init__(self, model: ServedModel[Page], kinds: Sequence[Prepared[Page]], cache: str) -> None:
        if cache not in CACHES:
            raise ModelMeterError(f"throughput: cache={cache} is unknown; {near(cache, CACHES)}")
        self.model = model
        prefills = [each.page.prefill for each in kinds]
        self.weight_bytes = max(prefill.weight_bytes for prefill in prefills)
        self.prefill_peak_bytes = max(prefill.resident_peak_bytes for prefill in prefills)
        #: of a token of the prompt; every token's, but for one that a window lets go
        self.token_bytes = max(1, prefills[0].kv_bytes // kinds[0].page.seq_len)
        self.before = self._longest(kinds) if cache == LONGEST else self._mean(kinds)
        if self.before is None:
            self.page_cache_bytes = max(prefill.kv_bytes for prefill in prefills)
        else:
            self.page_cache_bytes = model.step(*self.before).kv_bytes

    def _longest(self, kinds: Sequence[Prepared[Page]]) -> tuple[int, int] | None:
        """Tokens before the last step that holds most, and how many of them came from steps; None: no page has one."""
        last = {
            (each.page.seq_len + generated, generated)
            for each in kinds
            for output in each.outputs
            if output.output_tokens
            for generated in (before_last(self.model.decode_runs(output.output_tokens)),)
        }
        if self.model.steps_by_context or not last:
            return max(last, default=None)
        return max(sorted(last), key=lambda before: self.model.step(*before).resident_peak_bytes)

    @staticmethod
    def _mean(kinds: Sequence[Prepared[Page]]) -> tuple[int, int] | None:
        """The same before a step on average over all steps of all pages, rounded up.

        Where a cache stops growing it holds no more than that at its average moment.
        """
        steps = tokens = generated = Fraction(0)
        for each in kinds:
            for count, share in each.outputs:
                steps += share * count
                tokens += share * each.page.seq_len * count
                generated += share * (count * (count - 1) // 2)
        if not steps:
            return None
        context = ceil((tokens + generated) / steps)
        return context, min(ceil(generated / steps), context)

    def limits(self, device: Device) -> Limits:
        """What the model's engine takes of a device."""
        return limits_of(self.model, device)

    def need(self, batch_size: int, device: Device) -> MemoryNeed:
        """What `batch_size` pages at once need on a device."""
        limits = self.limits(device)
        if limits.utilization is None:
            return self._walked(batch_size, device)
        pool = Pool.of(limits, device.memory_bytes, self.weight_bytes, self.token_bytes)
        left_alone = device.memory_bytes - int(limits.utilization * device.memory_bytes)
        return MemoryNeed(
            weight_bytes=self.weight_bytes,
            cache_bytes=self._pool_tokens(batch_size, pool) * self.token_bytes,
            activation_bytes=0,
            reserve_bytes=limits.reserve_bytes + left_alone,
            load_bytes=self.model.load_bytes,
            pool=pool,
        )

    def _pool_tokens(self, batch_size: int, pool: Pool) -> int:
        """Tokens of a pool that so many requests take: those that find a prefix in it hold its blocks together."""
        request = self.model.request
        together = max(int(batch_size * request.hit_share) - 1, 0)
        return batch_size * pool.page_tokens(self.page_cache_bytes) - together * request.cached_tokens

    def in_pool(self, pool: Pool) -> int:
        """How many requests a pool holds."""
        return largest(lambda batch_size: self._pool_tokens(batch_size, pool) <= pool.tokens)

    def _walked(self, batch_size: int, device: Device) -> MemoryNeed:
        """By what passes hold."""
        cache_bytes = batch_size * self.page_cache_bytes
        peaks = [self.prefill_peak_bytes + cache_bytes - self.page_cache_bytes]
        if self.before is not None:
            peaks.append(self.model.batched(batch_size).step(*self.before).resident_peak_bytes)
        return MemoryNeed(
            weight_bytes=self.weight_bytes,
            cache_bytes=cache_bytes,
            activation_bytes=max(*peaks, cache_bytes) - cache_bytes,
            reserve_bytes=reserve_on(device.kind, self.model.reserve_bytes),
            load_bytes=self.model.load_bytes,
        )

    def fits(self, batch_size: int, device: Device) -> bool:
        """Whether `device` holds `batch_size` pages at once."""
        need = self.need(batch_size, device)
        if need.pool is not None and self._pool_tokens(batch_size, need.pool) > need.pool.tokens:
            return False
        return need.total_bytes <= device.memory_bytes

    def largest_batch(self, device: Device) -> int:
        """The most pages at once that fit and the engine runs, 0 if not even one does; 1 for pages without steps."""
        limit = 1 if self.before is None else self.limits(device).max_num_seqs
        return largest(lambda batch_size: self.fits(batch_size, device), limit)

    def checked_batch(
        self, device: Device, batch_size: int | None, kinds: Sequence[Prepared[Page]], float32: str, name: str
    ) -> int:
        """The batch that was asked for as `name`, if it fits, or the largest that does."""
        if batch_size is None:
            batch = self.largest_batch(device)
            if batch:
                return batch
        elif isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ModelMeterError(f"throughput: {name}={batch_size!r} is no number of pages; give 1 or more.")
        else:
            most = self.limits(device).max_num_seqs
            if most is not None and batch_size > most:
                raise ModelMeterError(
                    f"throughput: {name}={batch_size} is more than engine={self.model.engine.name} runs at once on "
                    f"{device.name}: {most} sequences; give {most} or fewer, or engine.max_num_seqs={batch_size}."
                )
            if self.fits(batch_size, device):
                return batch_size
        raise DoesNotFit(self._does_not_fit(device, batch_size or 1, kinds, float32))

    def _does_not_fit(self, device: Device, batch_size: int, kinds: Sequence[Prepared[Page]], float32: str) -> str:
        """By how much a batch is too large for a device, and what would fit."""
        need = self.need(batch_size, device)
        smaller = self.largest_batch(device) if batch_size > 1 else 0
        ways = [f"a batch of up to {smaller} fits"] if smaller else []
        if need.pool is None:
            reserve = smaller_reserve(need.total_bytes, need.reserve_bytes, device.memory_bytes)
            if reserve is not None:
                ways.append(reserve)
        else:
            share = self._utilization(need, device)
            if share <= 1:
                ways.append(f"engine.gpu_memory_utilization={share:g} or more holds it")
        larger, _ = self.first_to_run(bundled_devices(), batch_size, kinds, float32)
        if larger is not None:
            ways.append(f"the smallest bundled device that runs that is {larger.name}")
        if not need.load_bytes:
            ways.append("fewer output tokens or a mode with fewer tokens need less")
            parts = f"cache {_gb(need.cache_bytes)}, activations {_gb(need.activation_bytes)}"
        else:
            ways.append("runtime.load=direct needs less")
            parts = (
                f"cache {_gb(need.cache_bytes)} and activations {_gb(need.activation_bytes)}, or loading "
                f"{_gb(need.load_bytes)}"
            )
        if need.pool is not None:
            held = f"; engine={self.model.engine.name} has a pool of {need.pool.tokens:,} tokens there, a page takes "
            parts += f", reserve {_gb(need.reserve_bytes)}{held}{need.pool.page_tokens(self.page_cache_bytes):,}"
        else:
            parts += f", reserve {_gb(need.reserve_bytes)}"
        lacking = max(need.total_bytes - device.memory_bytes, 0)
        return (
            f"device {device.name}: {batch_size} page{'s at once need' if batch_size > 1 else ' at once needs'} "
            f"{amount(need.total_bytes)}: weights {_gb(need.weight_bytes)}, {parts}; "
            f"that is {_gb(lacking)} more than its {amount(device.memory_bytes)}; "
            f"{'; '.join(ways)}."
        )

    def _utilization(self, need: MemoryNeed, device: Device) -> float:
        """The share of memory with which a pool holds a batch, in thousandths, rounded up."""
        limits = self.limits(device)
        used = need.weight_bytes + max(need.cache_bytes, need.load_bytes) + limits.reserve_bytes
        return ceil(1000 * used / device.memory_bytes) / 1000

    def first_to_run(
        self, devices: Iterable[Device], batch_size: int, kinds: Sequence[Prepared[Page]], float32: str
    ) -> tuple[Device | None, list[str]]:
        """The device with the least memory that holds the batch and has the peaks for it; why smaller ones do not."""
        walk = self.model.stage_walk("prefill", page=kinds[0].page)  # any page's: all compute in the same types
        refused = []
        for device in sorted(devices, key=lambda device: (device.memory_bytes, device.name)):
            if not self.fits(batch_size, device):
                lacking = self.need(batch_size, device).total_bytes - device.memory_bytes
                refused.append(f"{device.name} lacks {_gb(max(lacking, 0))}")
                continue
            roofline = Roofline(device, float32=float32)
            try:
                roofline.stage(walk)
            except ModelMeterError as error:
                refused.append(str(error).split(";")[0])
                continue
            return device, refused
        return None, refused


def _gb(nbytes: int) -> str:
    return f"{nbytes / 10**9:.3f} GB"
