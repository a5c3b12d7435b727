"""Qianfan-OCR as vLLM and SGLang launch it, and on an engine at its best, kernel by kernel, by hand."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from modelmeter.kernel_classes import kernel_class
from modelmeter.models.qianfan_ocr import PatchesGrid, load_cost_model
from tests.models.engine_hand import F4, E, Kernel, Text, copied, kernels, product, summed, under
from tests.models.qianfan_ocr.small import OVERRIDES

#: of the small model: width, inner width, heads; patches of a view, tokens of it; width of shuffled features, of text
D, F, H = 48, 104, 3
PATCHES, TOKENS, SHUFFLED, OUT = 36, 9, 4 * 48, 80
PIXELS = 3 * 14 * 14
#: tiles of a page, pages; views of all of them, positions that the tower has of them, and prompt tokens
TILES, PAGES, PROMPT = 2, 2, 11
VIEWS = PAGES * (TILES + 1)
N = VIEWS * (PATCHES + 1)

X = E * N * D
#: LayerNorm writes mean and reciprocal deviation of each row, in float32, beside it
STATISTICS = 2 * F4 * N


def layer_norm(path: str, rows: int, width: int) -> Kernel:
    x = E * rows * width
    return Kernel(path, "aten.native_layer_norm.default", x + 2 * E * width, x + 2 * F4 * rows)


def scores() -> int:
    return 2 * 2 * VIEWS * (PATCHES + 1) ** 2 * D


def vllm_block() -> list[Kernel]:
    scaled = Kernel("", "aten.mul.Tensor", X + E * D, X)
    return [
        layer_norm("layernorm_before", N, D),
        product("attn.qkv", N, D, 3 * D, bias=True),
        Kernel("attn", "aten.arange.default", 0, F4 * (VIEWS + 1)),  # where each view begins
        Kernel("attn", "fused.attention", 3 * X, X + F4 * H * N, scores()),
        product("attn.projection_layer", N, D, D, bias=True),
        scaled,
        summed("", X),
        layer_norm("layernorm_after", N, D),
        product("mlp.fc1", N, D, F, bias=True),
        Kernel("mlp", "aten.gelu.default", E * N * F, E * N * F),
        product("mlp.fc2", N, F, D, bias=True),
        scaled,
        summed("", X),
    ]


def vllm_vision() -> list[Kernel]:
    patches = E * VIEWS * PATCHES * D
    shuffled, tokens = E * VIEWS * TOKENS * SHUFFLED, VIEWS * TOKENS
    embeddings, projector = "vision_tower.embeddings", "multi_modal_projector"
    return [
        copied(f"{embeddings}.patch_embeddings", E * VIEWS * PATCHES * PIXELS),
        product(f"{embeddings}.patch_embeddings.projection", VIEWS * PATCHES, PIXELS, D, bias=True),
        Kernel(embeddings, "aten.cat.default", patches + E * D, X),
        Kernel(embeddings, "aten.add.Tensor", X + E * (PATCHES + 1) * D, X),
        *(kernel for layer in range(3) for kernel in under(f"vision_tower.layers.{layer}", vllm_block())),
        *[copied("", shuffled)] * 2,
        layer_norm(f"{projector}.layer_norm", tokens, SHUFFLED),
        product(f"{projector}.linear_1", tokens, SHUFFLED, OUT, bias=True),
        Kernel(projector, "aten.gelu.default", E * tokens * OUT, E * tokens * OUT),
        product(f"{projector}.linear_2", tokens, OUT, OUT, bias=True),
    ]


def sglang_page() -> list[Kernel]:
    """One page of three views: pixels, and each of query, key and value, are copied; positions resized in float32."""
    views, tokens = TILES + 1, (TILES + 1) * TOKENS
    n = views * (PATCHES + 1)
    x, pixels, patches = E * n * D, E * views * PATCHES * PIXELS, E * views * PATCHES * D
    table, wide, shuffled = E * PATCHES * D, F4 * PATCHES * D, E * tokens * SHUFFLED
    embeddings, projector = "vision_tower.embeddings", "multi_modal_projector"
    scaled = Kernel("", "aten.mul.Tensor", x + E * D, x)
    scores = 2 * 2 * views * (PATCHES + 1) ** 2 * D
    block = [
        layer_norm("layernorm_before", n, D),
        product("attn.qkv", n, D, 3 * D, bias=True),
        *[copied("attn", x)] * 3,
        Kernel("attn", "fused.attention", 3 * x, x + F4 * H * n, scores),
        product("attn.projection_layer", n, D, D, bias=True),
        scaled,
        summed("", x),
        layer_norm("layernorm_after", n, D),
        product("mlp.fc1", n, D, F, bias=True),
        Kernel("mlp", "aten.gelu.default", E * n * F, E * n * F),
        product("mlp.fc2", n, F, D, bias=True),
        scaled,
        summed("", x),
    ]
    return [
        Kernel("", "aten.cat.default", pixels, pixels),
        copied(f"{embeddings}.patch_embeddings", pixels),
        product(f"{embeddings}.patch_embeddings.projection", views * PATCHES, PIXELS, D, bias=True),
        Kernel(embeddings, "aten.cat.default", patches + E * D, x),
        Kernel(embeddings, "aten._to_copy.default", table, wide),
        Kernel(embeddings, "aten.upsample_bicubic2d.default", wide, wide),
        Kernel(embeddings, "aten._to_copy.default", wide, table),
        Kernel(embeddings, "aten.cat.default", table + E * D, table + E * D),
        Kernel(embeddings, "aten.add.Tensor", x + E * (PATCHES + 1) * D, x),
        Kernel("vision_tower", "aten.arange.default", 0, F4 * (views + 1)),  # where each view begins
        *(kernel for layer in range(3) for kernel in under(f"vision_tower.layers.{layer}", block)),
        *[copied("", shuffled)] * 2,
        layer_norm(f"{projector}.layer_norm", tokens, SHUFFLED),
        product(f"{projector}.linear_1", tokens, SHUFFLED, OUT, bias=True),
        Kernel(projector, "aten.gelu.default", E * tokens * OUT, E * tokens * OUT),
        product(f"{projector}.linear_2", tokens, OUT, OUT, bias=True),
    ]


def serving_block(first: bool) -> list[Kernel]:
    """The sum before it lies in its first norm, scaled; a norm's bias and weight are read, no statistics written."""
    norms = 2 * E * D
    before = Kernel("layernorm_before", "fused.layer_norm", X + norms, X)
    summed_before = Kernel("", "fused.scale_add_layer_norm", 2 * X + E * D + norms, 2 * X)
    return [
        before if first else summed_before,
        product("attn.qkv", N, D, 3 * D, bias=True),
        Kernel("attn", "fused.attention", 3 * X, X, scores()),
        product("attn.projection_layer", N, D, D, bias=True),
        summed_before,
        product("mlp.fc1", N, D, F, bias=True),
        Kernel("mlp", "fused.gelu", E * N * F, E * N * F),
        product("mlp.fc2", N, F, D, bias=True),
    ]


