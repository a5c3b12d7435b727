"""From the size of a page to its cost: `load_cost_model` composes the configuration once, `page` is arithmetic."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import log2
from typing import TYPE_CHECKING, Any, Final

from modelmeter.errors import ModelMeterError, near, shown
from modelmeter.layers import BaseLayer
from modelmeter.memory import CPU, GPU, RESERVE_BYTES, reserve_on
from modelmeter.models.common import StageCost
from modelmeter.models.common.assumption import CONVENTIONS, Assumption
from modelmeter.models.common.laws import Laws
from modelmeter.models.common.loading import FLOAT32_ON_DEVICE, LOAD, load_bytes
from modelmeter.models.common.records import record
from modelmeter.models.common.stage_cost import SUMS
from modelmeter.models.common.vram import Vram
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import STAGES, DeepseekOCRModel, LayerCost
from modelmeter.models.deepseek_ocr.layers.vision.image_encoder_vit import (
    DOWNSAMPLE_RATIO,
    ImageEncoderViT,
    check_batch_size,
)
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import MlpProjector
from modelmeter.models.deepseek_ocr.layers.vision.vit_model import VitModel
from modelmeter.models.deepseek_ocr.prompt import count_prompt_tokens
from modelmeter.models.deepseek_ocr.schema import ModelSchema, VisionSchema, compose, read_configuration
from modelmeter.models.deepseek_ocr.vision_workload import (
    ViewLayout,
    ViewLayouts,
    VisionConfig,
    VisionTokens,
    VisionWorkload,
    build_vision_cfg_from_workload,
    compute_view_layout,
    compute_view_layouts,
    compute_vision_tokens,
    layout_kinds,
)
from modelmeter.search import largest
from modelmeter.shape_tensor import Holding, Tape, Walk
from modelmeter.sizes import Variables

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PARTS: Final = ("image_encoder_vit", "vit_model", "mlp_projector", "decoder_prefill")

#: layouts whose pages one cost model remembers
LAYOUTS_KEPT: Final = 4096

#: where all tokens of a step miss an expert with a chance below 2 ** -NEGLIGIBLE_BITS, all experts are hit: no layer
#: has the bytes that such a chance could change after rounding, and written exactly it has a digit a token
NEGLIGIBLE_BITS: Final = 128

#: side of the published Hugging Face code's tiles, pixels
PUBLISHED_TILE: Final = 640

WITHOUT_AUTOCAST: Final = Assumption(
    figure="execution",
    label="without autocast",
    text="the published infer() runs under CUDA autocast, which changes traffic and peaks and is not modelled",
)
AT_ITS_BEST: Final = Assumption(
    figure="execution",
    label="an engine at its best",
    text="the least of the executions, counted like them, kernel by kernel and without a cache; no code runs all of it",
)
WITHOUT_BLOCKS: Final = Assumption(
    figure="kv_bytes",
    label="blocks not rounded up",
    text="the cache holds its tokens alone: an engine allocates whole blocks of them (16 in vLLM by default) and reads "
    "tables of blocks",
)
RESERVE_BY_KIND: Final = f"{RESERVE_BYTES[GPU]:,} bytes on a GPU, {RESERVE_BYTES[CPU]} on a CPU (runtime.reserve_bytes)"
#: crops that vLLM and SGLang cut at most: MAX_CROPS in their processors of this model and in the published vLLM example
ENGINE_MAX_CROPS: Final = 6

FLOAT32_FIRST: Final = Assumption(
    figure=LOAD,
    label=FLOAT32_ON_DEVICE,
    text="all weights are on the device in float32 before they are converted there, one after another",
)


def tiles_of_image_size(image_size: int) -> Assumption:
    """What execution=published models where `image_size` is not the side of the published code's tiles."""
    other = "fails here" if image_size > PUBLISHED_TILE else "puts a part of their features into the prompt"
    cut = f"cuts {PUBLISHED_TILE} all the same"
    return Assumption(
        figure="layout",
        label="tiles of image_size",
        text=f"as in the published vLLM example; the other published code {cut} and {other}",
    )


@dataclass(frozen=True, kw_only=True)
class TextCost:
    """The stages of a prompt without an image of `seq_len` positions."""

    seq_len: int
    prefill: StageCost
    decode: StageCost

    @property
    def total(self) -> StageCost:
        """Prefill, then decode."""
        return self.prefill + self.decode


