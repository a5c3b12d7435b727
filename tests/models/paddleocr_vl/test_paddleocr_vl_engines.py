"""PaddleOCR-VL as vLLM and SGLang launch it: its vision, a prompt and a step, kernel by kernel, by hand."""

from dataclasses import replace

import pytest

from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.paddleocr_vl import load_cost_model
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
#: of the small model: the tower's width, inner width, heads and their width, side of its table, width of its tokens
D, F, H, W, SIDE, OUT = 64, 96, 4, 16, 7, 48
COLUMNS, ROWS, PAGES, PROMPT = 5, 9, 2, 30
TOKENS = COLUMNS * ROWS
N = 4 * TOKENS
SMALL = (
    f"vision.hidden_size={D}",
    f"vision.intermediate_size={F}",
    f"vision.num_attention_heads={H}",
    f"vision.image_size={14 * SIDE}",
    "vision.num_hidden_layers=2",
    "decoder.head_dim=12",
    *QWEN_OVERRIDES,
    f"runtime.batch_size={PAGES}",
    f"runtime.prompt_tokens={PROMPT}",
)


def layer_norm(path: str) -> Kernel:
    return Kernel(path, "aten.native_layer_norm.default", E * (N * D + 2 * D), E * N * D + 2 * F4 * N)


def block(engine: str) -> list[Kernel]:
    patches, inner, wide, half = E * N * D, E * N * F, F4 * N * D, F4 * N * W // 2
    at = "self_attn"
    if engine == "vllm":  # joined, cast, turned by half a row of cosines and of sines in float32, and cast back
        turned = [
            Kernel(at, "aten.cat.default", 2 * patches, 2 * patches),
            Kernel(at, "aten.cos.default", half, half),
            Kernel(at, "aten.sin.default", half, half),
            Kernel(at, "aten._to_copy.default", 2 * patches, 2 * wide),
            Kernel(at, "fused.rotary", 2 * wide + 2 * half, 2 * wide),
            Kernel(at, "aten._to_copy.default", 2 * wide, 2 * patches),
        ]
    else:
        turned = [*[copied(at, patches)] * 3, Kernel(at, "fused.rotary", 2 * patches + 4 * half, 2 * patches)]
    return [
        layer_norm("layer_norm1"),
        product(f"{at}.qkv_proj", N, D, 3 * D, bias=True),
        *turned,
        Kernel(at, "fused.attention", 3 * patches + 2 * F4, patches + F4 * H * N, 2 * 2 * N**2 * D),
        product(f"{at}.out_proj", N, D, D, bias=True),
        summed("", patches),
        layer_norm("layer_norm2"),
        product("mlp.fc1", N, D, F, bias=True),
        Kernel("mlp.activation_fn", "aten.gelu.default", inner, inner),
        product("mlp.fc2", N, F, D, bias=True),
        summed("", patches),
    ]


