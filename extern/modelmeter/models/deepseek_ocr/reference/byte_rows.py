"""Bytes of every part, analytic and measured, over a grid of sizes: the rows of reports/verification/bytes.md.

The parts: SAM, CLIP and projector over views; the decoder without head over a prompt; a decode step after it; the head
over its result. A row is one part, alone, at one size: what it moves, what it holds at its peak, and where that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any, Final, NamedTuple

import torch

from modelmeter.layers import InputSpec
from modelmeter.models.deepseek_ocr.cost_model import CostModel, load_cost_model
from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE
from modelmeter.models.deepseek_ocr.reference.modules import TextReference, VisionReference
from modelmeter.models.deepseek_ocr.reference.replica import CausalModel, ReplicaCache
from modelmeter.reference.building import DTYPES, cache_tensors, on_meta
from modelmeter.reference.comparison import Compared
from modelmeter.reference.measurement import Measurement, measure
from modelmeter.units import ceil_div
from modelmeter.walk import Walk

SIDES: Final = (448, 512, 640, 656, 768, 1024, 1280)
VIEWS: Final = (1, 2, 6, 9)
PROMPTS: Final = (100, 273, 913, 2000, 4000)

#: what each execution can run: float16 eager converts before its softmax on the meta device, on CUDA not; the
#: published vision code has no eager attention, and FlashAttention 2 no float32
VISION_RUNTIMES: Final = {
    "transformers": (
        ("bfloat16", "flash"),
        ("bfloat16", "eager"),
        ("float32", "flash"),
        ("float32", "eager"),
        ("float16", "flash"),
    ),
    "published": (("bfloat16", "flash"), ("float32", "flash"), ("float16", "flash")),
}
TEXT_RUNTIMES: Final = {
    "transformers": VISION_RUNTIMES["transformers"],
    "published": (("bfloat16", "flash"), ("bfloat16", "eager"), ("float32", "eager"), ("float16", "flash")),
}
VISION_PARTS: Final = ("image_encoder_vit", "vit_model", "mlp_projector")


class RowGroup(NamedTuple):
    """Rows of one code, type and kernel, of vision or of text."""

    execution: str
    dtype: str
    attention: str
    stage: str


@dataclass(frozen=True, kw_only=True)
class ByteRow:
    """One part at one size: bytes moved, bytes held at the peak, resident included, and the operator there."""

    group: RowGroup
    part: str
    size: str
    io: Compared
    peak: Compared
    resident: Compared
    operators: tuple[str, str]

    @property
    def agrees(self) -> bool:
        """Whether every difference is 0 and the peak is at the same operator."""
        return all(each.agrees(0) for each in (self.io, self.peak, self.resident)) and len(set(self.operators)) == 1

    def line(self) -> str:
        """The row in the report."""
        cells = [self.part, self.size, *self.group[:3]]
        for each in (self.io, self.peak, self.resident):
            cells += [f"{each.analytic:,}", f"{each.measured:,}", f"{each.difference:,}"]
        operator = self.operators[0] if len(set(self.operators)) == 1 else " / ".join(self.operators)
        return "| " + " | ".join([*cells, operator]) + " |"


COLUMNS: Final = ("part", "size", "execution", "type", "attention")
FIGURES: Final = ("moved", "peak", "resident peak")
HEADING: Final = (
    f"| {' | '.join(COLUMNS)} | "
    + " | ".join(f"{figure}, analytic | measured | difference" for figure in FIGURES)
    + " | operator at the peak |\n"
    + "|---" * len(COLUMNS)
    + "|---:" * 3 * len(FIGURES)
    + "|---|"
)


def groups() -> list[RowGroup]:
    """All groups of rows."""
    runtimes = (("vision", VISION_RUNTIMES), ("text", TEXT_RUNTIMES))
    return [
        RowGroup(execution, dtype, attention, stage)
        for stage, by_execution in runtimes
        for execution, pairs in by_execution.items()
        for dtype, attention in pairs
    ]


class RowWalk(NamedTuple):
    """One row by our walk, and the bytes of the cache that it is given."""

    part: str
    size: str
    walk: Walk
    given_bytes: int = 0


def rows(group: RowGroup) -> Iterator[ByteRow]:
    """Every row of a group, measured now."""
    for (part, size, walk, given_bytes), measured in zip(walks(group), measurements(group), strict=True):
        yield ByteRow(
            group=group,
            part=part,
            size=size,
            io=Compared(walk.bytes_read + walk.bytes_written, measured.io_bytes),
            peak=Compared(walk.peak_bytes, measured.activation_peak_bytes),
            resident=Compared(given_bytes + walk.resident_peak_bytes, measured.resident_peak_bytes),
            operators=(walk.peak_operator, measured.peak_operator),
        )


def walks(group: RowGroup) -> Iterator[RowWalk]:
    """Every row of a group, walked."""
    model = load_cost_model(
        [f"execution={group.execution}", f"runtime.dtype={group.dtype}", f"runtime.attention={group.attention}"]
    )
    return _vision_walks(model) if group.stage == "vision" else _text_walks(model, group.dtype)


def measurements(group: RowGroup) -> Iterator[Measurement]:
    """Every row of a group, measured; in the same order."""
    modules = replica(*group[1:3]) if group.execution == "published" else library(*group[1:3])
    return _vision_measurements(modules) if group.stage == "vision" else _text_measurements(modules)


def _vision_walks(model: CostModel) -> Iterator[RowWalk]:
    for side, views in product(SIDES, VIEWS):
        sizes: dict[str, dict[str, int]] = {
            "image_encoder_vit": {"batch_size": views, "img_size": side},
            "vit_model": {"batch_size": views, "img_size": side},
            "mlp_projector": {"batch_size": views, "num_tokens": ceil_div(side, 64) ** 2},
        }
        for part in VISION_PARTS:
            yield RowWalk(part, f"{views} x {side}", model.part(part, **sizes[part]).walk())


def _vision_measurements(modules: Modules) -> Iterator[Measurement]:
    for side, views in product(SIDES, VIEWS):
        grid = ceil_div(side, 64)
        inputs = {
            "image_encoder_vit": modules.empty(views, 3, side, side),
            "vit_model": modules.empty(views, 1024, grid, grid),
            "mlp_projector": modules.empty(views, grid * grid, 2048),
        }
        for part in VISION_PARTS:
            module = modules.parts[part]
            yield measure(module, partial(module, inputs[part]))


def _text_walks(model: CostModel, dtype: str) -> Iterator[RowWalk]:
    width = model.config.decoder.hidden_size
    for prompt in PROMPTS:
        walk = model.model.decoder_walk(1, prompt, experts_hit(prompt))
        yield RowWalk("decoder_prefill", f"{prompt}", walk)
        walk, given_bytes = model.model.decoder_step_walk(1, prompt, experts_hit(1))
        yield RowWalk("decode_step", f"1 after {prompt}", walk, given_bytes)
        yield RowWalk("lm_head", f"{prompt}", model.model.lm_head.walk(InputSpec((1, prompt, width), dtype)))


def _text_measurements(modules: Modules) -> Iterator[Measurement]:
    width = ARCHITECTURE["hidden_size"]
    for prompt in PROMPTS:
        measured, cache = modules.decode(modules.empty(1, prompt, width), experts_hit(prompt), None)
        yield measured
        measured, _ = modules.decode(modules.empty(1, 1, width), experts_hit(1), cache)
        yield measured
        head = modules.parts["lm_head"]
        yield measure(head, partial(head, modules.empty(1, prompt, width)))


def experts_hit(tokens: int) -> int:
    """The most that so many tokens can visit."""
    return min(ARCHITECTURE["n_routed_experts"], ARCHITECTURE["num_experts_per_tok"] * tokens)


# -- the modules of an execution ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Modules:
    """Real modules by the part's name, and the decoder's call over a cache: what it measured, and the cache."""

    dtype: torch.dtype
    parts: dict[str, Any]
    decode: Callable[[torch.Tensor, int, Any], tuple[Measurement, Any]]

    def empty(self, *shape: int) -> torch.Tensor:
        """An input on the meta device."""
        return torch.empty(shape, dtype=self.dtype, device="meta")


@cache
def library(dtype: str, attention: str) -> Modules:
    """transformers' modules."""
    vision = VisionReference(dtype, attention)
    text = TextReference(dtype, attention)

    def decode(embeddings: torch.Tensor, experts_hit: int, kv_cache: Any) -> tuple[Measurement, Any]:
        held = text.cache(1, 0) if kv_cache is None else kv_cache
        measured = measure(
            text.model, lambda: text(embeddings, held), cached=lambda: cache_tensors(held), experts_hit=experts_hit
        )
        return measured, held

    parts = dict(zip(VISION_PARTS, (vision.sam, vision.clip, vision.projector), strict=True))
    return Modules(dtype=DTYPES[dtype], parts={**parts, "lm_head": text.lm_head}, decode=decode)


@cache
def replica(dtype: str, attention: str) -> Modules:
    """The replica of the published code."""
    with on_meta(dtype):
        causal = CausalModel(eager=attention == "eager").eval()
    model = causal.model

    def decode(embeddings: torch.Tensor, experts_hit: int, kv_cache: Any) -> tuple[Measurement, Any]:
        held = ReplicaCache() if kv_cache is None else kv_cache
        model.decoder.declare_experts_hit(experts_hit)
        measured = measure(model.decoder, lambda: model.decoder(embeddings, held), cached=lambda: held.tensors)
        return measured, held

    parts = dict(zip(VISION_PARTS, (model.sam_model, model.vision_model, model.projector), strict=True))
    return Modules(dtype=DTYPES[dtype], parts={**parts, "lm_head": causal.lm_head}, decode=decode)
