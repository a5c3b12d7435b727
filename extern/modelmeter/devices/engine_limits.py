"""What limits an engine on a device: its pool, who fits in it, what it reserves and what pages need, what to set.

    >>> kinds = [PageKind(page=cost_model.page(1275, 1650), output_tokens=1000)]
    >>> answer = engine_limits(cost_model, load_device("L4"), kinds)  # engine=vllm
    >>> answer.now.pool.tokens, answer.now.at_once, answer.advised.settings

An engine keeps `utilization` of the memory for weights, pool and what a pass holds. vLLM learns the last by its profile
run (`models.common.profile_run`), in which it takes the largest image that its processor knows: pages may need more.
Then it allocates beyond its share, from what it left alone, where the process's context and CUDA graphs are too: for
these `runtime.reserve_bytes` stay (assumed: 1 GiB; half a GiB is gone before vLLM starts, and graphs took 0.10 to 1.03
GiB of an H100, reports/engine-limits.md). SGLang runs no such profile: what a pass holds is in what it leaves alone.

Advice is the largest number of requests whose pages the pool holds at once, and the largest share of memory that leaves
room for what is not in it; every figure of `advised` is computed as those of `now` are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from math import floor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelmeter.devices.device import Device, bundled_devices
from modelmeter.devices.engine import Pool, limits_of, reserve_bytes
from modelmeter.devices.page_memory import LONGEST, MEAN, Memory
from modelmeter.devices.pages import PageKind, prepared
from modelmeter.devices.throughput import Interval, compute_throughput
from modelmeter.errors import ModelMeterError
from modelmeter.memory import amount, reserve_on
from modelmeter.models.common.profile_run import (
    ROWS_APART,
    EncoderBudget,
    ProfileRun,
    decoder_bytes,
    encoder_bytes,
    token_bytes,
)
from modelmeter.search import largest
from modelmeter.units import ceil_div

if TYPE_CHECKING:
    from modelmeter.models.common.contract import CostModel

#: engines with a pool: whether their steps hold prompts beside the tokens of requests that decode
_MIXED: Final[Mapping[str, bool]] = MappingProxyType({"vllm": True, "sglang": False})
#: layouts of many that are walked: those of most tokens, and those whose images fill a step's budget most
_WALKED: Final = 4
#: tokens of a pass are advised in multiples of this
_STEP_TOKENS: Final = 256

#: what may be the least of those that decide how many requests run at once
POOL: Final = "pool"
SEQUENCES: Final = "max_num_seqs"


class Settings(NamedTuple):
    """What an engine is set to, by the names that the group `engine` has."""

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images that a step encodes at most, of one layout.

    label: of the pages, as the user told them apart. tokens: of one. count: of a step. bytes: what encoding them holds
    at most, with what the encoder cache holds beside.
    """

    label: str
    layout: Any
    tokens: int
    count: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What holds at some settings.

    share_bytes: of the device's memory, for weights, `reserve_bytes` and the pool. page_tokens, mean_tokens: of the
    pool, for the longest page at its end, and for the average page at its average moment. in_pool: the longest pages
    that the pool holds to their ends. mean_in_pool: average ones, of which some are preempted if all grow together; in
    both those that find the declared prefix hold its blocks together. run: the engine's profile run; None: it has none.
    images: of the pages, those that hold most. decoder_bytes: of a pass of `max_num_batched_tokens`, with a full
    encoder cache. budget: of the encoder, tokens; None: the engine has none.
    """

    settings: Settings
    share_bytes: int
    weight_bytes: int
    reserve_bytes: int
    left_alone_bytes: int
    pool: Pool
    page_tokens: int
    mean_tokens: int
    in_pool: int
    mean_in_pool: int
    run: ProfileRun | None
    budget: EncoderBudget | None
    cache_bytes: int
    images: Images
    decoder_bytes: int
    reserved_for_passes: int

    @property
    def blocks(self) -> int:
        """Blocks of the pool."""
        return self.pool.tokens // self.pool.block_size

    @property
    def at_max_model_len(self) -> float:
        """Requests of `max_model_len` that the pool holds, as vLLM prints it."""
        return self.blocks / ceil_div(self.settings.max_model_len, self.pool.block_size)

    @property
    def at_once(self) -> int:
        """The longest pages that run at once and are never preempted."""
        return min(self.deciding.values())

    @property
    def deciding(self) -> dict[str, int]:
        """What each limit allows at once. A step's tokens never decide: engines refuse fewer than sequences."""
        return {POOL: self.in_pool, SEQUENCES: self.settings.max_num_seqs}

    @property
    def binds(self) -> str:
        """What decides."""
        return min(self.deciding, key=lambda name: self.deciding[name])

    @property
    def real_bytes(self) -> int:
        """What the passes of these pages hold at most."""
        return max(self.images.bytes, self.decoder_bytes)

    @property
    def beyond_bytes(self) -> int:
        """Of that, what is beyond the engine's share; 0: it reserved as much."""
        return max(0, self.real_bytes - self.reserved_for_passes)

    @property
    def room_bytes(self) -> int:
        """What stays of the memory for context and graphs, with all passes at their peaks."""
        return self.left_alone_bytes - self.beyond_bytes


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """The answer: what holds as the engine is set, and as it is advised.

    unit: of what runs at once: "page", or "request" of several. longest: positions of the longest with its output.
    prompt: of the longest prompt. image_tokens: of the page with most. reserve_given: whether the user said what the
    engine reserves. mixed: whether its steps hold prompts beside requests that decode. step_rows: positions of each of
    these, drafts among them. context_bytes: what stays free for context and graphs, assumed. prefill: seconds of a
    page's, on average; None: they cannot be estimated.
    """

    device: Device
    engine: str
    version: str | None
    unit: str
    now: Setting
    advised: Setting
    longest: int
    prompt: int
    image_tokens: int
    reserve_given: bool
    mixed: bool
    step_rows: int
    context_bytes: int
    prefill: Interval | None

    @property
    def safe_share(self) -> float:
        """The largest share, in hundredths, that leaves room for context and graphs as the engine is set otherwise."""
        return _safe_share(self.device.memory_bytes, self.now.beyond_bytes + self.context_bytes)