@dataclass(frozen=True, kw_only=True)
class PageCost(TextCost):
    """One page's layout, tokens and stages (or `runtime.batch_size` pages of the same size together).

    Prefill includes vision; `seq_len` counts the image's tokens and the prompt's.
    """

    layout: ViewLayout
    tokens: VisionTokens
    vision_config: VisionConfig
    vision: StageCost


class CostModel:
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process.

    counted: the prompt's tokens, where they are known: then no tokenizer is opened for `config.runtime.prompt`.
    """

    def __init__(self, config: ModelSchema, *, counted: int | None = None) -> None:
        config = read_configuration(asdict(config))
        self.config = config
        self.workload = VisionWorkload(**vars(config.workload))
        self.common: dict[str, Any] = {
            "execution": config.execution.name,
            "attention": config.runtime.attention,
            "dtype": config.runtime.dtype,
        }
        vision = config.vision
        if self.workload.patch_size != vision.sam.patch_size:
            raise ModelMeterError(
                f"config: workload.patch_size={self.workload.patch_size} differs from "
                f"vision.sam.patch_size={vision.sam.patch_size}; set both to the same size."
            )
        if self.workload.downsample_ratio != DOWNSAMPLE_RATIO:
            raise ModelMeterError(
                f"config: workload.downsample_ratio={self.workload.downsample_ratio}, but net_2 and net_3 of the SAM "
                f"encoder make one token of {DOWNSAMPLE_RATIO} x {DOWNSAMPLE_RATIO} patches; leave it at that."
            )
        self.architecture: dict[str, Any] = {
            name: asdict(getattr(vision, name)) for name in ("sam", "clip", "projector")
        }
        decoder = asdict(config.decoder)
        check_heads(decoder["hidden_size"], decoder["num_attention_heads"])
        check_vision(vision)
        self.max_position_embeddings: int = decoder["max_position_embeddings"]
        self.architecture |= {"vocab_size": decoder.pop("vocab_size"), "decoder": decoder}
        self._build()
        self.head = config.runtime.head or self.model.execution.head
        self.prompt_tokens = self._prompt_tokens(counted)
        self._weight_bytes = self.model.forward_memory_weight()
        self._vision_weight_bytes = self.model.vision_weight_bytes()
        self.load_bytes = load_bytes(config.runtime.load, self.model.parameters_as_converted())
        self.experts_hit(1)

    def _prompt_tokens(self, counted: int | None) -> int:
        runtime = self.config.runtime
        if runtime.prompt is None:
            return runtime.prompt_tokens
        if counted is None:
            return count_prompt_tokens(runtime.prompt, runtime.tokenizer_path)
        check_count("runtime", "prompt_tokens", counted)
        return counted

    def _build(self) -> None:
        """The model, of which nothing has been walked yet."""
        self.model = DeepseekOCRModel(**self.architecture, **self.common)
        self._laws = Laws()
        self._learnt = False
        self._pages: OrderedDict[tuple[int, int, int], PageCost] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: not what was walked, which compiled functions hold, and not the tokenizer."""
        walked = ("model", "_laws", "_learnt", "_pages")
        return {name: value for name, value in vars(self).items() if name not in walked}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._build()

    def experts_hit(self, tokens: int) -> int | Fraction:
        """Distinct experts a layer whose weights `tokens` tokens read, as `runtime.experts_hit` declares."""
        declared, decoder = self.config.runtime.experts_hit, self.config.decoder
        experts, top_k = decoder.n_routed_experts, decoder.num_experts_per_tok
        most = int(min(experts, top_k * tokens))  # where `tokens` varies: all experts, or as many as so few can hit
        if declared == "max":
            return most
        if declared == "uniform":
            missed = 1 - Fraction(top_k, experts)  # by one token
            if not missed or -log2(missed) * int(tokens) > NEGLIGIBLE_BITS:
                return experts
            return experts * (1 - missed ** int(tokens))
        if isinstance(declared, bool) or not isinstance(declared, int) or not top_k <= declared <= experts:
            raise ModelMeterError(
                f"runtime: experts_hit={declared} is neither max nor uniform nor a number of experts from "
                f"{top_k} (one token's) to {experts} (all)."
            )
        return min(declared, most)

    def settings(self) -> dict[str, object]:
        """What the figures depend on beside workload and page size, by the name that an override gives it."""
        runtime = self.config.runtime
        return {
            "execution": self.config.execution.name,
            "runtime.attention": runtime.attention,
            "runtime.dtype": runtime.dtype,
            "runtime.batch_size": runtime.batch_size,
            "runtime.head": self.head,
            "runtime.experts_hit": runtime.experts_hit,
        }

    def assumptions(self) -> tuple[Assumption, ...]:
        """The figures of a page that are declared, assumed or conventional."""
        runtime = self.config.runtime
        hit = runtime.experts_hit
        texts = {
            "max": "weights of min(E, k T) experts a layer are read in a step of T tokens: the most that it can hit",
            "uniform": "assumes uniform routing: weights of E (1 - (1 - k/E)^T) experts a layer in a step of T tokens",
        }
        counted = runtime.prompt is not None
        published, image_size = self.config.execution.name == "published", self.workload.image_size
        other_tiles = published and self.workload.crop_mode and image_size != PUBLISHED_TILE
        return (
            Assumption(
                figure="prompt_tokens",
                label="counted" if counted else "declared",
                text="counted by the tokenizer in runtime.tokenizer_path"
                if counted
                else f"runtime.prompt_tokens={self.prompt_tokens}",
            ),
            Assumption(
                figure="io_weight_bytes",
                label=f"experts_hit={hit}",
                text=texts.get(
                    hit, f"declared: weights of {hit} experts a layer are read in a step that can hit so many"
                ),
            ),
            Assumption(
                figure="reserve_bytes",
                label="reserve assumed",
                text=RESERVE_BY_KIND
                if runtime.reserve_bytes is None
                else f"runtime.reserve_bytes={runtime.reserve_bytes}",
            ),
            *((FLOAT32_FIRST,) if runtime.load == FLOAT32_ON_DEVICE else ()),
            *((WITHOUT_AUTOCAST,) if published else ()),
            *((AT_ITS_BEST, WITHOUT_BLOCKS, *self._more_crops()) if self.model.execution.cache_paged else ()),
            *((tiles_of_image_size(image_size),) if other_tiles else ()),
            *CONVENTIONS,
        )

    def _more_crops(self) -> tuple[Assumption, ...]:
        """That pages are cut into more crops here than engines cut them into, where they are."""
        limit = self.workload.max_num
        if not self.workload.crop_mode or limit <= ENGINE_MAX_CROPS:
            return ()
        text = (
            f"counted with workload.max_num={limit}; vLLM and SGLang cut at most {ENGINE_MAX_CROPS} (MAX_CROPS in "
            f"their processors and in the published vLLM config): workload.max_num={ENGINE_MAX_CROPS} counts as they do"
        )
        label = f"up to {limit} crops; engines {ENGINE_MAX_CROPS}"
        return (Assumption(figure="layout", label=label, text=text),)

    def vision_config(self, layout: ViewLayout) -> VisionConfig:
        """Batch, img_size, seq_len and num_tokens of both branches."""
        return build_vision_cfg_from_workload(self.workload, layout, self.config.runtime.batch_size)

    def seq_len(self, layout: ViewLayout) -> int:
        """Positions of a page's prompt: its image tokens, and those around them."""
        return compute_vision_tokens(self.workload, layout).total + self.prompt_tokens

    def page(self, width: int, height: int, output_tokens: int = 0) -> PageCost:
        """The cost of a page of `width` x `height` pixels, and of `output_tokens` decode steps after its prefill."""
        return self.layout_cost(compute_view_layout(self.workload, width, height), output_tokens)

    def layout_cost(self, layout: tuple[int, int, int], output_tokens: int = 0) -> PageCost:
        """The cost of any page that is cut into `layout`, a `ViewLayout` or its fields: nothing else of it matters."""
        page = self._pages.get(layout)
        if page is None:
            fields = layout if isinstance(layout, ViewLayout) else ViewLayout(*layout)
            page = self._pages[layout] = self._page(fields)
            if len(self._pages) > LAYOUTS_KEPT:
                self._pages.popitem(last=False)
        self._check_context(page.seq_len, output_tokens)
        if not output_tokens:
            return page
        return record(PageCost, vars(page) | {"decode": self._decode(page.seq_len, output_tokens)})

    def _page(self, layout: ViewLayout) -> PageCost:
        """The page without output."""
        tokens = compute_vision_tokens(self.workload, layout)
        seq_len = self.seq_len(layout)
        self._check_context(seq_len, 0)
        if not self._learnt:
            self._learnt = True
            self._learn()
        prefill = self._prefill(seq_len, layout)
        return PageCost(
            seq_len=seq_len,
            layout=layout,
            tokens=tokens,
            vision_config=self.vision_config(layout),
            vision=self._vision(layout),
            prefill=prefill,
            decode=self._no_step(prefill),
        )

    def _learn(self) -> None:
        """Walk a layout of each kind, so that from the first page on a page of any layout is arithmetic.

        Unless the decoder's own law does not reach from one layout to the next: then each page walks it anyway.
        """
        uncut, *cut = layout_kinds(self.workload)
        with suppress(ModelMeterError):  # a kind that cannot be walked says so when it is asked for
            self._prefill(self.seq_len(uncut), uncut)
            for layout in cut:
                values = self._sizes(uncut, seq_len=self.seq_len(layout))
                if self._laws.known(("prefill", *values), values):
                    self._prefill(self.seq_len(layout), layout)
                    self._vision(layout)

    def text(self, prompt_tokens: int, output_tokens: int = 0) -> TextCost:
        """The cost of a prompt without an image: `prompt_tokens` positions, then `output_tokens` decode steps."""
        check_count("text", "prompt_tokens", prompt_tokens)
        self._check_context(prompt_tokens, output_tokens)
        if prompt_tokens == 0:
            raise ModelMeterError("text: prompt_tokens=0 leaves nothing to prefill; give 1 or more.")
        prefill = self._prefill(prompt_tokens, None)
        decode = self._decode(prompt_tokens, output_tokens) if output_tokens else self._no_step(prefill)
        return TextCost(seq_len=prompt_tokens, prefill=prefill, decode=decode)

    def view_layouts(self, widths: ArrayLike, heights: ArrayLike) -> ViewLayouts:
        """The layouts of many pages, from integer arrays of their widths and heights in pixels."""
        return compute_view_layouts(self.workload, widths, heights)

    def _check_context(self, seq_len: int, output_tokens: int) -> None:
        check_count("page", "output_tokens", output_tokens)
        if seq_len + output_tokens > self.max_position_embeddings:
            room = self.max_position_embeddings - seq_len
            raise ModelMeterError(
                f"context: {seq_len} tokens of prompt and image and output_tokens={output_tokens} exceed "
                f"decoder.max_position_embeddings={self.max_position_embeddings}; "
                + (f"output_tokens may be up to {room}." if room >= 0 else "take a smaller mode or a shorter prompt.")
            )

    # -- stages over variables: the sizes that differ from page to page ------------------------------------------------

    def _sizes(self, layout: ViewLayout | None, **values: int) -> dict[str, int]:
        """The sizes that vary: `values`, columns and rows where there are crops, pages where there are several."""
        if layout is not None and layout.num_views_total > 1:
            values |= {"columns": layout.w_crop, "rows": layout.h_crop}
        if self.batch_size > 1:
            values["pages"] = self.batch_size
        return values

    def _vision(self, layout: ViewLayout) -> StageCost:
        def walk(sizes: Variables) -> StageCost:
            vision = self.model.vision_walk(*self._varying(sizes, layout), Tape(variables=sizes))
            return StageCost.of_walk(vision, weight_bytes=self._vision_weight_bytes)

        sizes = self._sizes(layout)
        return self._laws.cost(("vision", *sizes), sizes, walk)

    def _prefill(self, seq_len: int, layout: ViewLayout | None) -> StageCost:
        def walk(sizes: Variables) -> StageCost:
            pages, tokens = self._varying_pages(sizes), sizes.size("seq_len")
            vision, grid = (None, (1, 1)) if layout is None else self._varying(sizes, layout)
            prefill, kv_bytes = self.model.prefill_walk(
                pages, tokens, vision, grid, self.experts_hit(pages * tokens), self.head, Tape(variables=sizes)
            )
            return StageCost.of_walk(
                prefill, weight_bytes=self._weight_bytes, kv_bytes=kv_bytes, kv_added_bytes=kv_bytes
            )

        sizes = self._sizes(layout, seq_len=seq_len)
        return self._laws.cost(("text" if layout is None else "prefill", *sizes), sizes, walk)

    def step(self, context: int) -> StageCost:
        """One decode step with `context` tokens before it."""
        check_count("step", "context", context)
        return self._step(self._sizes(None, context=context) if context else self._sizes(None))

    def _step(self, values: Mapping[str, int]) -> StageCost:
        def walk(sizes: Variables) -> StageCost:
            pages, before = self._varying_pages(sizes), sizes.size("context") if "context" in values else 0
            step, given_bytes, kv_bytes = self.model.decode_walk(
                pages, before, self.experts_hit(pages), self.head, Tape(variables=sizes)
            )
            return StageCost.of_walk(
                step,
                weight_bytes=self._weight_bytes,
                kv_bytes=kv_bytes,
                kv_added_bytes=kv_bytes - given_bytes,
                given_bytes=given_bytes,
            )

        return self._laws.cost(("step", *values), values, walk)

    def _decode(self, seq_len: int, steps: int) -> StageCost:
        """`steps` steps after a prefill of `seq_len` tokens, in closed form: sums are affine in the context."""

        def walk(sizes: Variables) -> StageCost:
            start, several = sizes.size("seq_len"), sizes.size("steps")
            pages = {name: sizes.size(name) for name in sizes.values if name == "pages"}
            first, second, last = (
                self._step({"context": context} | pages) for context in (start, start + 1, start + several - 1)
            )
            _check_even(first, second, last, several)
            return first.summed(second, last, several)

        if steps == 1:
            return self.step(seq_len)
        values = self._sizes(None, seq_len=seq_len, steps=steps)
        return self._laws.cost(("decode", *values), values, walk)

    def _no_step(self, prefill: StageCost) -> StageCost:
        return StageCost(weight_bytes=self._weight_bytes, kv_bytes=prefill.kv_bytes)

    def _varying_pages(self, sizes: Variables) -> int:
        return sizes.size("pages") if self.batch_size > 1 else 1

    def _varying(self, sizes: Variables, layout: ViewLayout) -> tuple[VisionConfig, tuple[int, int]]:
        """The branches of a layout and its grid, as far as they vary."""
        vision, pages = self.vision_config(layout), self._varying_pages(sizes)
        global_branch = replace(vision.global_branch, batch_size=pages)
        if vision.crop_branch is None:
            return replace(vision, global_branch=global_branch), (1, 1)
        columns, rows = sizes.size("columns"), sizes.size("rows")
        crop_branch = replace(vision.crop_branch, batch_size=pages * columns * rows)
        return replace(vision, global_branch=global_branch, crop_branch=crop_branch), (columns, rows)

    # -- walks of one page's stages, operator by operator ------------------------------------------------------------

    def _vision_walk(self, layout: ViewLayout) -> Walk:
        return self.model.vision_walk(self.vision_config(layout), (layout.w_crop, layout.h_crop))

    def _prefill_walk(self, seq_len: int, layout: ViewLayout | None) -> tuple[Walk, int]:
        batch = self.config.runtime.batch_size
        vision = None if layout is None else self.vision_config(layout)
        grid = (1, 1) if layout is None else (layout.w_crop, layout.h_crop)
        return self.model.prefill_walk(batch, seq_len, vision, grid, self.experts_hit(batch * seq_len), self.head)

    def _step_walk(self, context: int) -> tuple[Walk, int, int]:
        batch = self.config.runtime.batch_size
        return self.model.decode_walk(batch, context, self.experts_hit(batch), self.head)

    @property
    def batch_size(self) -> int:
        """Pages of equal size that one `PageCost` is for."""
        return self.config.runtime.batch_size

    @property
    def reserve_bytes(self) -> int | None:
        """Device memory left free, as `runtime.reserve_bytes` says; None: what the kind of the device leaves."""
        return self.config.runtime.reserve_bytes

    def batched(self, pages: int) -> CostModel:
        """This model with `runtime.batch_size=pages`; layers, walks and laws are shared."""
        check_batch_size("batched", pages)
        other = object.__new__(CostModel)
        vars(other).update(vars(self))
        other.config = replace(self.config, runtime=replace(self.config.runtime, batch_size=pages))
        other._pages = OrderedDict()
        other._learnt = True  # a number of pages is tried once: only what is asked is walked
        return other

    def stage_walk(self, stage: str, *, page: TextCost | None = None, context: int = 0) -> Walk:
        """The operators of "vision" or "prefill" of a page (or text), or of one "decode" step after `context` tokens.

        The walk is for `batch_size` pages like `page`, whatever batch `page` itself was asked for.
        """
        layout = page.layout if isinstance(page, PageCost) else None
        if stage == "decode":
            check_count("stage_walk", "context", context)
            return self._step_walk(context)[0]
        if stage not in STAGES:
            raise ModelMeterError(f"stage_walk: stage {stage} is unknown; {near(stage, STAGES)}")
        if page is None or (stage == "vision" and layout is None):
            raise ModelMeterError(f"stage_walk: the {stage} stage is that of a page; give page=cost_model.page(...).")
        if stage == "vision" and layout is not None:
            return self._vision_walk(layout)
        return self._prefill_walk(page.seq_len, layout)[0]

    def vision_layers(self, layout: ViewLayout) -> list[LayerCost]:
        """The layers of the vision stage, in order, and the operators between them."""
        return list(self.model._iter_layers("vision", self._vision_walk(layout)))

    def peak_holders(self, stage: str, width: int, height: int, output_tokens: int = 0) -> list[Holding]:
        """Who is alive at the resident peak of a page's stage, the largest first; together they are that peak.

        decode: the last of `output_tokens` steps, at least one.
        """
        if stage not in STAGES:
            raise ModelMeterError(f"peak_holders: stage {stage} is unknown; {near(stage, STAGES)}")
        layout = compute_view_layout(self.workload, width, height)
        grid = (layout.w_crop, layout.h_crop)
        seq_len = self.seq_len(layout)
        batch, vision = self.config.runtime.batch_size, self.vision_config(layout)
        tape = Tape(tracing=True)
        if stage == "vision":
            self.model.run_vision(tape, vision, grid)
        elif stage == "prefill":
            self.model.run_prefill(tape, batch, seq_len, vision, grid, self.experts_hit(batch * seq_len), self.head)
        else:
            self._check_context(seq_len, output_tokens)
            if not output_tokens:
                raise ModelMeterError("peak_holders: decode has no step with output_tokens=0; give 1 or more.")
            states = self.model.given_cache(tape, batch, seq_len + output_tokens - 1)
            self.model.run_decode(tape, states, batch, self.experts_hit(batch), self.head)
        return sorted(tape.at_peak, key=lambda holding: -holding.nbytes)

    def vram(self, width: int, height: int, output_tokens: int = 0, *, device_kind: str = GPU) -> Vram:
        """The memory that a page and its output need (or `runtime.batch_size` pages together).

        device_kind: "gpu" or "cpu"; it decides how much is left free where `runtime.reserve_bytes` does not.
        """
        page = self.page(width, height, output_tokens)
        return Vram.of_stages(
            {"prefill": page.prefill, "decode": page.decode},
            reserve_bytes=reserve_on(device_kind, self.reserve_bytes),
            load_bytes=self.load_bytes,
        )

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
        room = self.max_position_embeddings - self.seq_len(compute_view_layout(self.workload, width, height))
        return largest(
            lambda tokens: self.vram(width, height, tokens, device_kind=device_kind).fits(memory_bytes), room
        )

    def prefill_layers(self, layout: ViewLayout) -> list[LayerCost]:
        """The layers of a page's prefill, in order, vision's first, and the operators between them."""
        walk, _ = self._prefill_walk(self.seq_len(layout), layout)
        return list(self.model._iter_layers("prefill", walk))

    def step_layers(self, context: int) -> list[LayerCost]:
        """The layers of one decode step with `context` tokens before it, and the operators between them."""
        walk, _, _ = self._step_walk(context)
        return list(self.model._iter_layers("decode", walk))

    def part(self, name: str, **size: Any) -> BaseLayer:
        """A part of the vision stage alone: image_encoder_vit, vit_model (batch_size, img_size) or mlp_projector."""
        parts: dict[str, tuple[type[BaseLayer], str]] = {
            "image_encoder_vit": (ImageEncoderViT, "sam"),
            "vit_model": (VitModel, "clip"),
            "mlp_projector": (MlpProjector, "projector"),
        }
        if name not in parts:
            raise ModelMeterError(f"CostModel: part {name} is unknown; {near(name, PARTS)}")
        layer, architecture = parts[name]
        return layer(**self.architecture[architecture], **size, **self.common)

    def part_peak(self, name: str, **size: int) -> int:
        """Activation peak of a part alone, bytes; decoder_prefill (seq_len): the decoder, no embedding and no head."""
        if name == "decoder_prefill":
            seq_len, batch = size.get("seq_len", 0), self.batch_size
            if set(size) != {"seq_len"} or isinstance(seq_len, bool) or not isinstance(seq_len, int) or seq_len < 1:
                given = ", ".join(f"{name}={value!r}" for name, value in size.items()) or "nothing"
                raise ModelMeterError(
                    f"part_peak: decoder_prefill got {given}; give seq_len, a positive whole number of tokens, alone."
                )
            return self.model.decoder_walk(batch, seq_len, self.experts_hit(batch * seq_len)).peak_bytes
        return self.part(name, **size).forward_memory_activation()


