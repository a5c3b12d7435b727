"""Qwen3-VL as vLLM and SGLang launch it, and at an engine's best, kernel by kernel, by hand."""

from dataclasses import dataclass, replace

import pytest

from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.qwen3_vl import load_cost_model
from tests.models.engine_hand import (
    F4,
    INDEX,
    QWEN_OVERRIDES,
    QWEN_TEXT,
    E,
    Kernel,
    Text,
    copied,
    kernels,
    product,
    summed,
    under,
)

ENGINES = ("vllm", "sglang")
#: of the small model: the tower's width, heads and their width, the inner width of its MLP, what its tokens are wide
D, H, W, F, OUT = 64, 4, 16, 96, 48
COLUMNS, ROWS, PAGES, PROMPT = 5, 9, 2, 30
PAGE_TOKENS = COLUMNS * ROWS
#: features of one block of two, for the only layer of the decoder
SMALL = (
    f"vision.hidden_size={D}",
    f"vision.intermediate_size={F}",
    f"vision.num_heads={H}",
    f"vision.out_hidden_size={OUT}",
    "vision.depth=2",
    "vision.deepstack_visual_indexes=[0]",
    "vision.num_position_embeddings=400",
    "decoder.head_dim=12",
    *QWEN_OVERRIDES,
    f"runtime.batch_size={PAGES}",
    f"runtime.prompt_tokens={PROMPT}",
)
TABLE = E * 400 * D


def layer_norm(path: str, rows: int, width: int = D) -> Kernel:
    return Kernel(path, "aten.native_layer_norm.default", E * (rows * width + 2 * width), E * rows * width + 8 * rows)


def moved(aten: str, read: int, written: int) -> Kernel:
    return Kernel("", f"aten.{aten}", read, written)


def positions(engine: str, pages: int) -> list[Kernel]:
    """Positions of patches, which are added to them."""
    n = 4 * PAGE_TOKENS
    patches = E * n * D
    if engine == "vllm":  # rows of the table, 4 a patch, as if none were read twice
        each = Kernel("", "fused.pos_embed_interpolate", min(4 * patches, TABLE), patches)
        return [each, moved("cat.default", pages * patches, pages * patches), summed("", pages * patches)]
    tall, wide = 2 * ROWS, 2 * COLUMNS
    return [
        moved("mul.Tensor", F4 * (tall + wide), F4 * n),
        moved("sub.Tensor", F4 * (tall + n), F4 * n),
        moved("sub.Tensor", F4 * (wide + n), F4 * n),
        moved("sub.Tensor", F4 * tall, F4 * tall),
        moved("sub.Tensor", F4 * (tall + n), F4 * n),
        *[moved("cat.default", INDEX * tall, 4 * INDEX * n)] * 2,
        moved("mul.Tensor", 4 * INDEX * n, 4 * INDEX * n),
        moved("add.Tensor", 8 * INDEX * n, 4 * INDEX * n),
        moved("cat.default", 4 * F4 * n, 4 * F4 * n),
        moved("_to_copy.default", 4 * F4 * n, 4 * E * n),
        Kernel("pos_embed", "aten.embedding.default", 4 * (INDEX * n + patches), 4 * patches),
        moved("mul_.Tensor", 4 * (patches + E * n), 4 * patches),
        moved("sum.dim_IntList", 4 * patches, patches),
        copied("", patches),  # in the order of tokens
        moved("cat.default", patches, patches),
        summed("", patches),
    ]