def _safe_share(memory_bytes: int, free_bytes: int) -> float:
    """The largest share of a device's memory, in hundredths, beside which so much stays free."""
    return max(0, floor(100 * (memory_bytes - free_bytes) / memory_bytes)) / 100


def engine_limits(model: CostModel, device: Device, kinds: Iterable[PageKind[Any]]) -> EngineLimits:
    """What limits the model's engine on a device, for these pages; raises `ModelMeterError` for what cannot run."""
    return _Answer(model, device, tuple(kinds)).answer()


class _Answer:
    def __init__(self, model: CostModel, device: Device, kinds: Sequence[PageKind[Any]]) -> None:
        self.model, self.device, self.kinds, self.engine = model, device, kinds, model.engine
        if self.engine.name not in _MIXED:
            raise ModelMeterError(
                f"limits: engine={self.engine.name} allocates no pool, it takes what its passes hold; take "
                f"{' or '.join(f'engine={name}' for name in _MIXED)}, or see what fits with modelmeter throughput."
            )
        self.mixed = _MIXED[self.engine.name]
        self.step_rows: int = model.model.rows
        self.encoder_bytes = cache(partial(encoder_bytes, model))
        self.decoder_bytes = cache(partial(decoder_bytes, model))
        self._check_length()
        self.pages = prepared(kinds, model, Fraction(0))
        self.memory = Memory(model, self.pages, LONGEST)
        self.mean_memory = Memory(model, self.pages, MEAN)
        self.limits = limits_of(model, device)
        self.context_bytes = reserve_on(device.kind, model.reserve_bytes)
        self.prompt = max(each.page.seq_len for each in self.pages)
        self.longest = max(each.page.seq_len + output.output_tokens for each in self.pages for output in each.outputs)
        self.layouts = dict(self._layouts())
        if not self.layouts:
            raise ModelMeterError(
                "limits: all prompts are text, and what images take is half of the answer; give a page among them, or "
                "take modelmeter throughput."
            )
        self.image_tokens = max(tokens for _, tokens in self.layouts.values())

    def _check_length(self) -> None:
        asked, most = self.engine.max_model_len, self.model.max_position_embeddings
        if asked is not None and asked > most:
            raise ModelMeterError(
                f"limits: engine.max_model_len={asked} is more than the {most} positions of {self.model.name}; give "
                f"{most} or fewer, or leave it out."
            )

    def _layouts(self) -> Iterator[tuple[Any, tuple[str, int]]]:
        """The layouts of the pages, each with the first page that has it and its image tokens; a text has none."""
        for each in reversed(self.pages):
            if getattr(each.page, "layout", None) is not None:
                yield each.page.layout, (each.kind.label, each.page.tokens.total)

    def answer(self) -> EngineLimits:
        """What holds now, and what is advised."""
        now = self._set(self._settings())
        self._check(now)
        return EngineLimits(
            device=self.device,
            engine=self.engine.name,
            version=self.engine.version,
            unit="page" if self.model.request.pages == 1 else "request",
            now=now,
            advised=self._advised(),
            longest=self.longest,
            prompt=self.prompt,
            image_tokens=self.image_tokens,
            reserve_given=self.engine.reserve_bytes is not None,
            mixed=self.mixed,
            step_rows=self.step_rows,
            context_bytes=self.context_bytes,
            prefill=self._prefill(),
        )

    def _prefill(self) -> Interval | None:
        try:
            return compute_throughput(self.model.for_times(), self.device, self.kinds, batch_size=1).interval(
                "prefill_s"
            )
        except ModelMeterError:
            return None

    def _settings(self) -> Settings:
        limits = self.limits
        assert limits.utilization is not None and limits.max_num_seqs is not None
        assert limits.max_num_batched_tokens is not None
        return Settings(limits.max_model_len, limits.max_num_seqs, limits.max_num_batched_tokens, limits.utilization)

    # -- what holds at some settings -------------------------------------------------------------------------------

    def _set(self, settings: Settings) -> Setting:
        limits = replace(
            self.limits,
            utilization=settings.gpu_memory_utilization,
            max_num_seqs=settings.max_num_seqs,
            max_num_batched_tokens=settings.max_num_batched_tokens,
            max_model_len=settings.max_model_len,
        )
        run = self._run(settings)
        limits = replace(limits, reserve_bytes=reserve_bytes(self.engine, run))
        weight_bytes = self.memory.weight_bytes
        pool = Pool.of(limits, self.device.memory_bytes, weight_bytes, self.memory.token_bytes)
        budget = self._budget(settings, run)
        cached = 0 if budget is None else budget.tokens
        requests = min(settings.max_num_seqs, settings.max_num_batched_tokens)
        share = floor(settings.gpu_memory_utilization * self.device.memory_bytes)
        return Setting(
            settings=settings,
            share_bytes=share,
            weight_bytes=weight_bytes,
            reserve_bytes=limits.reserve_bytes,
            left_alone_bytes=self.device.memory_bytes - share,
            pool=pool,
            page_tokens=pool.page_tokens(self.memory.page_cache_bytes),
            mean_tokens=pool.page_tokens(self.mean_memory.page_cache_bytes),
            in_pool=self.memory.in_pool(pool),
            mean_in_pool=self.mean_memory.in_pool(pool),
            run=run,
            budget=budget,
            cache_bytes=cached * token_bytes(self.model),
            images=max(self._images(settings, budget), key=lambda each: each.bytes),
            decoder_bytes=cached * token_bytes(self.model)
            + self.decoder_bytes(settings.max_num_batched_tokens, requests),
            reserved_for_passes=max(0, limits.reserve_bytes - (self.engine.other_bytes or 0)),
        )

    def _run(self, settings: Settings) -> ProfileRun | None:
        if self.engine.sampler is None:
            return None
        return self.model.profile_run(settings.max_num_batched_tokens, settings.max_num_seqs, self.engine.sampler)

    def _budget(self, settings: Settings, run: ProfileRun | None) -> EncoderBudget | None:
        """The encoder's budget, in pages of most image tokens; of an engine that profiles, by its largest image."""
        if run is None:
            return None
        largest_image = self.image_tokens if run.budget is None else run.budget.image_tokens
        return EncoderBudget.of(
            settings.max_num_batched_tokens, largest_image, self.image_tokens, settings.max_num_seqs
        )

    def _images(self, settings: Settings, budget: EncoderBudget | None) -> Iterator[Images]:
        """What a step encodes at most of the layouts that may hold most, images of one at a time."""
        counts = {layout: self._count(settings, budget, layout) for layout in self.layouts}
        by_tokens = sorted(counts, key=lambda layout: -self.layouts[layout][1])
        by_step = sorted(counts, key=lambda layout: -self.layouts[layout][1] * counts[layout])
        for layout in dict.fromkeys((*by_tokens[:_WALKED], *by_step[:_WALKED])):
            (label, tokens), count = self.layouts[layout], counts[layout]
            beside = 0
            if budget is not None:
                beside = max(0, budget.tokens - count * tokens) * token_bytes(self.model)
            held = self.encoder_bytes(layout, count) + beside
            yield Images(label=label, layout=layout, tokens=tokens, count=count, bytes=held)

    def _count(self, settings: Settings, budget: EncoderBudget | None, layout: Any) -> int:
        """Images of a layout that a step encodes; without a budget, those of the prompts that it holds."""
        tokens = self.layouts[layout][1]
        most: int
        if budget is None:
            most = settings.max_num_batched_tokens // (tokens + self.model.prompt_of(layout))
        else:
            most = budget.tokens // tokens
        return max(1, min(most, settings.max_num_seqs))

    # -- what cannot run -------------------------------------------------------------------------------------------

    def _check(self, now: Setting) -> None:
        settings = now.settings
        if self.mixed and settings.max_num_batched_tokens < settings.max_num_seqs:
            raise ModelMeterError(
                f"limits: engine.max_num_batched_tokens={settings.max_num_batched_tokens} is less than "
                f"max_num_seqs={settings.max_num_seqs}, and each request takes a token of a step; give "
                f"{settings.max_num_seqs} or more, or fewer sequences."
            )
        if now.budget is not None and self.image_tokens > now.budget.tokens:
            raise ModelMeterError(
                f"limits: a page has {self.image_tokens} image tokens, and {self.engine.name}'s encoder budget is "
                f"{now.budget.tokens}: the larger of engine.max_num_batched_tokens="
                f"{settings.max_num_batched_tokens} and of the largest image that it knows; it refuses such a page. "
                f"Give engine.max_num_batched_tokens={self.image_tokens} or more."
            )
        if now.in_pool:
            return
        needed = now.weight_bytes + now.reserve_bytes + now.page_tokens * self.memory.token_bytes
        share = ceil_div(1000 * needed, self.device.memory_bytes) / 1000
        held = (
            f"limits: engine.gpu_memory_utilization={settings.gpu_memory_utilization:g} of {self.device.name} is "
            f"{amount(now.share_bytes)}: weights {amount(now.weight_bytes)} and the engine's reserve "
            f"{amount(now.reserve_bytes)} leave a pool of {now.pool.tokens:,} tokens, and a page takes "
            f"{now.page_tokens:,}; "
        )
        if share <= 1:
            raise ModelMeterError(held + f"give engine.gpu_memory_utilization={share:g} or more, or fewer sequences.")
        larger = min(
            (each for each in bundled_devices() if each.memory_bytes * settings.gpu_memory_utilization >= needed),
            key=lambda each: (each.memory_bytes, each.name),
            default=None,
        )
        way = "" if larger is None else f"the smallest bundled device with as much memory is {larger.name}; or take "
        raise ModelMeterError(held + f"{way}precision=awq or another scheme that packs the weights.")

    # -- what to set -----------------------------------------------------------------------------------------------

    def _advised(self) -> Setting:
        """The settings that hold most of these pages at once; each follows from how many that are."""
        most = largest(self._holds, ROWS_APART - 1)
        if self._holds(ROWS_APART):  # of as many the profile run holds less a row
            most = ROWS_APART - 1 + largest(lambda more: self._holds(ROWS_APART - 1 + more))
        return self._set(self._for(max(1, most)))

    def _holds(self, sequences: int) -> bool:
        """Whether the pool holds so many of the longest pages at the settings for them."""
        return self._set(self._for(sequences)).in_pool >= sequences

    def _for(self, sequences: int) -> Settings:
        """The settings for so many requests at once.

        Room for the longest page and its output. A step that holds the longest prompt whole, beside what every other
        request decodes where prompts run beside them: a token, and what is drafted. The largest share, in hundredths,
        that leaves room for context and graphs, and for what is beyond it.
        """
        block = self.limits.block_size
        length = min(ceil_div(self.longest, block) * block, self.model.max_position_embeddings)
        step = self.prompt + (self.step_rows * (sequences - 1) if self.mixed else 0)
        tokens = ceil_div(step, _STEP_TOKENS) * _STEP_TOKENS
        settings = Settings(length, sequences, tokens, 1.0)
        share = _safe_share(self.device.memory_bytes, self._set(settings).beyond_bytes + self.context_bytes)
        return settings._replace(gpu_memory_utilization=share)