def serving_vision() -> list[Kernel]:
    patches = E * VIEWS * PATCHES * D
    shuffled, tokens = E * VIEWS * TOKENS * SHUFFLED, VIEWS * TOKENS
    embeddings, projector = "vision_tower.embeddings", "multi_modal_projector"
    convolution = Kernel(
        f"{embeddings}.patch_embeddings.projection",
        "aten.convolution.default",
        E * (VIEWS * PATCHES * PIXELS + PIXELS * D + D),
        patches,
        2 * VIEWS * PATCHES * PIXELS * D,
    )
    return [
        convolution,
        Kernel(embeddings, "fused.embed", patches + E * D + E * (PATCHES + 1) * D, X),
        *(kernel for layer in range(3) for kernel in under(f"vision_tower.layers.{layer}", serving_block(layer == 0))),
        Kernel("vision_tower", "fused.scale_add", 2 * X + E * D, X),
        Kernel("", "fused.pixel_shuffle", shuffled, shuffled),
        Kernel(f"{projector}.layer_norm", "fused.layer_norm", E * tokens * SHUFFLED + 2 * E * SHUFFLED, shuffled),
        product(f"{projector}.linear_1", tokens, SHUFFLED, OUT, bias=True),
        Kernel(projector, "fused.gelu", E * tokens * OUT, E * tokens * OUT),
        product(f"{projector}.linear_2", tokens, OUT, OUT, bias=True),
    ]