def block(engine: str, pages: int) -> list[Kernel]:
    n = pages * 4 * PAGE_TOKENS
    patches, inner, half = E * n * D, E * n * F, E * n * W // 2
    # vLLM: query and key as one, half a row of cosines and of sines a patch; SGLang: each, and the rows made whole
    if engine == "vllm":
        copies = [copied("attn", 2 * patches)]
    else:
        copies = [*[copied("attn", patches)] * 3, *[Kernel("attn", "aten.cat.default", half, 2 * half)] * 2]
    tables = 2 * half if engine == "vllm" else 4 * half
    scores = 2 * 2 * pages * (4 * PAGE_TOKENS) ** 2 * D
    return [
        layer_norm("norm1", n),
        product("attn.qkv", n, D, 3 * D, bias=True),
        *copies,
        Kernel("attn", "fused.rotary", 2 * patches + tables, 2 * patches),
        Kernel("attn", "fused.attention", 3 * patches + F4 * (pages + 1), patches + F4 * H * n, scores),
        product("attn.proj", n, D, D, bias=True),
        summed("", patches),
        layer_norm("norm2", n),
        product("mlp.linear_fc1", n, D, F, bias=True),
        Kernel("mlp", "aten.gelu.default", inner, inner),
        product("mlp.linear_fc2", n, F, D, bias=True),
        summed("", patches),
    ]


def merger(first: Kernel, tokens: int, *, gelu: str = "aten.gelu.default") -> list[Kernel]:
    joined = E * tokens * 4 * D
    return [
        first,
        product("linear_fc1", tokens, 4 * D, 4 * D, bias=True),
        Kernel("", gelu, joined, joined),
        product("linear_fc2", tokens, 4 * D, OUT, bias=True),
    ]


def tower(engine: str) -> list[Kernel]:
    pages = PAGES if engine == "vllm" else 1
    tokens = pages * PAGE_TOKENS
    n, half = 4 * tokens, E * 4 * tokens * W // 2
    both = 2 * E * tokens * OUT
    return [
        product("patch_embed.proj", n, 3 * 2 * 16 * 16, D, bias=True),
        *positions(engine, pages),
        *[moved("index.Tensor", half + 2 * INDEX * n, half)] * 2,  # cosines, then sines
        *under("blocks.0", block(engine, pages)),
        *under("deepstack_merger_list.0", merger(layer_norm("norm", tokens, 4 * D), tokens)),
        *under("blocks.1", block(engine, pages)),
        *under("merger", merger(layer_norm("norm", n), tokens)),
        moved("cat.default", both, both),
    ]


@dataclass(frozen=True, kw_only=True)
class WithFeatures(Text):
    """The decoder with features behind its layer, where there are pages, and in vLLM always."""

    with_pages: bool = False

    def layer(self) -> list[Kernel]:
        *before, norm = super().layer()
        hidden = E * self.rows * self.hidden
        if self.engine == "vllm":  # features of all positions, zeros but for those of image tokens
            return [*before, norm._replace(read=norm.read + hidden)]
        return [*before, *([summed("", hidden)] if self.with_pages else []), norm]

    def embedded(self, image_tokens: int = 0) -> list[Kernel]:
        row, image, hidden = E * self.hidden, E * self.hidden * image_tokens, E * self.rows * self.hidden
        embedded = Kernel("embed_tokens", "aten.embedding.default", hidden + INDEX * self.rows, hidden)
        if not image_tokens:
            return super().embedded()
        joined, zeros = moved("cat.default", 2 * image, 2 * image), moved("zeros.default", 0, hidden)
        if self.engine == "vllm":
            put = [moved("cat.default", image, image), moved("masked_scatter_.default", self.rows + image, hidden)]
            return [embedded, joined, zeros, *put, *put, moved("copy_.default", hidden, hidden), copied("", hidden)]
        put = [moved("index_put_.default", INDEX * image_tokens + image, image_tokens * row)]
        return [
            joined,
            moved("isin.Tensor_Tensor", INDEX * self.rows, self.rows),
            moved("sum.default", self.rows, INDEX),
            embedded,
            zeros,
            moved("nonzero.default", self.rows, INDEX * image_tokens),
            *put,
            *put,
        ]

    def head(self) -> list[Kernel]:
        cleared = moved("zero_.default", 0, E * self.rows * self.hidden)
        return [*([cleared] if self.engine == "vllm" and self.with_pages else []), *super().head()]


