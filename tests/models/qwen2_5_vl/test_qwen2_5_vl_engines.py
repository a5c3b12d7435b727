"""Qwen2.5-VL as vLLM and SGLang launch it: its vision, a prompt and a step, kernel by kernel, by hand."""

from dataclasses import replace

import pytest

from modelmeter.layers.code import EngineTraits
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.qwen2_5_vl import CostModel, load_cost_model
from modelmeter.models.qwen2_5_vl.executions import EXECUTIONS
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
    norm,
    norm_written_out,
    product,
    sum_and_norm,
    summed,
    under,
)

ENGINES = ("vllm", "sglang")
#: of the small model: the tower's width, inner width (no multiple of 8), heads, their width, what its tokens are wide
D, F, H, W, OUT = 64, 90, 4, 16, 48
#: tokens of a page: two windows of 4 x 4, and what two sides leave of it; pages, prompt
COLUMNS, ROWS, PAGES, PROMPT = 5, 9, 2, 100
PAGE_TOKENS = COLUMNS * ROWS
SMALL = (
    f"vision.hidden_size={D}",
    f"vision.intermediate_size={F}",
    f"vision.num_heads={H}",
    f"vision.out_hidden_size={OUT}",
    "vision.depth=2",
    "vision.fullatt_block_indexes=[1]",
    *QWEN_OVERRIDES,
    f"runtime.batch_size={PAGES}",
    f"runtime.prompt_tokens={PROMPT}",
)
#: (windows, patches of each) of a page
WINDOWS = ((2, 4 * 16), (2, 4 * 4), (1, 4 * 4), (1, 4 * 1))


def model_of(engine: str, *overrides: str) -> CostModel:
    return load_cost_model([*SMALL, f"execution={engine}", *overrides])


def attention(pages: int, *, windowed: bool) -> Kernel:
    """Within each window, or all over each page; where they end; with the log-sum-exp."""
    patches = E * pages * 4 * PAGE_TOKENS * D
    sequences = WINDOWS if windowed else ((1, 4 * PAGE_TOKENS),)
    ends = F4 * (pages * sum(count for count, _ in sequences) + 1)
    flops = 2 * 2 * pages * sum(count * length**2 for count, length in sequences) * D
    return Kernel("attn", "fused.attention", 3 * patches + ends, patches + F4 * H * 4 * pages * PAGE_TOKENS, flops)


