"""Qwen2-VL as vLLM and SGLang launch it: its vision, a prompt and a step, kernel by kernel, by hand."""

from dataclasses import replace

import pytest

from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.qwen2_vl import load_cost_model
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
#: of the small model: the tower's width, heads and their width, what its tokens are wide
D, H, W, OUT = 64, 4, 16, 48
F = 3 * D
COLUMNS, ROWS, PAGES, PROMPT = 5, 9, 2, 30
PAGE_TOKENS = COLUMNS * ROWS
SMALL = (
    f"vision.embed_dim={D}",
    "vision.mlp_ratio=3",
    f"vision.num_heads={H}",
    f"vision.hidden_size={OUT}",
    "vision.depth=2",
    *QWEN_OVERRIDES,
    "workload=page",
    f"runtime.batch_size={PAGES}",
    f"runtime.prompt_tokens={PROMPT}",
)


def layer_norm(path: str, rows: int) -> Kernel:
    return Kernel(path, "aten.native_layer_norm.default", E * (rows * D + 2 * D), E * rows * D + 2 * F4 * rows)


def block(engine: str, pages: int) -> list[Kernel]:
    n = pages * 4 * PAGE_TOKENS
    patches, inner = E * n * D, E * n * F
    # vLLM: query and key as one, half a row of cosines and of sines a patch in its type; SGLang: each, in float32
    copies = [copied("attn", 2 * patches)] if engine == "vllm" else [copied("attn", patches)] * 3
    tables = 2 * E * n * W // 2 if engine == "vllm" else 2 * F4 * n * W
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
        product("mlp.fc1", n, D, F, bias=True),
        # x * sigmoid(1.702 x), written out
        Kernel("mlp.act", "aten.mul.Tensor", inner, inner),
        Kernel("mlp.act", "aten.sigmoid.default", inner, inner),
        Kernel("mlp.act", "aten.mul.Tensor", 2 * inner, inner),
        product("mlp.fc2", n, F, D, bias=True),
        summed("", patches),
    ]


def tower(engine: str) -> list[Kernel]:
    pages = PAGES if engine == "vllm" else 1
    tokens = pages * PAGE_TOKENS
    n = 4 * tokens
    half, places = n * W // 2, 2 * INDEX * n
    if engine == "vllm":  # cosines, then sines, by row and column
        tables = [Kernel("", "aten.index.Tensor", E * half + places, E * half)] * 2
    else:  # angles, in float32, twice
        tables = [
            Kernel("", "aten.index.Tensor", F4 * half + places, F4 * half),
            Kernel("", "aten.cat.default", F4 * half, 2 * F4 * half),
            Kernel("", "aten.cos.default", 2 * F4 * half, 2 * F4 * half),
            Kernel("", "aten.sin.default", 2 * F4 * half, 2 * F4 * half),
        ]
    return [
        product("patch_embed.proj", n, 3 * 2 * 14 * 14, D, bias=False),
        *tables,
        *under("blocks.0", block(engine, pages)),
        *under("blocks.1", block(engine, pages)),
        layer_norm("merger.ln_q", n),
        product("merger.mlp.0", tokens, 4 * D, 4 * D, bias=True),
        Kernel("merger.mlp.1", "aten.gelu.default", E * n * D, E * n * D),
        product("merger.mlp.2", tokens, 4 * D, OUT, bias=True),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_kernel_by_kernel(engine: str) -> None:
    model = load_cost_model([*SMALL, f"execution={engine}"])
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    vision = under("visual", tower(engine)) * (1 if engine == "vllm" else PAGES)
    assert kernels(model.stage_walk("vision", page=page).records()) == vision
    prompt = Text(engine=engine, pages=PAGES, tokens=PAGE_TOKENS + PROMPT, **QWEN_TEXT)
    prefill = kernels(model.stage_walk("prefill", page=page).records())
    assert prefill == [*vision, *prompt.all(PAGES * PAGE_TOKENS)]
    step = replace(prompt, tokens=1, past=7)
    assert kernels(model.stage_walk("decode", context=7).records()) == step.all()


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