@pytest.mark.parametrize("engine", ENGINES)
def test_kernel_by_kernel(engine: str) -> None:
    model = load_cost_model([*SMALL, f"execution={engine}"])
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    vision = under("visual", tower(engine)) * (1 if engine == "vllm" else PAGES)
    assert kernels(model.stage_walk("vision", page=page).records()) == vision
    text = {**QWEN_TEXT, "bias": False, "qk_norm": True}
    prompt = WithFeatures(engine=engine, pages=PAGES, tokens=PAGE_TOKENS + PROMPT, with_pages=True, **text)
    prefill = kernels(model.stage_walk("prefill", page=page).records())
    assert prefill == [*vision, *prompt.all(PAGES * PAGE_TOKENS)]
    step = replace(prompt, tokens=1, past=7, with_pages=False)
    assert kernels(model.stage_walk("decode", context=7).records()) == step.all()


def at_best() -> list[Kernel]:
    """The tower of an engine at its best: sums in the norms that come after them, a merger's among these."""
    tokens = PAGES * PAGE_TOKENS
    n = 4 * tokens
    patches, weights = E * n * D, 2 * E * D
    taps, ends = 4 * (INDEX + F4) * n, F4 * (PAGES + 1)

    def of_block(first: Kernel) -> list[Kernel]:
        return [
            first,
            product("attn.qkv", n, D, 3 * D, bias=True),
            Kernel("attn", "fused.rotary", 2 * patches + 2 * F4 * n * W, 2 * patches),
            Kernel("attn", "fused.attention", 3 * patches + ends, patches, 2 * 2 * PAGES * (4 * PAGE_TOKENS) ** 2 * D),
            product("attn.proj", n, D, D, bias=True),
            Kernel("norm2", "fused.add_layer_norm", 2 * patches + weights, 2 * patches),
            product("mlp.linear_fc1", n, D, F, bias=True),
            Kernel("mlp", "fused.gelu", E * n * F, E * n * F),
            product("mlp.linear_fc2", n, F, D, bias=True),
        ]

    alone = Kernel("norm1", "fused.layer_norm", patches + weights, patches)
    in_features = Kernel("norm", "fused.add_layer_norm", 2 * patches + 4 * weights, 2 * patches)
    last = Kernel("norm", "fused.add_layer_norm", 2 * patches + weights, 2 * patches)
    patch_embed = product("patch_embed.proj", n, 3 * 2 * 16 * 16, D, bias=True)
    return [
        patch_embed._replace(aten="aten.convolution.default"),
        Kernel("", "fused.add_positions", patches + taps + min(4 * patches, TABLE), patches),
        Kernel("", "fused.rotary_tables", 2 * INDEX * n + F4 * W // 4, 2 * F4 * n * W),
        *under("blocks.0", of_block(alone)),
        *under("deepstack_merger_list.0", merger(in_features, tokens, gelu="fused.gelu")),
        *under("blocks.1", of_block(alone)),
        *under("merger", merger(last, tokens, gelu="fused.gelu")),
    ]


def test_at_an_engines_best() -> None:
    model = load_cost_model([*SMALL, "execution=serving"])
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    assert kernels(model.stage_walk("vision", page=page).records()) == under("visual", at_best())
    prefill = kernels(model.stage_walk("prefill", page=page).records())
    (last,) = (each for each in prefill if each.path == "norm")
    rows, image_tokens = PAGES * (PAGE_TOKENS + PROMPT), PAGES * PAGE_TOKENS
    hidden, features = E * rows * OUT, image_tokens * (E * OUT + INDEX)
    assert last == Kernel("norm", "fused.add_rms_norm", 2 * hidden + E * OUT + features, 2 * hidden)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_products_and_no_less_than_the_bound(engine: str) -> None:
    ours, bound, library = (load_cost_model([f"execution={name}"]) for name in (engine, "serving", "transformers"))
    pages = [each.layout_cost(MergedGrid(23, 14), 5) for each in (ours, bound, library)]
    for stage in ("vision", "prefill", "decode"):
        one, least, other = (getattr(page, stage) for page in pages)
        for figure in ("tensor_core_flops", "weight_bytes", "kv_bytes", "kv_added_bytes"):
            assert getattr(one, figure) == getattr(least, figure) == getattr(other, figure), (stage, figure)
        assert least.io_bytes < one.io_bytes < other.io_bytes, stage
        assert least.activation_peak_bytes < one.activation_peak_bytes, stage
