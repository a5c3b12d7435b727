"""What is measured of real modules: pages, configurations and decode steps, by model.

To add one: a line below, then `make measured`. A case is named by all that it is, so that a changed one is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from tests.models.deepseek_ocr2.small import IN_ENCODER
from tests.models.deepseek_ocr2.small import OVERRIDES as DEEPSEEK2_SMALL
from tests.models.granite_docling.small import OVERRIDES as GRANITE_SMALL
from tests.models.idefics3.small import OVERRIDES as IDEFICS3_SMALL
from tests.models.lighton_ocr.small import OVERRIDES as LIGHTON_SMALL
from tests.models.qianfan_ocr.small import OVERRIDES as QIANFAN_SMALL

Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Pages of a model, as many as the overrides' batch, and what follows them.

    size: width and height of a page in pixels. layout: its layout's numbers, in place of a size; without either the
    case is a prompt without an image. steps: the decode steps that are measured, by how many came before.
    """

    model: str
    size: Pair | None = None
    layout: tuple[int, ...] | None = None
    overrides: tuple[str, ...] = ()
    steps: tuple[int, ...] = (0, 1)

    @property
    def text_alone(self) -> bool:
        """Whether it is a prompt without an image."""
        return self.size is self.layout is None

    @property
    def name(self) -> str:
        """All of it but the model."""
        page = "text" if self.layout is None else f"layout {self.layout}"
        if self.size is not None:
            page = "{}x{}".format(*self.size)
        steps = ",".join(map(str, self.steps))
        return " ".join((page, *self.overrides, f"steps {steps}"))


LETTER = (1275, 1650)

# -- DeepSeek-OCR: one dense and one MoE layer, where the architecture is not the point; a page of one small view