def vllm_block(*, windowed: bool) -> list[Kernel]:
    n = 4 * PAGES * PAGE_TOKENS
    patches = E * n * D
    return [
        *norm_written_out("norm1", n, D),
        product("attn.qkv", n, D, 3 * D, bias=True),
        # query and key by themselves, then turned by half a row of cosines and of sines a patch
        copied("attn", 2 * patches),
        Kernel("attn", "fused.rotary", 2 * patches + 2 * E * n * W // 2, 2 * patches),
        attention(PAGES, windowed=windowed),
        product("attn.proj", n, D, D, bias=True),
        *norm_written_out("norm2", n, D, residual=True),
        product("mlp.gate_up_proj", n, D, 2 * F, bias=True),
        Kernel("mlp", "fused.silu_and_mul", 2 * E * n * F, E * n * F),
        product("mlp.down_proj", n, F, D, bias=True),
        summed("", patches),
    ]


def vllm_vision() -> list[Kernel]:
    tokens = PAGES * PAGE_TOKENS
    n = 4 * tokens
    patches, table = E * n * D, E * n * W // 2
    return [
        product("patch_embed.proj", n, 3 * 2 * 14 * 14, D, bias=False),
        Kernel("", "aten.index.Tensor", patches + INDEX * tokens, patches),
        # cosines and sines that are kept for the grid, joined
        *[Kernel("", "aten.cat.default", table, table)] * 2,
        *under("blocks.0", vllm_block(windowed=True)),
        *under("blocks.1", vllm_block(windowed=False)),
        *norm_written_out("merger.ln_q", n, D),
        product("merger.mlp.0", tokens, 4 * D, 4 * D, bias=True),
        Kernel("merger.mlp.1", "aten.gelu.default", patches, patches),
        product("merger.mlp.2", tokens, 4 * D, OUT, bias=True),
        Kernel("", "aten.index.Tensor", E * tokens * OUT + INDEX * tokens, E * tokens * OUT),
    ]


def sglang_block(*, windowed: bool) -> list[Kernel]:
    n, inner = 4 * PAGE_TOKENS, 96  # the next multiple of 8
    patches = E * n * D
    return [
        norm("norm1", n, D),
        product("attn.qkv", n, D, 3 * D, bias=True),
        *[copied("attn", patches)] * 3,
        Kernel("attn", "fused.rotary", 2 * patches + 2 * E * n * W, 2 * patches),
        attention(1, windowed=windowed),
        product("attn.proj", n, D, D, bias=True),
        sum_and_norm("norm2", n, D),
        product("mlp.gate_up_proj", n, D, 2 * inner, bias=True),
        Kernel("mlp", "aten.silu.default", E * n * inner, E * n * inner),
        Kernel("mlp", "aten.mul.Tensor", 2 * E * n * inner, E * n * inner),
        product("mlp.down_proj", n, inner, D, bias=True),
        summed("", patches),
    ]


def sglang_page() -> list[Kernel]:
    tokens, n = PAGE_TOKENS, 4 * PAGE_TOKENS
    patches, pixels, angles = E * n * D, 3 * 2 * 14 * 14, n * W // 2
    order = INDEX * tokens
    return [
        Kernel("patch_embed.proj", "aten.convolution.default", E * (n + D) * pixels, patches, 2 * n * pixels * D),
        Kernel("", "aten.index.Tensor", patches + order, patches),
        # angles by row and by column, in the model's type, in the order of windows, twice; their cosines and sines
        Kernel("", "aten.index.Tensor", F4 * angles + 2 * INDEX * n, F4 * angles),
        Kernel("", "aten._to_copy.default", F4 * angles, E * angles),
        Kernel("", "aten.index.Tensor", E * angles + order, E * angles),
        Kernel("", "aten.cat.default", E * angles, 2 * E * angles),
        Kernel("", "aten.cos.default", 2 * E * angles, 2 * E * angles),
        Kernel("", "aten.sin.default", 2 * E * angles, 2 * E * angles),
        Kernel("", "aten.arange.default", 0, order),
        Kernel("", "aten.index_put_.default", 2 * order, order),
        *under("blocks.0", sglang_block(windowed=True)),
        *under("blocks.1", sglang_block(windowed=False)),
        norm("merger.ln_q", n, D),
        product("merger.mlp.0", tokens, 4 * D, 4 * D, bias=True),
        Kernel("merger.mlp.1", "aten.gelu.default", patches, patches),
        product("merger.mlp.2", tokens, 4 * D, OUT, bias=True),
        Kernel("", "aten.index.Tensor", E * tokens * OUT + order, E * tokens * OUT),
    ]


VISION = {"vllm": under("visual", vllm_vision()), "sglang": under("visual", sglang_page()) * PAGES}


@pytest.mark.parametrize("engine", ENGINES)
def test_kernel_by_kernel(engine: str) -> None:
    model = model_of(engine)
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    assert kernels(model.stage_walk("vision", page=page).records()) == VISION[engine]
    prompt = Text(engine=engine, pages=PAGES, tokens=PAGE_TOKENS + PROMPT, **QWEN_TEXT)
    expected = [*VISION[engine], *prompt.all(PAGES * PAGE_TOKENS)]
    assert kernels(model.stage_walk("prefill", page=page).records()) == expected
    step = replace(prompt, tokens=1, past=7)
    assert kernels(model.stage_walk("decode", context=7).records()) == step.all()


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_alive_during_attention(engine: str) -> None:
    """vLLM names the copy of query and key until its function returns; SGLang drops what it turns of its copies."""
    n = 4 * PAGE_TOKENS * (PAGES if engine == "vllm" else 1)
    patches, angles = E * n * D, E * n * W // 2
    # the block's input and its norm, the product of all three, then copies: two and two turned, or two turned and one
    copies = 2 + 2 if engine == "vllm" else 2 + 1
    # cosines and sines of half a head; or of a whole one, the angles, those twice, and the order of tokens
    beside = 2 * angles if engine == "vllm" else 2 * (2 * angles) + angles + 2 * angles + INDEX * PAGE_TOKENS
    model = model_of(engine)
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    records = list(model.stage_walk("vision", page=page).records())
    (attended, *_) = (each for each in records if each.path == "visual.blocks.1.attn" and "attention" in each.aten)
    assert attended.live_bytes == (1 + 1 + 3 + copies + 1) * patches + F4 * H * n + beside


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_products_and_no_less_than_the_bound(engine: str) -> None:
    ours, bound, library = (
        load_cost_model([f"execution={name}", "runtime.batch_size=2"]) for name in (engine, "serving", "transformers")
    )
    pages = [each.layout_cost(MergedGrid(23, 14), 5) for each in (ours, bound, library)]
    # SGLang's inner width of the tower is 3424, not 3420: 3 products of each patch, 3 matrices and 2 biases a block
    patches, added = 2 * 4 * 23 * 14, 4 if engine == "sglang" else 0
    more_flops, more_weights = 32 * 3 * 2 * patches * 1280 * added, 32 * E * added * (3 * 1280 + 2)
    for stage in ("vision", "prefill", "decode"):
        one, least, other = (getattr(page, stage) for page in pages)
        more = 0 if stage == "decode" else more_flops
        assert one.tensor_core_flops - more == least.tensor_core_flops == other.tensor_core_flops, stage
        assert one.weight_bytes - more_weights == least.weight_bytes == other.weight_bytes, stage
        assert (one.kv_bytes, one.kv_added_bytes) == (other.kv_bytes, other.kv_added_bytes)
        assert least.io_bytes < one.io_bytes < other.io_bytes, stage
        if engine == "vllm":  # SGLang takes one page through vision at a time
            assert least.activation_peak_bytes < one.activation_peak_bytes, stage


def test_steps_alone_run_as_graphs_and_pages_say_that_it_was_read() -> None:
    for engine in ENGINES:
        assert EXECUTIONS[engine].traits(EngineTraits).graphed == {"decode"}
        assert EXECUTIONS[engine].vision().traits(EngineTraits).graphed == {"decode"}
        labels = {each.label for each in load_cost_model([f"execution={engine}"]).assumptions()}
        assert {"an engine's kernels, as read", "blocks not rounded up"} <= labels
