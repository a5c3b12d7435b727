"""GLM-OCR as vLLM and SGLang launch it: its vision, a prompt, a step and its proposals, kernel by kernel, by hand."""

from dataclasses import replace

import pytest

from modelmeter import load_cost_model
from modelmeter.models.common.merged_grid import MergedGrid
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
#: of the small model: the tower's width, heads and their width, its inner width, what its tokens are wide
D, H, W, F, OUT = 64, 4, 16, 96, 48
COLUMNS, ROWS, PAGES, PROMPT = 5, 9, 2, 30
PAGE_TOKENS = COLUMNS * ROWS
SMALL = (
    f"vision.hidden_size={D}",
    f"vision.intermediate_size={F}",
    f"vision.num_heads={H}",
    f"vision.out_hidden_size={OUT}",
    "vision.depth=2",
    *QWEN_OVERRIDES,
    "decoder.head_dim=12",
    f"runtime.batch_size={PAGES}",
    f"runtime.prompt_tokens={PROMPT}",
)
TEXT = {**QWEN_TEXT, "bias": False, "output_norms": True}


def normed(engine: str, path: str, rows: int, width: int) -> list[Kernel]:
    return norm_written_out(path, rows, width) if engine == "vllm" else [norm(path, rows, width)]


def attention(engine: str, pages: int) -> list[Kernel]:
    n = pages * 4 * PAGE_TOKENS
    patches = E * n * D
    scores = 2 * 2 * pages * (4 * PAGE_TOKENS) ** 2 * D
    norms = [*normed(engine, "attn.q_norm", n * H, W), *normed(engine, "attn.k_norm", n * H, W)]
    if engine == "vllm":  # query and key copied, normalised, joined; half a row of cosines and of sines a patch
        joined = Kernel("attn", "aten.cat.default", 2 * patches, 2 * patches)
        copies = [*[copied("attn", patches)] * 2, *norms, copied("attn", patches), joined]
        tables = 2 * E * n * W // 2
    else:
        copies, tables = [*[copied("attn", patches)] * 3, *norms], 2 * E * n * W
    return [
        product("attn.qkv", n, D, 3 * D, bias=True),
        *copies,
        Kernel("attn", "fused.rotary", 2 * patches + tables, 2 * patches),
        Kernel("attn", "fused.attention", 3 * patches + F4 * (pages + 1), patches + F4 * H * n, scores),
        product("attn.proj", n, D, D, bias=True),
    ]


def gated(path: str, rows: int, outer: int, inner: int, *, bias: bool) -> list[Kernel]:
    name = f"{path}." if path else ""
    return [
        product(f"{name}gate_up_proj", rows, outer, 2 * inner, bias=bias),
        Kernel(path, "fused.silu_and_mul", 2 * E * rows * inner, E * rows * inner),
        product(f"{name}down_proj", rows, inner, outer, bias=bias),
    ]


def block(engine: str, pages: int) -> list[Kernel]:
    n = pages * 4 * PAGE_TOKENS
    summed_norm = norm_written_out("norm2", n, D, residual=True) if engine == "vllm" else [sum_and_norm("norm2", n, D)]
    return [
        *normed(engine, "norm1", n, D),
        *attention(engine, pages),
        *summed_norm,
        *gated("mlp", n, D, F, bias=True),
        summed("", E * n * D),
    ]