DEEPSEEK_SMALL = ("decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
DEEPSEEK_TINY = (*DEEPSEEK_SMALL, "workload=tiny", "workload.image_size=320")
DEEPSEEK_GRIDS = ((600, 1200), (1650, 1100), (1500, 1500), (500, 4500))  # 1 x 2, 3 x 2, 3 x 3, 1 x 9
#: bundled pages of other grids: 2 x 4, 5 x 1, 1 x 3, 4 x 2, none
DEEPSEEK_BUNDLED = ((1800, 3200), (2700, 500), (600, 1800), (1920, 1080), (600, 220))
DEEPSEEK_ARCHITECTURES = (
    ("num_hidden_layers=1", "first_k_dense_replace=0"),
    ("num_hidden_layers=3", "first_k_dense_replace=2", "intermediate_size=1000"),
    ("first_k_dense_replace=2",),
    ("num_attention_heads=20", "num_key_value_heads=20", "moe_intermediate_size=96"),
    ("num_key_value_heads=2", "vocab_size=77"),
    ("num_key_value_heads=1", "n_routed_experts=5", "num_experts_per_tok=5"),
    ("n_routed_experts=16", "num_experts_per_tok=1", "n_shared_experts=1"),
    ("hidden_size=512", "num_attention_heads=8", "num_key_value_heads=4", "n_shared_experts=3"),
)
DEEPSEEK_RUNTIMES = (
    ("head=all", "batch_size=2"),
    ("head=none",),
    ("attention=eager", "batch_size=3"),
    ("attention=eager", "dtype=float16"),
    ("dtype=float32",),
    ("dtype=float16", "experts_hit=9"),
    ("prompt_tokens=3000",),  # the decoder's part is the peak of the prefill
    ("prompt_tokens=0",),
)
#: pages as the published code runs them: with crops and without, in batches, without a head, sides of any kind
DEEPSEEK_PUBLISHED: Sequence[tuple[Pair, int, str, tuple[str, ...]]] = (
    # size, pages, head, what else differs
    (LETTER, 1, "all", ()),
    ((600, 400), 1, "all", ()),
    ((300, 2700), 1, "last", ("decoder.vocab_size=1000",)),
    ((1000, 1000), 2, "none", ("decoder.vocab_size=1000", "workload.base_size=512", "workload.image_size=448")),
    (LETTER, 3, "all", ("workload=tiny",)),
    ((300, 300), 1, "all", ("workload=tiny", "workload.base_size=640")),
)
#: two crops beside the global view, all small
DEEPSEEK_CROPS = (*DEEPSEEK_SMALL, "workload.base_size=512", "workload.image_size=320")
#: an image of 7 tokens before a long prompt: the peak of the prefill is in the decoder, the image's results alive
DEEPSEEK_DECODER_PEAK = (
    *DEEPSEEK_SMALL,
    "workload.base_size=128",
    "workload.image_size=64",
    "runtime.head=last",
    "runtime.prompt_tokens=900",
)


def deepseek_ocr() -> Iterator[Case]:
    """Modes, grids, architectures, runtimes, and the published code by its replica."""

    def case(size: Pair, *overrides: str, steps: tuple[int, ...] = (0, 1)) -> Case:
        return Case(model="deepseek_ocr", size=size, overrides=overrides, steps=steps)

    yield case(LETTER, steps=(0, 1, 9))
    for mode in ("tiny", "small", "base", "large", "gundam", "gundam_m"):
        yield case(LETTER, *DEEPSEEK_SMALL, f"workload={mode}", steps=(0, 1, 2, 9))
    for size in DEEPSEEK_GRIDS:
        yield case(size, *DEEPSEEK_SMALL)
    for size in DEEPSEEK_BUNDLED:
        yield case(size, *DEEPSEEK_SMALL, steps=(0,))
    for architecture in DEEPSEEK_ARCHITECTURES:
        projector = ["vision.projector.n_embed=512"] if architecture[0] == "hidden_size=512" else []
        yield case(LETTER, *DEEPSEEK_TINY, *(f"decoder.{each}" for each in architecture), *projector)
    for runtime in DEEPSEEK_RUNTIMES:
        yield case(LETTER, *DEEPSEEK_TINY, *(f"runtime.{each}" for each in runtime))
    yield case((600, 1200), *DEEPSEEK_SMALL, "workload.image_size=320", "runtime.batch_size=2", steps=(0,))
    for attention in ("flash", "eager"):
        yield case((600, 1200), *DEEPSEEK_CROPS, f"runtime.attention={attention}", steps=(0,))
    yield case((600, 1200), *DEEPSEEK_CROPS, "execution=published", "runtime.batch_size=2", steps=(0,))
    for execution in ("transformers", "published"):
        yield case((300, 300), *DEEPSEEK_DECODER_PEAK, f"execution={execution}", steps=(0,))
    for attention in ("flash", "eager"):
        replica = ("execution=published", f"runtime.attention={attention}", "runtime.head=last")
        yield case(LETTER, *DEEPSEEK_SMALL, *replica)
        yield case((300, 200), *DEEPSEEK_TINY, *replica, "runtime.batch_size=2", steps=(0, 1, 2))
    for size, pages, head, others in DEEPSEEK_PUBLISHED:
        runtime = (f"runtime.batch_size={pages}", f"runtime.head={head}")
        yield case(size, "execution=published", "decoder.num_hidden_layers=2", *runtime, *others, steps=(0,))


# -- Unlimited-OCR: steps on both sides of its window of 128

UNLIMITED_STEPS = (0, 1, 126, 127, 128, 129, 200)


def unlimited_ocr() -> Iterator[Case]:
    """All layers once, tiles and none, prompts alone."""

    def case(
        layers: int | None, dtype: str, attention: str, pages: int, prompt: int, steps: tuple[int, ...], *grid: int
    ) -> Case:
        runtime = {"dtype": dtype, "attention": attention, "batch_size": pages, "prompt_tokens": prompt}
        overrides = [f"runtime.{name}={value}" for name, value in runtime.items()]
        few = [] if layers is None else [f"decoder.num_hidden_layers={layers}"]
        return Case(model="unlimited_ocr", layout=grid or None, overrides=(*overrides, *few), steps=steps)

    yield case(None, "bfloat16", "flash", 1, 10, (0, 128), 12, 3, 4)
    yield case(2, "bfloat16", "flash", 2, 10, (0, 127, 128), 2, 2, 1)
    yield case(2, "bfloat16", "eager", 1, 10, (0, 1, 128), 2, 1, 2)
    yield case(2, "float32", "eager", 1, 10, (0, 128), 0, 1, 1)
    yield case(2, "bfloat16", "flash", 1, 30, UNLIMITED_STEPS)
    yield case(2, "bfloat16", "flash", 2, 32, UNLIMITED_STEPS)
    yield case(3, "bfloat16", "eager", 1, 31, UNLIMITED_STEPS)
    yield case(2, "float32", "flash", 2, 300, UNLIMITED_STEPS)
    yield case(2, "float32", "eager", 2, 29, UNLIMITED_STEPS)
    yield case(2, "float16", "flash", 1, 45, (0, 1, 127, 128))
    for dtype, pages, prompt in (("bfloat16", 2, 31), ("float32", 1, 32)):  # grouped heads, which eager code refuses
        grouped = case(2, dtype, "flash", pages, prompt, (0, 1, 128))
        yield replace(grouped, overrides=(*grouped.overrides, "decoder.num_key_value_heads=5"))


# -- LightOnOCR: every remainder of squares and of the 8 that a mask's rows are aligned to

LIGHTON_GRIDS = (
    # type, attention, pages, prompt, columns and rows of patches; none: a prompt without an image
    ("bfloat16", "flash", 1, 10, 4, 6),
    ("bfloat16", "flash", 1, 10, 6, 6),
    ("bfloat16", "flash", 1, 1, 5, 4),
    ("bfloat16", "flash", 1, 3, 6, 7),
    ("bfloat16", "flash", 1, 10, 7, 5),
    ("bfloat16", "flash", 1, 10, 3, 3),
    ("bfloat16", "flash", 2, 10, 5, 7),
    ("bfloat16", "flash", 2, 10, 6, 4),
    ("bfloat16", "flash", 3, 10, 3, 5),
    ("bfloat16", "eager", 1, 10, 7, 4),
    ("bfloat16", "eager", 2, 10, 5, 5),
    ("float16", "flash", 1, 10, 5, 6),
    ("float32", "flash", 1, 10, 4, 5),
    ("float32", "flash", 2, 10, 5, 3),
    ("float32", "eager", 1, 10, 6, 5),
    ("float32", "eager", 2, 10, 4, 3),
    ("bfloat16", "flash", 1, 31),
    ("float32", "flash", 2, 12),
)


def lighton_ocr() -> Iterator[Case]:
    """A small model over these grids, with a head of its own too; the published model over a small page."""

    def case(overrides: tuple[str, ...], dtype: str, attention: str, pages: int, prompt: int, *grid: int) -> Case:
        runtime = {"dtype": dtype, "attention": attention, "batch_size": pages, "prompt_tokens": prompt}
        own = (f"runtime.{name}={value}" for name, value in runtime.items())
        return Case(model="lighton_ocr", layout=grid or None, overrides=(*overrides, *own))

    small = tuple(LIGHTON_SMALL)
    for grid in LIGHTON_GRIDS:
        yield case(small, *grid)
    yield case((*small, "decoder.tie_word_embeddings=false"), *LIGHTON_GRIDS[2])
    yield case((), "bfloat16", "flash", 1, 10, 11, 9)


# -- Qwen2.5-VL: a block within windows and one over the page, few layers of the decoder, few rows of its embedding

QWEN2_5_SMALL = (
    "vision.depth=2",
    "vision.fullatt_block_indexes=[1]",
    "decoder.num_hidden_layers=2",
    "decoder.vocab_size=1000",
    "decoder.intermediate_size=1100",
)
#: columns and rows of tokens: every remainder of windows along both sides, with one whole window or two, or none where
#: a side is shorter than one
QWEN2_5_REMAINDERS = tuple(product((8, 5, 2, 7), (4, 9, 6, 3)))
QWEN2_5_GRIDS: Mapping[tuple[Any, ...], Sequence[Pair]] = {
    # type, attention, pages, and what else differs
    ("bfloat16", "flash", 1): (*QWEN2_5_REMAINDERS, (1, 70), (70, 1), (3, 40)),
    ("bfloat16", "eager", 1): ((8, 4), (5, 6), (2, 2), (11, 9)),
    ("float32", "eager", 1): ((5, 6), (4, 8), (1, 30)),
    ("float32", "flash", 1): ((5, 6), (8, 4)),
    ("float16", "flash", 3): ((3, 13), (4, 4)),
    ("bfloat16", "flash", 2, "decoder.tie_word_embeddings=true"): ((8, 8), (9, 6), (1, 4)),
    ("bfloat16", "eager", 2): ((6, 5), (2, 2), (5, 9)),
    ("bfloat16", "flash", 2): ((5, 9),),
    ("float32", "eager", 2): ((9, 4),),
    ("bfloat16", "flash", 1, "vision.window_size=84"): ((7, 5), (6, 6)),
    ("bfloat16", "flash", 1, "vision.fullatt_block_indexes=[]"): ((7, 5),),
}
QWEN2_GRIDS: Mapping[tuple[Any, ...], Sequence[Pair]] = {
    ("bfloat16", "flash", 1): ((5, 7), (8, 4), (1, 4), (70, 1)),
    ("bfloat16", "eager", 1): ((5, 7), (2, 2)),
    ("float32", "flash", 1): ((6, 5),),
    ("float32", "eager", 2): ((6, 5),),
    ("float16", "flash", 3): ((3, 13), (4, 4)),
    ("bfloat16", "eager", 2): ((6, 5),),
}


def packed_pages(model: str, small: tuple[str, ...], grids: Mapping[tuple[Any, ...], Sequence[Pair]]) -> Iterator[Case]:
    """A small model over grids of tokens."""
    for (dtype, attention, pages, *others), each in grids.items():
        runtime = {"dtype": dtype, "attention": attention, "batch_size": pages, "prompt_tokens": 7}
        overrides = (*small, *others, *(f"runtime.{name}={value}" for name, value in runtime.items()))
        for grid in each:
            yield Case(model=model, layout=grid, overrides=overrides)


def qwen2_5_vl() -> Iterator[Case]:
    """Grids of a small model, prompts alone, and two checkpoints over a letter page."""
    yield from packed_pages("qwen2_5_vl", QWEN2_5_SMALL, QWEN2_5_GRIDS)
    for prompt in (1, 30):
        overrides = (*QWEN2_5_SMALL, "runtime.batch_size=2", f"runtime.prompt_tokens={prompt}")
        yield Case(model="qwen2_5_vl", overrides=overrides, steps=(0,))
    for checkpoint in ("olmocr_2_7b", "nanonets_ocr2_3b"):
        letter = (f"checkpoint={checkpoint}", "runtime.prompt_tokens=100")
        yield Case(model="qwen2_5_vl", size=LETTER, overrides=letter)


def qwen2_vl() -> Iterator[Case]:
    """Grids of a small model, and the published one over a letter page."""
    small = ("vision.depth=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
    yield from packed_pages("qwen2_vl", small, QWEN2_GRIDS)
    yield Case(model="qwen2_vl", size=LETTER)


QWEN3_GRIDS: Mapping[tuple[Any, ...], Sequence[Pair]] = {
    ("bfloat16", "flash", 1): ((5, 7), (8, 4), (1, 4), (70, 1)),
    ("bfloat16", "eager", 1): ((5, 7), (2, 2)),
    ("float32", "flash", 1): ((6, 5),),
    ("float32", "eager", 2): ((6, 5),),
    ("float16", "flash", 3): ((3, 13), (4, 4)),
    ("bfloat16", "flash", 2): ((9, 4),),
    ("bfloat16", "eager", 2): ((6, 5),),
    # features of no block, of as many as there are layers, and of the last block
    ("bfloat16", "flash", 1, "vision.deepstack_visual_indexes=[]"): ((5, 7),),
    ("bfloat16", "flash", 2, "vision.deepstack_visual_indexes=[0,1,2]"): ((5, 7),),
    ("bfloat16", "flash", 1, "decoder.tie_word_embeddings=false", "vision.deepstack_visual_indexes=[2]"): ((3, 3),),
}


def qwen3_vl() -> Iterator[Case]:
    """Grids of a small model, a prompt alone, and two checkpoints over a letter page."""
    small = (
        "vision.depth=3",
        "vision.deepstack_visual_indexes=[0,2]",
        "decoder.num_hidden_layers=3",
        "decoder.vocab_size=1000",
        "decoder.intermediate_size=1100",
    )
    yield from packed_pages("qwen3_vl", small, QWEN3_GRIDS)
    yield Case(model="qwen3_vl", overrides=(*small, "runtime.batch_size=2", "runtime.prompt_tokens=30"), steps=(0,))
    for checkpoint in ("qwen3_vl_2b", "chandra"):
        yield Case(model="qwen3_vl", size=LETTER, overrides=(f"checkpoint={checkpoint}",))


# -- GLM-OCR: the same grids, and prompts alone


def glm_ocr() -> Iterator[Case]:
    """Grids of a small model, prompts alone, and the published one over a letter page."""
    small = ("vision.depth=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
    yield from packed_pages("glm_ocr", small, QWEN2_GRIDS)
    for prompt in (1, 30):
        overrides = (*small, "runtime.batch_size=2", f"runtime.prompt_tokens={prompt}")
        yield Case(model="glm_ocr", overrides=overrides, steps=(0,))
    yield Case(model="glm_ocr", size=LETTER)


# -- HunyuanOCR: two layers of each kind, pages of any shape, one of a single column

HUNYUAN_GRIDS: Mapping[tuple[Any, ...], Sequence[Pair]] = {
    ("bfloat16", "flash", 1): ((5, 7), (1, 9), (9, 1), (12, 4)),
    ("bfloat16", "eager", 1): ((5, 7), (4, 2)),
    ("float32", "flash", 1): ((6, 5),),
    ("float32", "eager", 2): ((6, 5),),
    ("float16", "flash", 3): ((3, 13), (4, 4)),
    ("bfloat16", "eager", 2): ((6, 5),),
    ("bfloat16", "flash", 2): ((7, 4), (1, 5)),
    ("bfloat16", "flash", 1, "decoder.tie_word_embeddings=false"): ((5, 6),),
    ("bfloat16", "flash", 1, "decoder.mrope_section=[16,24,24]"): ((5, 6),),
    ("bfloat16", "flash", 2, "runtime.head=none"): ((5, 6),),
}


def hunyuan_vl() -> Iterator[Case]:
    """Grids of a small model, prompts alone, and the published one over a letter page."""
    small = ("vision.num_hidden_layers=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
    yield from packed_pages("hunyuan_vl", small, HUNYUAN_GRIDS)
    for dtype, prompt in (("bfloat16", 1), ("float32", 30)):
        runtime = (f"runtime.dtype={dtype}", "runtime.batch_size=2", f"runtime.prompt_tokens={prompt}")
        yield Case(model="hunyuan_vl", overrides=(*small, *runtime), steps=(0, 1))
    yield Case(model="hunyuan_vl", size=LETTER)


# -- tables of tiles: type, attention, pages, prompt, tiles (none: a prompt without an image), what else differs

TileTable = Sequence[tuple[str, str, int, int, int | None, tuple[str, ...]]]


def tiled(model: str, small: Sequence[str], table: TileTable) -> Iterator[Case]:
    """Numbers of tiles of a small model, in a row."""
    for dtype, attention, pages, prompt, tiles, others in table:
        runtime = {"dtype": dtype, "attention": attention, "batch_size": pages, "prompt_tokens": prompt}
        overrides = (*small, *others, *(f"runtime.{name}={value}" for name, value in runtime.items()))
        layout = None if tiles is None else (tiles, tiles or 1, 1)
        yield Case(model=model, layout=layout, overrides=overrides)


# -- DeepSeek-OCR-2: its encoder over patches and queries; the peak in SAM, or in that encoder

DEEPSEEK2_TILES: TileTable = (
    ("bfloat16", "flash", 1, 10, 0, ()),
    ("bfloat16", "flash", 1, 1, 2, ()),
    ("bfloat16", "flash", 2, 3, 5, ()),
    ("bfloat16", "flash", 1, 7, 1, ("workload.min_patches=1",)),
    ("bfloat16", "flash", 2, 10, 0, ()),
    ("bfloat16", "eager", 1, 10, 3, ()),
    ("bfloat16", "eager", 2, 10, 0, ()),
    ("float32", "flash", 1, 10, 2, ()),
    ("float32", "flash", 2, 10, 3, ()),
    ("float32", "eager", 2, 10, 2, ()),
    ("float16", "flash", 1, 10, 4, ()),
    ("bfloat16", "flash", 1, 10, 2, IN_ENCODER),
    ("bfloat16", "eager", 2, 10, 0, IN_ENCODER),
    ("float32", "flash", 2, 10, 3, IN_ENCODER),
    ("bfloat16", "flash", 1, 10, 2, (*IN_ENCODER, "workload.size=976", "workload.tile_size=736")),
    ("bfloat16", "flash", 1, 31, None, ()),
    ("float32", "flash", 2, 12, None, ()),
    ("bfloat16", "eager", 2, 16, None, ()),
)


def deepseek_ocr2() -> Iterator[Case]:
    """Numbers of tiles of a small model, and the published one uncut and in two tiles."""
    yield from tiled("deepseek_ocr2", DEEPSEEK2_SMALL, DEEPSEEK2_TILES)
    for tiles in (0, 2):
        yield Case(model="deepseek_ocr2", layout=(tiles, tiles or 1, 1), overrides=("runtime.prompt_tokens=10",))


# -- Qianfan-OCR: views of one size, and how many of them there are

#: the peak of a prefill is in vision, or it is in the decoder
QIANFAN_NARROW = ("decoder.hidden_size=16", "decoder.intermediate_size=24", "decoder.num_attention_heads=2")
QIANFAN_TILES: TileTable = (
    ("bfloat16", "flash", 1, 30, 0, ()),
    ("bfloat16", "flash", 1, 1, 12, ()),
    ("bfloat16", "flash", 2, 3, 5, ()),
    ("bfloat16", "flash", 2, 30, 0, ()),
    ("bfloat16", "flash", 3, 7, 2, ("workload.size=112", "workload.downsample_ratio=0.25")),
    ("bfloat16", "flash", 1, 7, 3, ("workload.downsample_ratio=1", "decoder.tie_word_embeddings=true")),
    ("bfloat16", "flash", 2, 7, 4, ("workload.patch_size=21", *QIANFAN_NARROW)),
    ("bfloat16", "eager", 1, 30, 3, ()),
    ("bfloat16", "eager", 2, 30, 0, QIANFAN_NARROW),
    ("float32", "flash", 1, 30, 0, ()),
    ("float32", "flash", 2, 30, 3, QIANFAN_NARROW),
    ("float32", "eager", 1, 30, 0, ()),
    ("float32", "eager", 2, 30, 2, ()),
    ("float16", "flash", 1, 30, 4, ()),
    ("bfloat16", "flash", 1, 31, None, ()),
    ("float32", "flash", 2, 12, None, ()),
    ("bfloat16", "eager", 2, 16, None, ()),
)


def qianfan_ocr() -> Iterator[Case]:
    """Numbers of tiles of a small model, and the published one uncut and over a letter page."""
    yield from tiled("qianfan_ocr", QIANFAN_SMALL, QIANFAN_TILES)
    yield Case(model="qianfan_ocr", size=(448, 448), overrides=("runtime.batch_size=2",))
    yield Case(model="qianfan_ocr", size=LETTER)


# -- Idefics3: views of a page, one or several of them; pages in a batch

IDEFICS3_TILES: TileTable = (
    ("bfloat16", "flash", 1, 30, 0, ()),
    ("bfloat16", "flash", 1, 1, 1, ()),
    ("bfloat16", "flash", 1, 30, 6, ("vision.image_size=384",)),
    ("bfloat16", "flash", 2, 3, 5, ()),
    ("bfloat16", "flash", 3, 10, 0, ()),
    ("bfloat16", "eager", 1, 30, 4, ()),
    ("bfloat16", "eager", 2, 10, 0, ()),
    ("float32", "flash", 1, 10, 2, ()),
    ("float32", "flash", 2, 10, 3, ("decoder.tie_word_embeddings=false",)),
    ("float32", "eager", 2, 10, 2, ()),
    ("float16", "flash", 1, 10, 4, ("workload.scale_factor=4",)),
    ("bfloat16", "flash", 1, 31, None, ()),
    ("float32", "flash", 2, 12, None, ()),
    ("bfloat16", "eager", 2, 16, None, ()),
)


def idefics3() -> Iterator[Case]:
    """Numbers of tiles of a small model, and the published one over a letter page."""
    yield from tiled("idefics3", IDEFICS3_SMALL, IDEFICS3_TILES)
    yield Case(model="idefics3", size=LETTER, overrides=("runtime.prompt_tokens=30",))


# -- PaddleOCR-VL: grids of every remainder

#: a row, a column and a token alone, and what lies between
PADDLE_GRIDS: Mapping[tuple[Any, ...], Sequence[Pair]] = {
    ("bfloat16", "flash", 1): ((5, 7), (8, 4), (1, 4), (70, 1), (1, 1)),
    ("bfloat16", "eager", 1): ((5, 7), (2, 2)),
    ("float32", "flash", 1): ((6, 5),),
    ("float32", "eager", 2): ((6, 5), (1, 3)),
    ("float16", "flash", 3): ((3, 13), (4, 4)),
    ("bfloat16", "eager", 2): ((6, 5),),
    ("bfloat16", "flash", 1, "decoder.tie_word_embeddings=true", "vision.image_size=98"): ((5, 7),),
}


def paddleocr_vl() -> Iterator[Case]:
    """Grids of a small model, prompts alone, and the published one over a letter page and a region."""
    small = ("vision.num_hidden_layers=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
    yield from packed_pages("paddleocr_vl", small, PADDLE_GRIDS)
    for prompt in (1, 30):
        overrides = (*small, "runtime.batch_size=2", f"runtime.prompt_tokens={prompt}")
        yield Case(model="paddleocr_vl", overrides=overrides, steps=(0,))
    yield Case(model="paddleocr_vl", size=LETTER)
    yield Case(model="paddleocr_vl", size=(1000, 30), overrides=("checkpoint=paddleocr_vl_1_5", "workload=region"))


# -- Granite-Docling: views of a page, two routes, the tower's taps

FINE = ("workload.route=fine",)
GRANITE_TILES: TileTable = (
    ("bfloat16", "flash", 1, 30, 0, ()),
    ("bfloat16", "flash", 1, 1, 2, FINE),
    ("bfloat16", "flash", 2, 3, 5, ()),
    ("bfloat16", "flash", 3, 10, 0, FINE),
    ("bfloat16", "flash", 1, 7, 3, ("vision.deepstack_visual_indexes=[0,2,4]", "decoder.tie_word_embeddings=false")),
    ("bfloat16", "flash", 2, 7, 2, ("vision.deepstack_visual_indexes=[]", "vision.use_fine_route=false")),
    ("bfloat16", "eager", 1, 30, 4, ()),
    ("bfloat16", "eager", 2, 10, 2, FINE),
    ("float32", "flash", 1, 10, 2, FINE),
    ("float32", "flash", 2, 10, 3, ()),
    ("float32", "eager", 2, 10, 2, ()),
    ("float16", "flash", 1, 10, 4, ("workload.scale_factor=2",)),
    ("bfloat16", "flash", 1, 31, None, ()),
    ("float32", "flash", 2, 12, None, ()),
    ("bfloat16", "eager", 2, 16, None, ()),
)


def granite_docling() -> Iterator[Case]:
    """Numbers of tiles of a small model, and the published one over a letter page."""
    yield from tiled("granite_docling", GRANITE_SMALL, GRANITE_TILES)
    yield Case(model="granite_docling", size=LETTER, overrides=("runtime.prompt_tokens=30",))


CASES: tuple[Case, ...] = (
    *deepseek_ocr(),
    *unlimited_ocr(),
    *lighton_ocr(),
    *qwen2_5_vl(),
    *qwen2_vl(),
    *paddleocr_vl(),
    *qwen3_vl(),
    *glm_ocr(),
    *hunyuan_vl(),
    *deepseek_ocr2(),
    *idefics3(),
    *granite_docling(),
    *qianfan_ocr(),
)
MODELS = tuple(dict.fromkeys(case.model for case in CASES))
