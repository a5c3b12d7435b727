"""`CostModel`: from the size of a page to what it costs, for every model alike; a page is arithmetic.

A model states its configuration, its executions, its workload and its layers (see `contract`). What a page costs is
found by laws (`laws`): a layout of each kind is walked once over variables, every other is looked up.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import partial, reduce
from math import floor, log2
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar

from modelmeter.checks import check_batch_size, check_count
from modelmeter.errors import ModelMeterError, near
from modelmeter.layers import Code, Execution
from modelmeter.layers.code import EngineTraits
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.parallel import DoesNotDivide
from modelmeter.memory import CPU, GPU, RESERVE_BYTES, reserve_on
from modelmeter.models.common import page_text
from modelmeter.models.common.assumption import CONVENTIONS, Assumption
from modelmeter.models.common.configuration import (
    PROMPT_TOKENS,
    CheckpointSchema,
    CommonSchema,
    Configuration,
)
from modelmeter.models.common.contract import Tokens, Varied, Views, Workload
from modelmeter.models.common.engines import ClientSchema, EngineSchema, HostSchema
from modelmeter.models.common.laws import Laws
from modelmeter.models.common.loading import FLOAT32_ON_DEVICE, LOAD, load_bytes
from modelmeter.models.common.page_source import Source, read_pages, read_sides
from modelmeter.models.common.parallel import parallel_assumptions, parallel_of, parallel_settings
from modelmeter.models.common.passes import LAYOUT, REGIONS, PagePass, PassTokens, pass_names, split
from modelmeter.models.common.precision import UNQUANTISED, precision_assumptions, precision_of
from modelmeter.models.common.profile_run import ProfileRun, profile_run
from modelmeter.models.common.prompt import count_prompt_tokens
from modelmeter.models.common.records import record
from modelmeter.models.common.request import Request
from modelmeter.models.common.runs import StepRun, runs
from modelmeter.models.common.speculation import MTP, NGRAM, Speculation
from modelmeter.models.common.stage_cost import STAGES, SUMS, StageCost, together
from modelmeter.models.common.vision_language import LayerCost, StageTraits, VisionLanguageModel
from modelmeter.models.common.vram import Vram
from modelmeter.pdf_pages import DEFAULT_DPI
from modelmeter.search import largest
from modelmeter.shape_tensor import Tape
from modelmeter.sizes import Variables
from modelmeter.walk import Allocation, Walk, join_path, one_after_another

if TYPE_CHECKING:
    import pandas as pd

#: experts that the tokens of a step hit: the most that they can, or as many as even choices hit on average
MAX: Final = "max"
UNIFORM: Final = "uniform"

#: devices up to which it is tried whether a model can be split over so many, to say over how many it can
SPLITS_TRIED: Final = 16

#: layouts whose pages one cost model remembers
LAYOUTS_KEPT: Final = 4096

#: where all tokens of a step miss an expert with a chance below 2 ** -NEGLIGIBLE_BITS, all experts are hit: no layer
#: has the bytes that such a chance could change after rounding, and written exactly it has a digit a token
NEGLIGIBLE_BITS: Final = 128

WITHOUT_BLOCKS: Final = Assumption(
    figure="kv_bytes",
    label="blocks not rounded up",
    text="the cache holds its tokens alone: an engine allocates whole blocks of them (16 in vLLM by default) and reads "
    "tables of blocks",
)
AT_ITS_BEST: Final = Assumption(
    figure="execution",
    label="an engine at its best",
    text="the bound of the executions with the same settings, kernel by kernel and without a cache; no code "
    "runs all of it",
)
AS_LAUNCHED: Final = Assumption(
    figure="execution",
    label="an engine's kernels, as read",
    text="the kernels that the engine's public code launches, read there and measured nowhere; docs/counted.md says of "
    "each line where it was read, or that it is assumed",
)
RESERVE_BY_KIND: Final = f"{RESERVE_BYTES[GPU]:,} bytes on a GPU, {RESERVE_BYTES[CPU]} on a CPU (runtime.reserve_bytes)"
FLOAT32_FIRST: Final = Assumption(
    figure=LOAD,
    label=FLOAT32_ON_DEVICE,
    text="all weights are on the device in float32 before they are converted there, one after another",
)


@dataclass(frozen=True, kw_only=True, repr=False)
class TextCost:
    """The stages of a prompt without an image of `seq_len` positions, and of `output_tokens` decode steps after it.

    `print` shows a table, a notebook the same. cost_model: whose cost it is.
    """

    seq_len: int
    output_tokens: int
    prefill: StageCost
    decode: StageCost
    cost_model: CostModel[Any, Any, Any] = field(compare=False)

    @property
    def total(self) -> StageCost:
        """Prefill, then decode."""
        return self.prefill + self.decode

    def passes(self, output_tokens: int) -> tuple[tuple[Self, int], ...]:
        """The passes through the model, one after another, with their shares of the decode steps: this one alone."""
        return ((self, output_tokens),)

    def stages(self) -> dict[str, StageCost]:
        """What each stage costs by its name, "prefill" and "decode", and "total" last."""
        return {"prefill": self.prefill, "decode": self.decode, "total": self.total}

    def vram(self, *, device_kind: str = GPU) -> Vram:
        """The memory that it needs on a device of a kind, "gpu" or "cpu"."""
        return Vram.of_stages(
            {"prefill": self.prefill, "decode": self.decode},
            reserve_bytes=reserve_on(device_kind, self.cost_model.reserve_bytes),
            load_bytes=self.cost_model.load_bytes,
        )

    def to_dict(self, *, device_kind: str = GPU) -> dict[str, Any]:
        """Plain values under the names that `modelmeter page --json` has; FLOPs, tokens and bytes are exact.

        device_kind: of the device that the memory is needed on, as in `vram`.
        """
        return {
            "prefill_tokens": self.seq_len,
            "output_tokens": self.output_tokens,
            "stages": {name: cost.as_dict() for name, cost in self.stages().items()},
            "vram": self.vram(device_kind=device_kind).to_dict(),
            **self._on_a_hit(),
        }

    def _on_a_hit(self) -> dict[str, Any]:
        """The prefill of a request that finds its prefix in the cache, where a share of them is declared."""
        request = self.cost_model.request
        if not request.hit_share:
            return {}
        prefill = self.cost_model.prefill_over_cache(self, request.cached_tokens)
        return {"prefix_hit": {"cached_tokens": request.cached_tokens, "prefill": prefill.as_dict()}}

    def to_pandas(self, by: str = "stage") -> pd.DataFrame:
        """A `pandas.DataFrame` with a row for each stage, for each "module" of a stage or for each "operator" of one.

        FLOPs and bytes are exact. Rows of modules, and of operators, sum to their stage: those of "prefill" have
        vision's among them, those of "decode" are all steps together, with the shapes of the first. Raises
        `ModelMeterError` without pandas.
        """
        from modelmeter.models.common.frames import frame

        return frame(self, by)

    def __repr__(self) -> str:
        return page_text.line(self)

    def __str__(self) -> str:
        return page_text.text(self)

    def _repr_html_(self) -> str:
        return page_text.html(self)


@dataclass(frozen=True, kw_only=True, repr=False)
class PageCost(TextCost):
    """One page's layout, tokens and stages (or `runtime.batch_size` pages of the same size together).

    Of several pages a request (`runtime.pages_per_request`) layout, tokens and views are those of one page, stages and
    `seq_len` the request's. Prefill includes vision; `seq_len` counts the images' tokens and the prompt's.
    views: the batches of equal views that one page goes through vision as. parts: of a page of several passes, each as
    a page, by name, with its weight in the decode steps; what the page has is theirs together (`passes`).
    """

    layout: Any
    tokens: Any
    views: tuple[Views, ...]
    vision: StageCost
    parts: tuple[tuple[str, PageCost, int], ...] = ()

    def passes(self, output_tokens: int) -> tuple[tuple[PageCost, int], ...]:
        """The passes through the model, one after another, with their shares of the decode steps."""
        if not self.parts:
            return super().passes(output_tokens)
        shares = split(output_tokens, [weight for *_, weight in self.parts])
        return tuple((page, steps) for (_, page, _), steps in zip(self.parts, shares, strict=True))

    def stages(self) -> dict[str, StageCost]:
        """What each stage costs by its name, "vision", "prefill" (vision included), "decode", and "total" last."""
        return {"vision": self.vision} | super().stages()

    def to_dict(self, *, device_kind: str = GPU) -> dict[str, Any]:
        """Plain values under the names that `modelmeter page --json` has; FLOPs, tokens and bytes are exact.

        device_kind: of the device that the memory is needed on, as in `vram`.
        """
        page = {"layout": self.layout._asdict(), "tokens": self.tokens._asdict()}
        return page | super().to_dict(device_kind=device_kind)


Config = TypeVar("Config", bound=CommonSchema)
Work = TypeVar("Work", bound=Workload)
Model = TypeVar("Model", bound=VisionLanguageModel)


class CostModel(Generic[Config, Work, Model]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process.

    counted: the prompt's tokens, where they are known: then no tokenizer is opened for `config.runtime.prompt`.
    A model's own class says what `configuration` and `executions` are, and makes workload and layers of a
    configuration.
    """

    configuration: ClassVar[Configuration[Any]]
    executions: ClassVar[Mapping[str, Execution]]
    #: tokens of the prompt that is assumed for this model, where nobody declares another; None: it takes what all do
    assumed_prompt_tokens: ClassVar[int | None] = None
    #: whether the processor makes one item of the views of all pages of a prompt; otherwise each page is an item
    prompt_is_one_item: ClassVar[bool] = False
    #: what is known of the prompt that the assumption stands for
    assumed_prompt_note: ClassVar[str] = ""

    def __init__(self, config: Config, *, counted: int | None = None) -> None:
        self.config: Config = self.configuration.read(asdict(config))
        runtime = self.config.runtime
        self.workload = self.make_workload()
        self.code = Code.resolve(
            "config",
            self.executions,
            {"execution": self.config.execution.name, "attention": runtime.attention, "dtype": runtime.dtype},
        )
        execution = self.code.execution
        precision = precision_of(self.config.precision, runtime.dtype, runtime.load, execution, self.executions)
        parallel = parallel_of(self.config.parallel, execution, self.executions)
        self.code = replace(self.code, precision=precision, parallel=parallel)
        self.speculation = Speculation.of(runtime.draft, runtime.draft_tokens, runtime.accepted_tokens)
        self.request = Request.of(runtime, execution, self.executions.values(), self.config.engine.block_size or 1)
        self._build()
        self.max_position_embeddings: int = self.config.decoder.max_position_embeddings
        self.head = runtime.head or self.code.execution.traits(StageTraits).head
        self.prompt_tokens = self._prompt_tokens(counted)
        self._weight_bytes = self.model.forward_memory_weight()
        self._vision_weight_bytes = self.model.vision_weight_bytes()
        self.load_bytes = load_bytes(runtime.load, self.model.parameters_as_converted())
        self.experts_hit(1)
        if self.code.parallel.experts and self.model.decoder.routed is None:
            raise ModelMeterError(
                "parallel: expert=true, but the decoder is dense and has no experts; leave parallel.expert out."
            )

    @classmethod
    def load(cls, overrides: Sequence[str] = ()) -> Self:
        """Compose the configuration with Hydra overrides, once, and build the model."""
        return cls(cls.configuration.compose(overrides))

    @classmethod
    def restore(cls, configuration: Mapping[str, Any], *, prompt_tokens: int) -> Self:
        """The model of a configuration as a result states it, and of the prompt tokens that were counted for it.

        Neither Hydra nor a tokenizer is asked, and nothing is interpolated. Raises `ModelMeterError` for a key that
        does not exist and for a value that is not allowed.
        """
        return cls(cls.configuration.read(configuration), counted=prompt_tokens)

    @abstractmethod
    def make_workload(self) -> Work:
        """The workload of `self.config`."""

    @abstractmethod
    def make_model(self) -> Model:
        """The layers of `self.config` as `self.code` runs them; raises `ModelMeterError` where sizes do not fit."""

    def own_assumptions(self) -> Sequence[Assumption]:
        """What the model declares or assumes beside what all do."""
        return ()

    def page_passes(self, layout: Any) -> Sequence[PagePass]:
        """The passes of a page of this layout, where it is more than a pass over it; the layout's own comes first."""
        return ()

    def _prompt_tokens(self, counted: int | None) -> int:
        runtime = self.config.runtime
        if runtime.prompt is None:
            assumed = self.assumed_prompt_tokens or PROMPT_TOKENS
            return assumed if runtime.prompt_tokens is None else runtime.prompt_tokens
        if counted is None:
            return count_prompt_tokens(runtime.prompt, runtime.tokenizer_path)
        check_count("runtime", "prompt_tokens", counted)
        return counted

    def _build(self) -> None:
        """The model, of which nothing has been walked yet."""
        self.model = self._made()
        if self.speculation is not None:
            self._speculate(self.speculation)
        if self.request.hit_share:
            self._check_over_cache("runtime", self.request.cached_tokens)
        self.model.text.items = 1 if self.prompt_is_one_item else self.request.pages
        self._laws = Laws()
        self.kernel_laws: dict[Hashable, tuple[Any, ...]] = {}
        self._profile_runs: dict[tuple[int, int, str], ProfileRun] = {}
        self._hit: int | None = None
        self._learnt = False
        self._pages: OrderedDict[Hashable, dict[str, Any]] = OrderedDict()

    def _made(self) -> Model:
        """The layers; raises `ModelMeterError` in the words of one that cannot be split, with what can be."""
        try:
            return self.make_model()
        except DoesNotDivide as error:
            asked, fitting = self.code, []
            for ranks in range(1, SPLITS_TRIED + 1):
                self.code = replace(asked, parallel=replace(asked.parallel, ranks=ranks))
                with suppress(DoesNotDivide):
                    self.make_model()
                    fitting.append(str(ranks))
            self.code = asked
            raise ModelMeterError(f"{error}; parallel.tensor may be {' or '.join(fitting)} here.") from error

    def _speculate(self, speculation: Speculation) -> None:
        """Have the model's steps run as many positions; raises `ModelMeterError` for a model that cannot."""
        layer = None
        if self.model.decoder.windowed:
            raise ModelMeterError(
                f"runtime: draft={speculation.draft}, but the decoder's cache is a window, of which rejected positions "
                "cannot be taken back; leave runtime.draft=none."
            )
        if speculation.draft == MTP:
            layer = self.model.multi_token_layer()
            if layer is None:
                raise ModelMeterError(
                    f"runtime: draft={MTP}, but {self.name} has no layer that predicts further tokens; take "
                    f"runtime.draft={NGRAM}, or none."
                )
            if not self.code.execution.traits(DecoderTraits).position_ids_given:
                engines = [
                    each.name for each in self.executions.values() if each.traits(DecoderTraits).position_ids_given
                ]
                raise ModelMeterError(
                    f"runtime: draft={MTP}, but execution={self.code.execution.name} leaves that layer of the "
                    f"checkpoint out; take {' or '.join(f'execution={name}' for name in engines)}."
                )
        self.model.speculate(speculation.rows, layer)

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: not what was walked, which compiled functions hold, and not the tokenizer."""
        walked = ("model", "_laws", "kernel_laws", "_profile_runs", "_hit", "_learnt", "_pages")
        return {name: value for name, value in vars(self).items() if name not in walked}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._build()

    def experts_hit(self, tokens: int) -> int | Fraction:
        """Distinct experts a layer whose weights `tokens` tokens read, as `runtime.experts_hit` declares; or 0."""
        declared = self.experts_declared
        if self.model.decoder.routed is None:
            if declared != MAX:
                raise ModelMeterError(
                    f"runtime: experts_hit={declared}, but the decoder is dense and has no experts; leave it out."
                )
            return 0
        if self._hit is not None:
            return self._hit
        experts, top_k = self.model.decoder.routed
        most = int(min(experts, top_k * tokens))  # where `tokens` varies: all experts, or as many as so few can hit
        if declared == MAX:
            return most
        if declared == UNIFORM:
            missed = 1 - Fraction(top_k, experts)  # by one token
            if not missed or tokens > floor(NEGLIGIBLE_BITS / -log2(missed)):
                return experts
            return experts * (1 - missed ** int(tokens))
        if isinstance(declared, bool) or not isinstance(declared, int) or not top_k <= declared <= experts:
            raise ModelMeterError(
                f"runtime: experts_hit={declared} is neither max nor uniform nor a number of experts from "
                f"{top_k} (one token's) to {experts} (all)."
            )
        return min(declared, most)

    @property
    def experts_declared(self) -> int | str:
        """How many experts a layer's tokens hit: "max", "uniform" or a number; unless told, the most of a count."""
        declared: int | str | None = self.config.runtime.experts_hit
        return MAX if declared is None else declared

    @property
    def name(self) -> str:
        """The model's name."""
        return self.configuration.name

    @property
    def modes(self) -> Mapping[str, Any]:
        """The named workloads of the model."""
        return self.configuration.modes

    def __repr__(self) -> str:
        return page_text.short(self)

    @property
    def engine(self) -> EngineSchema:
        """What serves it, and how much of a device that takes."""
        return self.config.engine

    def engine_workload(self) -> Mapping[str, Any]:
        """Keys of the workload that the engine's own processor sets otherwise than the published one."""
        keys = self.configuration.engine_keys.get(self.engine.name, {})
        return {key.removeprefix("workload."): value for key, value in keys.items() if key.startswith("workload.")}

    @property
    def devices(self) -> int:
        """Over how many devices it is split; every figure is one device's."""
        return self.code.parallel.ranks

    @property
    def profiled_layout(self) -> Any | None:
        """The layout of the images of the engine's profile run; None: it has none, or nobody has read which it is."""
        layout = self.configuration.profiled.get(self.engine.name)
        return None if layout is None else layout(self.workload)

    def profile_run(self, max_num_batched_tokens: int, max_num_seqs: int, sampler: str) -> ProfileRun:
        """What the engine's profile run holds at these settings."""
        settings = max_num_batched_tokens, max_num_seqs, sampler
        if settings not in self._profile_runs:
            self._profile_runs[settings] = profile_run(self, *settings)
        return self._profile_runs[settings]

    @property
    def host(self) -> HostSchema:
        """What the machine around the device does for a page."""
        return self.config.host

    @property
    def client(self) -> ClientSchema:
        """Who sends the pages."""
        return self.config.client

    def to_dict(self) -> dict[str, Any]:
        """What results rest on, under the names that `--json` has: the model, its whole configuration, assumptions."""
        return {
            "model": self.name,
            "configuration": asdict(self.config),
            "settings": self.settings(),
            "assumptions": [asdict(assumption) for assumption in self.assumptions()],
        }

    def settings(self) -> dict[str, object]:
        """What the figures depend on beside workload and page size, by the name that an override gives it."""
        runtime, checkpoint = self.config.runtime, self.config.checkpoint.name
        said = checkpoint in (None, self.name)  # by the model's name
        return {
            **({} if said else {"checkpoint": checkpoint}),
            "execution": self.config.execution.name,
            "runtime.attention": runtime.attention,
            "runtime.dtype": runtime.dtype,
            **self._precision_settings(),
            **parallel_settings(self.config.parallel),
            "runtime.batch_size": runtime.batch_size,
            **dict(self.request.settings()),
            "runtime.head": self.head,
            **({} if self.model.decoder.routed is None else {"runtime.experts_hit": self.experts_declared}),
            **self._speculation_settings(),
        }

    def _precision_settings(self) -> dict[str, object]:
        """The scheme of packed weights, and the cache's own type, where they are chosen."""
        precision = self.config.precision
        return {
            **({} if precision.name == UNQUANTISED else {"precision": precision.name}),
            **({} if precision.kv is None else {"precision.kv": precision.kv}),
        }

    def _speculation_settings(self) -> dict[str, object]:
        """The keys of speculative decoding, where it is declared."""
        runtime = self.config.runtime
        names = ("draft", "draft_tokens", "accepted_tokens")
        return {} if self.speculation is None else {f"runtime.{name}": getattr(runtime, name) for name in names}

    def assumptions(self) -> tuple[Assumption, ...]:
        """The figures of a page that are declared, assumed or conventional."""
        runtime = self.config.runtime
        paged = self.code.execution.traits(DecoderTraits).kv_paged
        return (
            self._prompt_assumption(),
            *self.request.assumptions(),
            *(() if self.model.decoder.routed is None else (experts_assumption(self.experts_declared),)),
            Assumption(
                figure="reserve_bytes",
                label="reserve assumed",
                text=RESERVE_BY_KIND
                if runtime.reserve_bytes is None
                else f"runtime.reserve_bytes={runtime.reserve_bytes}",
            ),
            *unconfirmed(self.config.checkpoint),
            *precision_assumptions(self.code.precision, self.model),
            *parallel_assumptions(self.code.parallel),
            *((FLOAT32_FIRST,) if runtime.load == FLOAT32_ON_DEVICE else ()),
            *((self._engine_assumption(), WITHOUT_BLOCKS) if paged else ()),
            *self.own_assumptions(),
            *(() if self.speculation is None else (self.speculation.assumption(),)),
            *CONVENTIONS,
        )

    def _engine_assumption(self) -> Assumption:
        """What an execution of an engine stands for."""
        return AT_ITS_BEST if self.code.execution.traits(EngineTraits).at_its_best else AS_LAUNCHED

    def _prompt_assumption(self) -> Assumption:
        """Where the number of the prompt's tokens comes from."""
        declared = f"runtime.prompt_tokens={self.prompt_tokens}"
        if self.config.runtime.prompt is not None:
            label, text = "counted", "counted by the tokenizer in runtime.tokenizer_path"
        elif self.config.runtime.prompt_tokens is None:
            text = f"{self.prompt_tokens}{self.assumed_prompt_note}, taken where nobody says how many"
            label = "assumed"
        elif self.prompt_tokens == self.assumed_prompt_tokens:
            label, text = "assumed", f"{declared}, taken where nobody says how many{self.assumed_prompt_note}"
        else:
            label, text = "declared", declared
        return Assumption(figure="prompt_tokens", label=label, text=text)

    def markers(self, layout: Any) -> int:
        """Tokens of text that the processor puts around the image tokens of this layout, beside the prompt's own."""
        return 0

    def text_len(self, prompt_tokens: int) -> int:
        """Positions of a prompt with so many of its own, the system prompt's among them."""
        return self.request.system_tokens + prompt_tokens

    def prompt_of(self, layout: Any) -> int:
        """Positions of a request for pages of this layout that are no image tokens; a declared number has markers."""
        marked = self.request.pages * self.markers(layout) if self.config.runtime.prompt_tokens is None else 0
        return self.text_len(self.prompt_tokens) + marked

    def seq_len(self, layout: Any) -> int:
        """Positions of the prompt of a pass over this layout: its image tokens, and those around them."""
        tokens: Tokens = self.workload.tokens(layout)
        return self.request.pages * tokens.total + self.prompt_of(layout)

    def page(self, width: int | Source, height: int | None = None, output_tokens: int = 0) -> PageCost:
        """The cost of a page of `width` x `height` pixels, and of `output_tokens` decode steps after its prefill.

        In the place of both sides stands an image file, a PDF of one page (at 144 dpi), or a size in words:
        `page("scan.png")`, `page("A4@200")`.

        >>> load_cost_model(["workload=base"]).page(1275, 1650).seq_len
        283
        """
        if type(width) is not int or type(height) is not int:
            width, height = read_sides(width, height)
        return self.layout_cost(self.workload.layout(width, height), output_tokens)

    def pages(self, source: Source, output_tokens: int = 0, *, dpi: int = DEFAULT_DPI) -> list[PageCost]:
        """The cost of each page of an image file, a TIFF or a PDF; `dpi`: of a PDF's pages when they are rendered."""
        return [self.page(size.width, size.height, output_tokens) for size in read_pages(source, dpi)]

    def layout_cost(self, layout: Any, output_tokens: int = 0) -> PageCost:
        """The cost of any page of this layout, or of one with its fields: nothing else of a page matters."""
        figures = self._pages.get(layout)
        if figures is None:
            figures = self._pages[layout] = self._whole_page(self.workload.layout_of(layout))
            if len(self._pages) > LAYOUTS_KEPT:
                self._pages.popitem(last=False)
        if "parts" not in figures:
            return self._with_output(figures, output_tokens)
        shares = split(output_tokens, [weight for *_, weight in figures["parts"]])
        parts = tuple(
            (name, self._with_output(each, steps), weight)
            for (name, each, weight), steps in zip(figures["parts"], shares, strict=True)
        )
        own = {"parts": parts, "decode": _together(parts, "decode"), "output_tokens": output_tokens, "cost_model": self}
        return record(PageCost, figures | own)

    def pass_vision(self, layout: Any) -> StageCost:
        """The vision stage of one pass of a layout: of a page with regions, of none of its other passes."""
        return self._vision(layout)

    def _with_output(self, figures: Mapping[str, Any], output_tokens: int) -> PageCost:
        """A page of one pass, with its decode steps."""
        seq_len = figures["seq_len"]
        self._check_context(seq_len, output_tokens, figures["layout"])
        own: dict[str, Any] = {"output_tokens": output_tokens, "cost_model": self}
        if output_tokens:
            own["decode"] = self._decode(seq_len, output_tokens)
        return record(PageCost, {**figures, **own})

    def _whole_page(self, layout: Any) -> dict[str, Any]:
        """What all pages of a layout have in common, as `_page` has it of one pass: of all passes together."""
        passes = self.page_passes(layout)
        if not passes:
            return self._page(layout)
        if self.request.pages > 1:
            raise ModelMeterError(
                f"runtime: pages_per_request={self.request.pages}, but each pass of a page with workload.regions is a "
                "request of its own; leave one of the two out."
            )
        pages = [self._page(each.layout) for each in passes]
        views = tuple(
            replace(view, name=each.name, place=each.place)
            for each, page in zip(passes, pages, strict=True)
            for view in page["views"]
        )
        names = pass_names(passes)
        parts = tuple((name, page, each.weight) for name, page, each in zip(names, pages, passes, strict=True))
        alone = [(name, self._with_output(page, 0), weight) for name, page, weight in parts]
        tokens = {LAYOUT: 0, REGIONS: 0}
        for page, each in zip(pages, passes, strict=True):
            tokens[each.name] += page["tokens"].total
        return {
            "seq_len": sum(page["seq_len"] for page in pages),
            "layout": layout,
            "tokens": PassTokens(**tokens),
            "views": views,
            "parts": parts,
            **{stage: _together(alone, stage) for stage in STAGES},
        }

    def _page(self, layout: Any) -> dict[str, Any]:
        """What all pages of one pass and layout have in common, by the names of `PageCost`; without output.

        Without the model: it keeps these, and a page keeps it, so both are freed as soon as nobody has the page.
        """
        seq_len = self.seq_len(layout)
        self._check_context(seq_len, 0, layout)
        if not self._learnt:
            self._learnt = True
            self._learn()
        prefill = self._prefill(seq_len, layout)
        return {
            "seq_len": seq_len,
            "layout": layout,
            "tokens": self.workload.tokens(layout),
            "views": self.workload.views(layout),
            "vision": self._vision(layout),
            "prefill": prefill,
            "decode": self._no_step(prefill),
        }

    def _learn(self) -> None:
        """Walk a layout of each kind, so that from the first page on a page of any layout is arithmetic.

        Unless the decoder's own law does not reach from one layout to the next: then each page walks it anyway.
        """
        first, *others = self.workload.examples()
        with suppress(ModelMeterError):  # a kind that cannot be walked says so when it is asked for
            self._prefill(self.seq_len(first), first)
            self._vision(first)
            for layout in others:
                values = self._sizes(first, seq_len=self.seq_len(layout))
                if self._laws.known(self._kind("prefill", first, values), values):
                    self._prefill(self.seq_len(layout), layout)
                    self._vision(layout)

    def text(self, prompt_tokens: int, output_tokens: int = 0) -> TextCost:
        """The cost of a prompt without an image: `prompt_tokens` positions, then `output_tokens` decode steps.

        The positions of a system prompt (`runtime.system_prompt_tokens`) come before these.
        """
        check_count("text", "prompt_tokens", prompt_tokens)
        if prompt_tokens == 0:
            raise ModelMeterError("text: prompt_tokens=0 leaves nothing to prefill; give 1 or more.")
        seq_len = self.text_len(prompt_tokens)
        self._check_context(seq_len, output_tokens)
        prefill = self._prefill(seq_len, None)
        decode = self._decode(seq_len, output_tokens) if output_tokens else self._no_step(prefill)
        return TextCost(seq_len=seq_len, output_tokens=output_tokens, prefill=prefill, decode=decode, cost_model=self)

    def _check_context(self, seq_len: int, output_tokens: int, layout: Any | None = None) -> None:
        check_count("page", "output_tokens", output_tokens)
        if seq_len + output_tokens > self.max_position_embeddings:
            room = self.max_position_embeddings - seq_len
            raise ModelMeterError(
                f"context: {seq_len} tokens of prompt and image and output_tokens={output_tokens} exceed "
                f"decoder.max_position_embeddings={self.max_position_embeddings}; "
                + (
                    f"output_tokens may be up to {room}."
                    if room >= 0
                    else f"take a smaller page or mode, or a shorter prompt{self._pages_that_fit(layout)}."
                )
            )

    def _pages_that_fit(self, layout: Any | None) -> str:
        """How many pages of a layout a request has room for, as the end of a sentence; "" for one page."""
        if layout is None or self.request.pages == 1:
            return ""
        each = (self.seq_len(layout) - self.text_len(self.prompt_tokens)) // self.request.pages
        room = (self.max_position_embeddings - self.text_len(self.prompt_tokens)) // each
        return f"; {max(room, 0)} of the {self.request.pages} pages of a request (runtime.pages_per_request) fit"

    def prefill_over_cache(self, page: TextCost, cached: int) -> StageCost:
        """The prefill of a page or a text whose first `cached` positions are in the cache that it is given.

        Those are the system prompt's at most, and the others are computed. Of several passes together, as `page` is.
        """
        self._check_over_cache("prefill_over_cache", cached)
        if isinstance(page, PageCost) and page.parts:
            alone = [(name, self.prefill_over_cache(each, cached)) for name, each, _ in page.parts]
            return _at_their_largest(alone)
        return self._prefill(page.seq_len, page.layout if isinstance(page, PageCost) else None, cached)

    def _check_over_cache(self, who: str, cached: int) -> None:
        """Raise `ModelMeterError` unless a prefill can run over a cache of so many positions."""
        check_count(who, "cached", cached)
        if not cached:
            return
        if cached > self.request.system_tokens:
            raise ModelMeterError(
                f"{who}: {cached} positions cached, but requests share runtime.system_prompt_tokens="
                f"{self.request.system_tokens}; give at most these."
            )
        if self.model.decoder.windowed:
            raise ModelMeterError(
                f"{who}: {cached} positions cached, but the decoder's window takes all positions behind its first pass "
                "for generated ones, so no prompt goes on with a cache; leave runtime.prefix_cached=0."
            )
        if self.code.execution.traits(DecoderTraits).causal_mask_only:
            raise ModelMeterError(
                f"{who}: {cached} positions cached, but the code of execution={self.code.execution.name} masks a "
                "prompt as if nothing came before it; take another execution."
            )

    # -- stages over variables: the sizes that differ from page to page ------------------------------------------------

    def _sizes(self, layout: Any | None, **values: int) -> dict[str, int]:
        """The sizes that vary: `values`, those of the layout, pages where there are several."""
        if layout is not None:
            values |= self.workload.sizes(layout)
        if self.batch_size > 1:
            values["pages"] = self.batch_size
        return values

    def vision_over(self, layout: Any) -> Varied:
        """The vision stage of a layout."""

        def walk(tape: Tape) -> tuple[Walk, int, int]:
            return self.model.vision_walk(self._varying(_variables(tape), layout), tape), 0, 0

        return Varied(*self._law("vision", layout), walk)

    def prefill_over(self, seq_len: int, layout: Any | None, cached: int = 0) -> Varied:
        """The prefill of a prompt of `seq_len` positions, with a page of this layout among them or without one.

        cached: of them, from the first on, are in the cache that it is given, and not computed.
        """

        def walk(tape: Tape) -> tuple[Walk, int, int]:
            sizes = _variables(tape)
            pages, tokens = self._varying_pages(sizes), sizes.size("seq_len")
            geometry = None if layout is None else self._varying(sizes, layout)
            hit = self.experts_hit(pages * tokens)
            given = sizes.size("cached") if cached else None
            return self.model.prefill_walk(pages, tokens, geometry, hit, self.head, tape, given)

        return Varied(*self._prefill_law(seq_len, layout, cached), walk)

    def _prefill_law(self, seq_len: int, layout: Any | None, cached: int) -> tuple[Hashable, dict[str, int]]:
        """As `_law`; of the positions those that are computed vary by themselves."""
        stage = "text" if layout is None else "prefill"
        return self._law(stage, layout, seq_len=seq_len - cached, **_positive(cached=cached))

    def step_over(self, seq_len: int, generated: int) -> Varied:
        """A decode step after a prefill of `seq_len` tokens and `generated` steps."""
        return self._step_over(self._step_sizes(seq_len, generated))

    def _step_sizes(self, seq_len: int, generated: int) -> dict[str, int]:
        if self.steps_by_context:
            return self._sizes(None, **_positive(context=seq_len + generated))
        return self._sizes(None, **_positive(seq_len=seq_len, generated=generated))

    def _step_over(self, values: dict[str, int]) -> Varied:
        def walk(tape: Tape) -> tuple[Walk, int, int]:
            sizes = _variables(tape)
            pages = self._varying_pages(sizes)
            generated = sizes.size("generated") if "generated" in values else 0
            before = generated + sum(sizes.size(name) for name in ("context", "seq_len") if name in values)
            hit = self.experts_hit(pages * self.model.rows)
            return self.model.decode_walk(pages, before, hit, self.head, tape, generated)

        return Varied(("step", *values), values, walk)

    def _vision(self, layout: Any) -> StageCost:
        known = self._laws.at(*self._law("vision", layout))
        return known or self._cost(self.vision_over(layout), self._vision_weight_bytes)

    def _prefill(self, seq_len: int, layout: Any | None, cached: int = 0) -> StageCost:
        known = self._laws.at(*self._prefill_law(seq_len, layout, cached))
        return known or self._cost(self.prefill_over(seq_len, layout, cached), self._weight_bytes)

    def _cost(self, varied: Varied, weight_bytes: int) -> StageCost:
        """What a stage costs that no law is known for."""
        return self._laws.cost(varied.kind, varied.sizes, partial(_walked, varied, weight_bytes))

    def cost_over(self, stage: str, sizes: Variables, layout: Any = None) -> StageCost:
        """What a stage costs over variables: its figures are sizes, its peaks `Highest`; conditions are noted there.

        stage: "vision" (layout: of the page), "prefill" (seq_len; the same), "step" (context, or seq_len and generated)
        or "decode" (seq_len, steps from 2 on); the layout's own sizes, and pages of several at once, are variables too.
        """
        values = sizes.values
        if stage == "vision":
            return _walked(self.vision_over(layout), self._vision_weight_bytes, sizes)
        if stage == "prefill":
            return _walked(self.prefill_over(values["seq_len"], layout), self._weight_bytes, sizes)
        return self._steps(sizes) if stage == "decode" else _walked(self._step_over(values), self._weight_bytes, sizes)

    @property
    def steps_by_context(self) -> bool:
        """Whether a decode step depends on the tokens before it alone, not on where they came from."""
        return not self.model.decoder.windowed

    def decode_runs(self, steps: int) -> list[StepRun]:
        """The runs of the steps that so many tokens take; each counts the tokens before it."""
        if self.speculation is not None:
            return list(self.speculation.runs(steps, self.model.decoder.alignment))
        return list(runs(self.model.decoder.pieces, steps))

    @property
    def tokens_per_step(self) -> Fraction:
        """Tokens that a decode step yields on average."""
        return Fraction(1) if self.speculation is None else self.speculation.accepted_tokens

    def steps_of(self, tokens: int) -> int:
        """Decode steps that `tokens` tokens take."""
        return tokens if self.speculation is None else self.speculation.steps(tokens)

    def steps_text(self, tokens: int, passes: int = 1) -> str:
        """The decode steps that so many tokens of a page of so many passes take, in words."""
        if self.speculation is not None and tokens:
            return self.speculation.words(tokens, passes)
        return "1 decode step" if tokens == 1 else f"{tokens:,} decode steps"

    def before_last(self, tokens: int) -> int:
        """Tokens that came from steps before the last of those that `tokens` tokens take, of which there is one."""
        return tokens - 1 if self.speculation is None else self.speculation.before(self.speculation.steps(tokens) - 1)

    def step(self, context: int, generated: int = 0) -> StageCost:
        """One decode step with `context` tokens before it, of which the last `generated` came from steps before it.

        How many came from steps matters to a model alone that attends to them differently.
        """
        check_count("step", "context", context)
        check_generated("step", context, generated)
        return self._step(self._step_sizes(context - generated, generated))

    def _step(self, values: dict[str, int]) -> StageCost:
        return self._laws.at(("step", *values), values) or self._cost(self._step_over(values), self._weight_bytes)

    def _decode(self, seq_len: int, steps: int) -> StageCost:
        """`steps` steps after a prefill of `seq_len` tokens, in closed form.

        Sums are affine in the context, piece by piece of the steps, and within a piece every so many steps.
        """
        if self.speculation is not None:
            return self._speculated(seq_len, steps)
        if steps == 1:
            return self.step(seq_len)
        values = self._sizes(None, seq_len=seq_len, steps=steps)
        return self._laws.cost(("decode", *values), values, self._steps)

    def _steps(self, sizes: Variables) -> StageCost:
        start, several = sizes.size("seq_len"), sizes.size("steps")
        pages = {name: sizes.size(name) for name in sizes.values if name == "pages"}

        def step(generated: Any) -> StageCost:
            if self.steps_by_context:
                return self._step({"context": start + generated} | pages)
            return self._step({"seq_len": start} | ({"generated": generated} if generated else {}) | pages)

        series = [self._series(step, run) for run in runs(self.model.decoder.pieces, several)]
        last = step(several - 1)
        return replace(reduce(add, series), kv_bytes=last.kv_bytes)

    def _speculated(self, seq_len: int, tokens: int) -> StageCost:
        """The steps that `tokens` tokens take; what was rejected is no cache that stays."""

        def step(generated: int) -> StageCost:
            return self._step(self._step_sizes(seq_len, generated))

        total = reduce(add, (self._series(step, run) for run in self.decode_runs(tokens)))
        position_bytes = step(0).kv_added_bytes // self.model.rows
        return replace(total, kv_bytes=position_bytes * (seq_len + tokens), kv_added_bytes=position_bytes * tokens)

    @staticmethod
    def _series(step: Callable[[Any], StageCost], run: StepRun) -> StageCost:
        """All steps of a run; `step` gives one by the number that came before it."""
        start = step(run.first)
        if run.count == 1:
            return start
        second, last = step(run.first + run.period), step(run.first + (run.count - 1) * run.period)
        _check_even(start, second, last, run.count)
        return start.summed(second, last, run.count)

    def _no_step(self, prefill: StageCost) -> StageCost:
        return StageCost(weight_bytes=self._weight_bytes, kv_bytes=prefill.kv_bytes)

    def _varying_pages(self, sizes: Variables) -> int:
        return sizes.size("pages") if self.batch_size > 1 else 1

    def _varying(self, sizes: Variables, layout: Any) -> Any:
        """The geometry of a layout, as far as it varies."""
        varying = self.workload.with_sizes(layout, {name: sizes.size(name) for name in self.workload.sizes(layout)})
        return self._given(varying, self._varying_pages(sizes))

    def _given(self, layout: Any, requests: int) -> Any:
        """What vision is given for so many requests with pages of this layout."""
        pages = self.request.pages
        if not self.prompt_is_one_item:
            return self.workload.geometry(layout, pages * requests)
        each = self.workload.geometry(layout, requests)
        return each._replace(views=pages * each.views)

    def _law(self, stage: str, layout: Any | None, **values: int) -> tuple[Hashable, dict[str, int]]:
        """What may share a law with a stage, and the sizes that vary."""
        sizes = self._sizes(layout, **values)
        return self._kind(stage, layout, sizes), sizes

    def _kind(self, stage: str, layout: Any | None, sizes: Mapping[str, int]) -> Hashable:
        """What may share a law: a stage, of layouts of one kind, over the same variables."""
        return stage, None if layout is None else self.workload.kind(layout), *sizes

    def geometry(self, layout: Any) -> Any:
        """What vision is given for all pages of this layout that go through it at once."""
        return self._given(layout, self.config.runtime.batch_size)

    # -- walks of one page's stages, operator by operator ------------------------------------------------------------

    def _vision_walk(self, layout: Any) -> Walk:
        return self.model.vision_walk(self.geometry(layout))

    def _prefill_walk(self, seq_len: int, layout: Any | None, cached: int = 0) -> tuple[Walk, int, int]:
        batch, computed = self.config.runtime.batch_size, seq_len - cached
        geometry = None if layout is None else self.geometry(layout)
        hit = self.experts_hit(batch * computed)
        return self.model.prefill_walk(batch, computed, geometry, hit, self.head, cached=cached or None)

    def _step_walk(self, context: int, generated: int = 0) -> tuple[Walk, int, int]:
        batch = self.config.runtime.batch_size
        hit = self.experts_hit(batch * self.model.rows)
        return self.model.decode_walk(batch, context, hit, self.head, generated=generated)

    @property
    def parameters(self) -> int:
        """Parameters of the whole network."""
        return self.model.parameter_count()

    @property
    def batch_size(self) -> int:
        """Pages of equal size that one `PageCost` is for."""
        return self.config.runtime.batch_size

    @property
    def pages_at_once(self) -> int:
        """Pages that go through vision together: those of a request, of all requests of the batch."""
        return self.config.runtime.batch_size * self.request.pages

    @property
    def reserve_bytes(self) -> int | None:
        """Device memory left free, as `runtime.reserve_bytes` says; None: what the kind of the device leaves."""
        return self.config.runtime.reserve_bytes

    def _with(self, **runtime: Any) -> Self:
        """This model under other values of the group `runtime`; layers, walks and laws are shared, pages are not."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other.config = replace(self.config, runtime=replace(self.config.runtime, **runtime))
        other._pages = OrderedDict()
        return other

    def batched(self, pages: int) -> Self:
        """This model with `runtime.batch_size=pages`; layers, walks and laws are shared."""
        check_batch_size("batched", pages)
        return self._with(batch_size=pages).lazy()  # a number of pages is tried once

    def of_lone_pages(self) -> Self:
        """This model with one page a request and no system prompt; layers and walks are shared, laws not."""
        if self.request == Request(block_size=self.request.block_size):
            return self
        other = self._with(pages_per_request=1, system_prompt_tokens=0, prefix_cached=0.0)
        other.request = Request(block_size=self.request.block_size)
        other._laws, other.kernel_laws = Laws(), {}
        return other

    def lazy(self) -> Self:
        """This model for few pages: what they need is walked, not a layout of each kind with the first of them.

        Layers, walks and laws are shared.
        """
        other = self._with()
        other._learnt = True
        return other

    def for_times(self) -> Self:
        """This model as its times are estimated: unless `runtime.experts_hit` says else, tokens choose evenly.

        The most that they could hit is a bound of what a step reads, and no expectation. Layers are shared, laws not.
        """
        if self.config.runtime.experts_hit is not None or self.model.decoder.routed is None:
            return self
        other = self._with(experts_hit=UNIFORM)
        other._laws, other.kernel_laws = Laws(), {}
        return other

    def with_hit(self, hit: int) -> Self:
        """This model where every layer of experts reads `hit` of them, whatever the tokens: for laws over their number.

        Layers are shared, laws not.
        """
        other = self._with()
        other._laws, other.kernel_laws, other._hit = Laws(), {}, hit
        return other

    def graphed(self, stage: str) -> bool:
        """Whether the modelled code replays a stage as one graph, which costs the host no operators."""
        return stage in self.code.execution.traits(EngineTraits).graphed

    @property
    def bound_alone(self) -> bool:
        """Whether no code runs all that is modelled, so that a time is a bound: the least that any could take."""
        return self.code.execution.traits(EngineTraits).at_its_best

    def stage_walk(
        self, stage: str, *, page: TextCost | None = None, context: int = 0, generated: int = 0, cached: int = 0
    ) -> Walk:
        """The operators of "vision" or "prefill" of a page (or text), or of one "decode" step after `context` tokens.

        generated: how many of these came from steps, as `step` takes it. cached: of a prefill, as `prefill_over_cache`
        takes it.

        The walk is for `batch_size` pages like `page`, whatever batch `page` itself was asked for.
        """
        layout = page.layout if isinstance(page, PageCost) else None
        if stage == "decode":
            check_count("stage_walk", "context", context)
            check_generated("stage_walk", context, generated)
            return self._step_walk(context, generated)[0]
        if stage not in STAGES:
            raise ModelMeterError(f"stage_walk: stage {stage} is unknown; {near(stage, STAGES)}")
        if page is None or (stage == "vision" and layout is None):
            raise ModelMeterError(f"stage_walk: the {stage} stage is that of a page; give page=cost_model.page(...).")
        if isinstance(page, PageCost) and page.parts:
            parts = [(name, self.stage_walk(stage, page=each, cached=cached)) for name, each, _ in page.parts]
            return one_after_another(parts)
        if stage == "vision" and layout is not None:
            return self._vision_walk(layout)
        self._check_over_cache("stage_walk", cached)
        return self._prefill_walk(page.seq_len, layout, cached)[0]

    def vision_layers(self, layout: Any) -> list[LayerCost]:
        """The layers of the vision stage, in order, and the operators between them."""
        return list(self.model._iter_layers("vision", self._vision_walk(layout)))

    def peak_holders(self, stage: str, width: int, height: int, output_tokens: int = 0) -> list[Allocation]:
        """Who is alive at the resident peak of a page's stage, the largest first; together they are that peak.

        decode: the last of `output_tokens` steps, at least one.
        """
        if stage not in STAGES:
            raise ModelMeterError(f"peak_holders: stage {stage} is unknown; {near(stage, STAGES)}")
        passes = self.page(width, height, output_tokens).passes(output_tokens)
        page, output_tokens = max(passes, key=lambda each: int(getattr(each[0], stage).resident_peak_bytes))
        layout, seq_len = page.layout, page.seq_len
        batch, geometry = self.config.runtime.batch_size, self.geometry(layout)
        tape = Tape(tracing=True)
        if stage == "vision":
            self.model.run_vision(tape, geometry)
        elif stage == "prefill":
            self.model.run_prefill(tape, batch, seq_len, geometry, self.experts_hit(batch * seq_len), self.head)
        else:
            if not output_tokens:
                raise ModelMeterError("peak_holders: decode has no step with output_tokens=0; give 1 or more.")
            before = self.before_last(output_tokens)
            states = self.model.given_cache(tape, batch, seq_len + before, before)
            self.model.run_decode(tape, states, batch, self.experts_hit(batch * self.model.rows), self.head)
        return sorted(tape.at_peak, key=lambda holding: -holding.nbytes)

    def vram(self, width: int, height: int, output_tokens: int = 0, *, device_kind: str = GPU) -> Vram:
        """The memory that a page and its output need (or `runtime.batch_size` pages together).

        device_kind: "gpu" or "cpu"; it decides how much is left free where `runtime.reserve_bytes` does not.
        """
        return self.page(width, height, output_tokens).vram(device_kind=device_kind)

    def largest_batch(
        self, memory_bytes: int, width: int, height: int, output_tokens: int = 0, *, device_kind: str = GPU
    ) -> int:
        """The largest static batch: the most pages of this size that fit `memory_bytes`, 0 if none does.

        Static: all of them are prefilled in one pass and decode together, so the prefill's activations count once a
        page. `devices.compute_throughput` has continuous batches, whose pages are prefilled one at a time: more fit.
        """
        check_count("largest_batch", "memory_bytes", memory_bytes)

        def fits(pages: int) -> bool:
            need = self.batched(pages).vram(width, height, output_tokens, device_kind=device_kind)
            return need.fits(memory_bytes)

        return largest(fits)

    def longest_output(self, memory_bytes: int, width: int, height: int, *, device_kind: str = GPU) -> int:
        """The most output tokens that fit `memory_bytes`, up to the model's limit.

        Raises `ModelMeterError` if the page does not fit without any.
        """
        check_count("longest_output", "memory_bytes", memory_bytes)
        need = self.vram(width, height, device_kind=device_kind)
        if not need.fits(memory_bytes):
            way = need.smaller_reserve(memory_bytes) or "take a smaller mode or a larger device"
            raise ModelMeterError(
                f"longest_output: the page alone needs {need.describe()}; {memory_bytes:,} bytes are given, "
                f"{need.total_bytes - memory_bytes:,} too few; {way}."
            )
        page = self.page(width, height)

        def fits(tokens: int) -> bool:
            room = all(each.seq_len + steps <= self.max_position_embeddings for each, steps in page.passes(tokens))
            return room and self.vram(width, height, tokens, device_kind=device_kind).fits(memory_bytes)

        return largest(fits, len(page.passes(0)) * self.max_position_embeddings)

    def prefill_layers(self, layout: Any, cached: int = 0) -> list[LayerCost]:
        """The layers of a page's prefill, in order, vision's first, and the operators between them.

        cached: of its positions, as `prefill_over_cache` takes it.
        """
        self._check_over_cache("prefill_layers", cached)
        walk, *_ = self._prefill_walk(self.seq_len(layout), layout, cached)
        return list(self.model._iter_layers("prefill", walk))

    def step_layers(self, context: int, generated: int = 0) -> list[LayerCost]:
        """The layers of one decode step, as `step` takes it, and the operators between them."""
        walk, _, _ = self._step_walk(context, generated)
        return list(self.model._iter_layers("decode", walk))


def unconfirmed(checkpoint: CheckpointSchema) -> tuple[Assumption, ...]:
    """What of a checkpoint's values nobody confirmed."""
    if checkpoint.unconfirmed is None:
        return ()
    return (Assumption(figure="checkpoint", label="not all confirmed", text=checkpoint.unconfirmed),)