def tower(engine: str) -> list[Kernel]:
    pages = PAGES if engine == "vllm" else 1
    tokens = pages * PAGE_TOKENS
    n = 4 * tokens
    half, values = n * W // 2, 3 * 2 * 14 * 14
    tables = [Kernel("", "aten.index.Tensor", E * half + 2 * INDEX * n, E * half)] * 2
    embedded = product("patch_embed.proj", n, values, D, bias=True)
    merged = [copied("downsample", E * n * D), product("downsample", tokens, 4 * D, OUT, bias=True)]
    if engine == "sglang":
        tables += [Kernel("", "aten.cat.default", E * half, 2 * E * half)] * 2
        embedded = embedded._replace(aten="aten.convolution.default")
        merged = [merged[1]._replace(aten="aten.convolution.default")]
    x = E * tokens * OUT
    return [
        embedded,
        *tables,
        *under("blocks.0", block(engine, pages)),
        *under("blocks.1", block(engine, pages)),
        *normed(engine, "post_layernorm", n, D),
        *merged,
        product("merger.proj", tokens, OUT, OUT, bias=False),
        Kernel("merger.post_projection_norm", "aten.native_layer_norm.default", x + 2 * E * OUT, x + 2 * F4 * tokens),
        Kernel("merger.act1", "aten.gelu.default", x, x),
        *gated("merger", tokens, OUT, 3 * OUT, bias=False),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_kernel_by_kernel(engine: str) -> None:
    model = load_cost_model([*SMALL, f"execution={engine}"], model="glm_ocr")
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    vision = under("visual", tower(engine)) * (1 if engine == "vllm" else PAGES)
    assert kernels(model.stage_walk("vision", page=page).records()) == vision
    prompt = Text(engine=engine, pages=PAGES, tokens=PAGE_TOKENS + PROMPT, **TEXT)
    prefill = kernels(model.stage_walk("prefill", page=page).records())
    assert prefill == [*vision, *prompt.all(PAGES * PAGE_TOKENS)]
    step = replace(prompt, tokens=1, past=7)
    assert kernels(model.stage_walk("decode", context=7).records()) == step.all()


def further(engine: str, tokens: int, past: int) -> list[Kernel]:
    """The checkpoint's further layer over so many tokens of each page."""
    rows, x = PAGES * tokens, E * PAGES * tokens * OUT
    layer = Text(engine=engine, pages=PAGES, tokens=tokens, past=past, **TEXT).layer()[:-1]
    block = [each._replace(path=each.path.replace("layers.0", "layers.1.mtp_block")) for each in layer]
    return [
        Kernel("embed_tokens", "aten.embedding.default", x + INDEX * rows, x),
        norm("layers.1.enorm", rows, OUT),
        norm("layers.1.hnorm", rows, OUT),
        Kernel("layers.1", "aten.cat.default", 2 * x, 2 * x),
        product("layers.1.eh_proj", rows, 2 * OUT, OUT, bias=False),
        *block,
        summed("layers.1", x),
    ]


def proposal() -> list[Kernel]:
    """What the further layer's last hidden states propose."""
    logits = PAGES * TEXT["vocabulary"]
    return [
        norm("norm", PAGES, OUT),
        product("lm_head", PAGES, OUT, TEXT["vocabulary"], bias=False),
        Kernel("", "aten.argmax.default", E * logits, INDEX * PAGES),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_with_proposals_kernel_by_kernel(engine: str) -> None:
    keys = ("runtime.draft=mtp", "runtime.draft_tokens=2", "runtime.accepted_tokens=2")
    model = load_cost_model([*SMALL, *keys, f"execution={engine}"], model="glm_ocr")
    step = Text(engine=engine, pages=PAGES, tokens=3, past=7, **TEXT)
    # the head over three positions of each page
    last, logits = E * PAGES * 3 * OUT, PAGES * 3 * TEXT["vocabulary"]
    head = [
        *([Kernel("", "aten.index.Tensor", last + INDEX * PAGES * 3, last)] if engine == "vllm" else []),
        product("lm_head", PAGES * 3, OUT, TEXT["vocabulary"], bias=False),
        Kernel("", "aten._to_copy.default", E * logits, F4 * logits),
        Kernel("", "aten.argmax.default", F4 * logits, INDEX * PAGES * 3),
        *([Kernel("", "aten._to_copy.default", INDEX * PAGES * 3, F4 * PAGES * 3)] if engine == "vllm" else []),
    ]
    of_last = E * PAGES * OUT
    expected = [
        *step.embedded(),
        *step.layer(),
        *head,
        *further(engine, 3, 7),
        Kernel("", "aten.index.Tensor", of_last + INDEX * PAGES, of_last),
        *proposal(),
        *further(engine, 1, 10),
        *proposal(),
    ]
    assert kernels(model.stage_walk("decode", context=7).records()) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_products_and_no_less_than_the_bound(engine: str) -> None:
    ours, bound, library = (
        load_cost_model([f"execution={name}"], model="glm_ocr") for name in (engine, "serving", "transformers")
    )
    pages = [each.layout_cost(MergedGrid(23, 14), 5) for each in (ours, bound, library)]
    for stage in ("vision", "prefill", "decode"):
        one, least, other = (getattr(page, stage) for page in pages)
        for figure in ("tensor_core_flops", "kv_bytes", "kv_added_bytes"):
            assert getattr(one, figure) == getattr(least, figure) == getattr(other, figure), (stage, figure)
        assert least.io_bytes < one.io_bytes < other.io_bytes, stage


def at_its_best() -> list[Kernel]:
    """The tower of an engine at its best: sums in the norms after them, queries and keys in their places."""
    tokens = PAGES * PAGE_TOKENS
    n = 4 * tokens
    patches, x = E * n * D, E * tokens * OUT
    tables = 2 * F4 * n * W  # float32, a row a patch
    scores = 2 * 2 * PAGES * (4 * PAGE_TOKENS) ** 2 * D
    blocks = [
        kernel
        for index in range(2)
        for kernel in under(
            f"blocks.{index}",
            [
                sum_and_norm("norm1", n, D) if index else norm("norm1", n, D),
                product("attn.qkv", n, D, 3 * D, bias=True),
                norm("attn.q_norm", n * H, W),
                norm("attn.k_norm", n * H, W),
                Kernel("attn", "fused.rotary", 2 * patches + tables, 2 * patches),
                Kernel("attn", "fused.attention", 3 * patches + F4 * (PAGES + 1), patches, scores),
                product("attn.proj", n, D, D, bias=True),
                sum_and_norm("norm2", n, D),
                *gated("mlp", n, D, F, bias=True),
            ],
        )
    ]
    convolution = "aten.convolution.default"
    return [
        product("patch_embed.proj", n, 3 * 2 * 14 * 14, D, bias=True)._replace(aten=convolution),
        # row and column of a patch, W / 4 frequencies
        Kernel("", "fused.rotary_tables", 2 * INDEX * n + F4 * W // 4, tables),
        *blocks,
        sum_and_norm("post_layernorm", n, D),
        product("downsample", tokens, 4 * D, OUT, bias=True)._replace(aten=convolution),
        product("merger.proj", tokens, OUT, OUT, bias=False),
        Kernel("merger.post_projection_norm", "fused.layer_norm", x + 2 * E * OUT, x),
        Kernel("merger.act1", "fused.gelu", x, x),
        *gated("merger", tokens, OUT, 3 * OUT, bias=False),
    ]


def test_the_bound_kernel_by_kernel() -> None:
    model = load_cost_model([*SMALL, "execution=serving"], model="glm_ocr")
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    assert kernels(model.stage_walk("vision", page=page).records()) == under("visual", at_its_best())
    paths = [each.path for each in model.stage_walk("decode", context=7).records()]
    norms = ["input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm"]
    assert [path for path in paths if "norm" in path] == [*(f"layers.0.{name}" for name in norms), "norm"]