def tower(engine: str) -> list[Kernel]:
    patches, places, angles = E * N * D, INDEX * N, F4 * N * W // 2
    longest = 2 * max(COLUMNS, ROWS)
    of_places = F4 * longest * W // 4
    doubled = [] if engine == "vllm" else [Kernel("encoder", "aten.cat.default", angles, 2 * angles)]
    doubled += [Kernel("encoder", f"aten.{name}.default", 2 * angles, 2 * angles) for name in ("cos", "sin") if doubled]
    return [
        product("embeddings.patch_embedding", N, 3 * 14 * 14, D, bias=True),
        Kernel("embeddings", "aten.upsample_bilinear2d.default", E * SIDE**2 * D, patches),
        Kernel("embeddings", "aten.repeat.default", patches, patches),
        summed("embeddings", patches),
        Kernel("embeddings", "aten.cat.default", patches, patches),
        # row and column of each patch, and angles for as many places as the longer side has
        Kernel("encoder", "aten.arange.default", 0, places),
        Kernel("encoder", "aten.remainder.Scalar", places, places),
        Kernel("encoder", "aten.floor_divide.default", places, places),
        Kernel("encoder", "aten.remainder.Scalar", places, places),
        Kernel("encoder", "aten.cat.default", places, places),
        Kernel("encoder", "aten.cat.default", places, places),
        Kernel("encoder", "aten.stack.default", 2 * places, 2 * places),
        Kernel("encoder", "aten.arange.default", 0, F4 * longest),
        Kernel("encoder", "aten.mul.Tensor", F4 * longest + F4 * W // 4, of_places),
        Kernel("encoder", "aten.index.Tensor", angles + 2 * places, angles),
        *doubled,
        *under("encoder.layers.0", block(engine)),
        *under("encoder.layers.1", block(engine)),
        layer_norm("post_layernorm"),
    ]


def projector(engine: str) -> list[Kernel]:
    patches, tokens = E * N * D, E * TOKENS * OUT
    return [
        layer_norm("pre_norm"),
        copied("", patches),
        product("linear_1", TOKENS, 4 * D, 4 * D, bias=True),
        Kernel("act", "aten.gelu.default", patches, patches),
        product("linear_2", TOKENS, 4 * D, OUT, bias=True),
        *([] if engine == "vllm" else [Kernel("", "aten.cat.default", tokens, tokens)]),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_kernel_by_kernel(engine: str) -> None:
    model = load_cost_model([*SMALL, f"execution={engine}"])
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    seen, projected = under("visual", tower(engine)), under("projector", projector(engine))
    # vLLM has all pages through the tower before it projects the first
    vision = seen * PAGES + projected * PAGES if engine == "vllm" else [*seen, *projected] * PAGES
    assert kernels(model.stage_walk("vision", page=page).records()) == vision
    prompt = Text(engine=engine, pages=PAGES, tokens=TOKENS + PROMPT, **QWEN_TEXT | {"bias": False})
    prefill = kernels(model.stage_walk("prefill", page=page).records())
    assert prefill == [*vision, *prompt.all(PAGES * TOKENS)]
    step = replace(prompt, tokens=1, past=7)
    assert kernels(model.stage_walk("decode", context=7).records()) == step.all()


def test_an_engine_at_its_best_kernel_by_kernel() -> None:
    model = load_cost_model([*SMALL, "execution=serving"])
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    n, patches, inner, tables = PAGES * N, E * PAGES * N * D, E * PAGES * N * F, 2 * F4 * PAGES * N * W
    weights = E * 2 * D
    norm_and_sum = Kernel("layer_norm2", "fused.add_layer_norm", 2 * patches + weights, 2 * patches)

    def at_best(first: bool) -> list[Kernel]:
        norm = Kernel("layer_norm1", "fused.layer_norm", patches + weights, patches)
        return [
            norm if first else norm_and_sum._replace(path="layer_norm1"),
            product("self_attn.qkv_proj", n, D, 3 * D, bias=True),
            Kernel("self_attn", "fused.rotary", 2 * patches + tables, 2 * patches),
            Kernel("self_attn", "fused.attention", 3 * patches + F4 * (PAGES + 1), patches, PAGES * 4 * N**2 * D),
            product("self_attn.out_proj", n, D, D, bias=True),
            norm_and_sum,
            product("mlp.fc1", n, D, F, bias=True),
            Kernel("mlp.activation_fn", "fused.gelu", inner, inner),
            product("mlp.fc2", n, F, D, bias=True),
        ]

    taps = 4 * n * (INDEX + F4)
    convolution = product("", n, 3 * 14 * 14, D, bias=True)
    expected = [
        *under(
            "visual",
            [
                convolution._replace(path="embeddings.patch_embedding", aten="aten.convolution.default"),
                # a table of 7 x 7 positions is read whole
                Kernel("embeddings", "fused.embed", patches + taps + E * SIDE**2 * D, patches),
                Kernel("encoder", "fused.rotary_tables", 2 * INDEX * n + F4 * W // 4, tables),
                *under("encoder.layers.0", at_best(True)),
                *under("encoder.layers.1", at_best(False)),
                norm_and_sum._replace(path="post_layernorm"),
            ],
        ),
    ]
    found = kernels(model.stage_walk("vision", page=page).records())
    assert found[: len(expected)] == expected
    tokens = E * TOKENS * OUT
    projected = [
        Kernel("pre_norm", "fused.layer_norm", patches // PAGES + weights, patches // PAGES),
        copied("", patches // PAGES),
        product("linear_1", TOKENS, 4 * D, 4 * D, bias=True),
        Kernel("act", "fused.gelu", patches // PAGES, patches // PAGES),
        product("linear_2", TOKENS, 4 * D, OUT, bias=True),
    ]
    assert found[len(expected) :] == under(
        "projector", [*projected * PAGES, Kernel("", "aten.cat.default", PAGES * tokens, PAGES * tokens)]
    )


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