def load_cost_model(overrides: Sequence[str] = ()) -> CostModel:
    """Compose the configuration with Hydra overrides, once, and build the model.

    >>> load_cost_model(["workload=base"]).page(1275, 1650).tokens.total
    273
    """
    return CostModel(compose(overrides))


def restore_cost_model(configuration: Mapping[str, Any], *, prompt_tokens: int) -> CostModel:
    """The model of a configuration as a result states it, and of the prompt tokens that were counted for it.

    Neither Hydra nor a tokenizer is asked, and nothing is interpolated. Raises `ModelMeterError` for a key that does
    not exist and for a value that is not allowed.

    >>> restore_cost_model({"workload": {"base_size": 640}}, prompt_tokens=10).workload.base_size
    640
    """
    return CostModel(read_configuration(configuration), counted=prompt_tokens)


def _check_even(first: StageCost, second: StageCost, last: StageCost, steps: int) -> None:
    """Raise `ModelMeterError` unless what adds up grows evenly from the first step to the last."""
    for name in SUMS:
        start = getattr(first, name)
        if start + (getattr(second, name) - start) * (steps - 1) != getattr(last, name):
            raise ModelMeterError(
                f"decode: {name} does not grow evenly with the context; its steps have no closed form."
            )


def check_vision(vision: VisionSchema) -> None:
    """Raise `ModelMeterError` unless the sizes of the vision stage fit together: positions, and widths of its parts."""
    sam, clip, projector = vision.sam, vision.clip, vision.projector
    indexes = sam.global_attn_indexes
    if len(set(indexes)) < len(indexes) or max(indexes, default=0) >= sam.depth:
        raise ModelMeterError(
            f"config: vision.sam.global_attn_indexes={shown(indexes)} are no blocks of vision.sam.depth={sam.depth}; "
            f"give numbers from 0 to {sam.depth - 1}, each once."
        )
    if sam.pretrain_img_size % sam.patch_size:
        raise ModelMeterError(
            f"config: vision.sam.pretrain_img_size={sam.pretrain_img_size} is no multiple of "
            f"vision.sam.patch_size={sam.patch_size}; give one."
        )
    width = sam.downsample_channels[-1]
    if clip.hidden_size != width:
        raise ModelMeterError(
            f"config: vision.clip.hidden_size={clip.hidden_size} takes the {width} channels that the last of "
            f"vision.sam.downsample_channels={sam.downsample_channels} makes; set both to the same width."
        )
    if projector.input_dim != width + clip.hidden_size:
        raise ModelMeterError(
            f"config: vision.projector.input_dim={projector.input_dim} is not the width of SAM's and CLIP's features "
            f"side by side; give {width + clip.hidden_size}."
        )


def check_heads(hidden_size: int, num_attention_heads: int) -> None:
    """Raise `ModelMeterError` where a decoder's heads are of an odd width."""
    head_dim, left = divmod(hidden_size, num_attention_heads)
    if not left and head_dim % 2:
        raise ModelMeterError(
            f"config: decoder.hidden_size={hidden_size} in num_attention_heads={num_attention_heads} "
            f"makes heads of {head_dim} elements; the rotary embedding takes even ones."
        )


def check_count(who: str, name: str, value: object) -> None:
    """Raise `ModelMeterError` unless `value` is a whole number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ModelMeterError(f"{who}: {name}={value!r} is no number of tokens; give a whole number of 0 or more.")