def experts_assumption(hit: int | str) -> Assumption:
    """How many experts of a layer a step is taken to read."""
    texts = {
        MAX: "weights of min(E, k T) experts a layer are read in a step of T tokens: the most that it can hit",
        UNIFORM: "assumes uniform routing: weights of E (1 - (1 - k/E)^T) experts a layer in a step of T tokens",
    }
    text = texts.get(str(hit), f"declared: weights of {hit} experts a layer are read in a step that can hit so many")
    return Assumption(figure="io_weight_bytes", label=f"experts_hit={hit}", text=text)


def _walked(varied: Varied, weight_bytes: int, sizes: Variables) -> StageCost:
    """What a stage costs, from its walk over variables."""
    walk, given_bytes, kv_bytes = varied.walk(Tape(variables=sizes))
    return StageCost.of_walk(
        walk,
        weight_bytes=weight_bytes,
        kv_bytes=kv_bytes,
        kv_added_bytes=kv_bytes - given_bytes,
        given_bytes=given_bytes,
    )


def _together(parts: Sequence[tuple[str, PageCost, int]], stage: str) -> StageCost:
    """A stage of all passes of a page, its peak told by the pass that has it."""
    return _at_their_largest([(name, getattr(page, stage)) for name, page, _ in parts])


def _at_their_largest(costs: Sequence[tuple[str, StageCost]]) -> StageCost:
    """Costs of passes by their names, together, and whose peak it is."""
    return together([(replace(cost, peak_path=join_path(name, cost.peak_path)), 1) for name, cost in costs])


def check_generated(who: str, context: int, generated: int) -> None:
    """Raise `ModelMeterError` unless so many of the tokens before a step can have come from steps."""
    check_count(who, "generated", generated)
    if generated > context:
        raise ModelMeterError(
            f"{who}: generated={generated} of context={context} tokens before the step; give at most all of them."
        )


def _variables(tape: Tape) -> Variables:
    """The variables of a tape that has some."""
    assert tape.variables is not None
    return tape.variables


def _positive(**sizes: int) -> dict[str, int]:
    """The sizes that are not 0, which no variable is."""
    return {name: size for name, size in sizes.items() if size}


def _check_even(first: StageCost, second: StageCost, last: StageCost, steps: int) -> None:
    """Raise `ModelMeterError` unless what adds up grows evenly from the first step to the last."""
    for name in SUMS:
        start = getattr(first, name)
        if start + (getattr(second, name) - start) * (steps - 1) != getattr(last, name):
            raise ModelMeterError(
                f"decode: {name} does not grow evenly with the context; its steps have no closed form."
            )