def overrides(execution: str) -> list[str]:
    runtime = (f"execution={execution}", f"runtime.batch_size={PAGES}", f"runtime.prompt_tokens={PROMPT}")
    return [*OVERRIDES, "decoder.num_hidden_layers=1", *runtime]


VISION: dict[str, Sequence[Kernel]] = {
    "vllm": vllm_vision(),
    "sglang": sglang_page() * PAGES,
    "serving": serving_vision(),
}


@pytest.mark.parametrize("engine", VISION)
def test_vision_kernel_by_kernel(engine: str) -> None:
    model = load_cost_model(overrides(engine))
    page = model.layout_cost(PatchesGrid(TILES, TILES, 1))
    assert kernels(model.stage_walk("vision", page=page).records()) == VISION[engine]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_prompt_and_a_step_kernel_by_kernel(engine: str) -> None:
    model = load_cost_model(overrides(engine))
    page = model.layout_cost(PatchesGrid(TILES, TILES, 1))
    tokens = (TILES + 1) * TOKENS
    text = Text(
        engine=engine,
        pages=PAGES,
        tokens=tokens + PROMPT,
        hidden=OUT,
        inner=136,
        heads=6,
        kv_heads=2,
        head_dim=16,
        vocabulary=300,
        qk_norm=True,
    )
    prefill = kernels(model.stage_walk("prefill", page=page).records())
    assert prefill == [*VISION[engine], *text.all(PAGES * tokens)]
    step = kernels(model.stage_walk("decode", context=page.seq_len).records())
    assert step == replace(text, tokens=1, past=page.seq_len).all()


@pytest.mark.parametrize("pages", [1, 3])
def test_the_same_products_and_less_of_everything_else(pages: int) -> None:
    models = (
        load_cost_model([f"execution={name}", f"runtime.batch_size={pages}"])
        for name in ("transformers", "vllm", "sglang", "serving")
    )
    costs = [model.layout_cost(PatchesGrid(6, 2, 3), 5) for model in models]
    for stage in ("vision", "prefill", "decode"):
        theirs, *engines, best = (getattr(cost, stage) for cost in costs)
        for figure in ("tensor_core_flops", "weight_bytes", "kv_bytes"):
            assert len({getattr(each, figure) for each in (theirs, *engines, best)}) == 1, figure
        for engine in engines:
            assert best.io_bytes < engine.io_bytes
            if pages == 1:  # of several pages, SGLang holds the views of one at a time
                assert best.activation_peak_bytes <= engine.activation_peak_bytes
        assert best.io_bytes < theirs.io_bytes
        # the peak of vision is a GELU's input and output
        assert best.activation_peak_bytes <= theirs.activation_peak_bytes


@pytest.mark.parametrize("execution", ["transformers", "vllm", "sglang", "serving"])
def test_each_operator_has_a_class_of_kernels(execution: str) -> None:
    model = load_cost_model([f"execution={execution}"])
    page = model.page(600, 800)
    vision = {kernel_class(each) for each in model.stage_walk("vision", page=page).records()}
    assert "encoder_attention" in vision and "context_attention" not in vision
    prefill = {kernel_class(each) for each in model.stage_walk("prefill", page=page).records()}
    assert "context_attention" in prefill
    step = {kernel_class(each) for each in model.stage_walk("decode", context=page.seq_len).records()}
    assert "generation_attention" in step
