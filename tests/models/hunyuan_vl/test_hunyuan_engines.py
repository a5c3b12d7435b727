"""HunyuanOCR as vLLM launches it, and an engine at its best: vision, a prompt and a step, kernel by kernel, by hand."""

from dataclasses import replace

import pytest

from modelmeter.kernel_classes import kernel_class
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.hunyuan_vl import load_cost_model
from tests.models.engine_hand import (
    F4,
    E,
    Kernel,
    Text,
    kernels,
    norm_written_out,
    product,
    sum_and_norm,
    summed,
    under,
)

#: of the small model: the tower's width, inner width and heads, what its tokens are wide, a side of its position table
D, F, H, OUT, EDGE = 64, 80, 4, 48, 4
PATCH = 3 * 16 * 16
COLUMNS, ROWS, PAGES, PROMPT = 5, 3, 2, 30
#: of a page: patches, positions with newlines, tokens
N, POSITIONS = 4 * COLUMNS * ROWS, ROWS * (COLUMNS + 1)
TOKENS = POSITIONS + 2
SMALL = (
    f"vision.hidden_size={D}",
    f"vision.intermediate_size={F}",
    f"vision.num_attention_heads={H}",
    "vision.num_hidden_layers=2",
    f"vision.out_hidden_size={OUT}",
    f"vision.max_image_size={16 * EDGE}",
    f"decoder.hidden_size={OUT}",
    "decoder.intermediate_size=80",
    "decoder.num_attention_heads=4",
    "decoder.num_key_value_heads=2",
    "decoder.head_dim=12",
    "decoder.mrope_section=[1,2,2,1]",
    "decoder.vocab_size=100",
    "decoder.num_hidden_layers=1",
    f"runtime.batch_size={PAGES}",
    f"runtime.prompt_tokens={PROMPT}",
)
TEXT = Text(
    engine="vllm",
    pages=PAGES,
    tokens=TOKENS + PROMPT,
    hidden=OUT,
    inner=80,
    heads=4,
    kv_heads=2,
    head_dim=12,
    vocabulary=100,
    qk_norm=True,
    norm_after_rotary=True,
    axes=4,
)


def convolution(path: str, inputs: int, kernel: int, outputs: int, channels: int) -> Kernel:
    """A convolution whose kernels do not overlap: each output is a sum over `kernel` inputs, and has a bias."""
    weight = E * (kernel * channels + channels)
    return Kernel(path, "aten.convolution.default", E * inputs + weight, E * outputs, 2 * outputs * kernel)


def gelu(path: str, elements: int, aten: str = "aten.gelu.default") -> Kernel:
    return Kernel(path, aten, E * elements, E * elements)


def layer_norm(path: str) -> Kernel:
    return Kernel(path, "aten.native_layer_norm.default", E * (N * D + 2 * D), E * N * D + 2 * F4 * N)


def vllm_block() -> list[Kernel]:
    """Of one page."""
    patches = E * N * D
    return [
        layer_norm("input_layernorm"),
        product("self_attn.qkv", N, D, 3 * D, bias=True),
        Kernel("self_attn", "aten.arange.default", 0, 2 * F4),  # where the page begins and ends
        # with the log-sum-exp of each query and head
        Kernel("self_attn", "fused.attention", 3 * patches, patches + F4 * H * N, 4 * N * N * D),
        product("self_attn.o_proj", N, D, D, bias=True),
        summed("", patches),
        layer_norm("post_attention_layernorm"),
        product("mlp.dense_h_to_4h", N, D, F, bias=True),
        gelu("mlp", N * F),
        product("mlp.dense_4h_to_h", N, F, D, bias=True),
        summed("", patches),
    ]


def vllm_merger() -> list[Kernel]:
    """Of one page."""
    squares = N // 4
    made = [
        convolution("proj.0", N * D, 4 * D, squares * 2 * D, 2 * D),
        gelu("proj.1", squares * 2 * D),
        convolution("proj.2", squares * 2 * D, 2 * D, squares * 4 * D, 4 * D),
        # a newline of 4 D elements, read once, behind each row; the bias is added apart, as rows are in no order
        Kernel("", "aten.cat.default", E * (squares + 1) * 4 * D, E * POSITIONS * 4 * D),
        product("mlp", POSITIONS, 4 * D, OUT, bias=False),
        Kernel("mlp", "aten.add_.Tensor", E * (POSITIONS + 1) * OUT, E * POSITIONS * OUT),
        Kernel("", "aten.cat.default", E * TOKENS * OUT, E * TOKENS * OUT),
    ]
    return [*norm_written_out("before_rms", N, D), *made, *norm_written_out("after_rms", TOKENS, OUT)]


def vllm_tower() -> list[Kernel]:
    all_patches, table = E * PAGES * N * D, F4 * EDGE * EDGE * D
    resized = [
        Kernel("embeddings", "aten.upsample_bilinear2d.default", table, F4 * N * D),
        Kernel("embeddings", "aten._to_copy.default", F4 * N * D, E * N * D),
    ]
    joined = Kernel("", "aten.cat.default", all_patches, all_patches)
    return [
        convolution("embeddings.patch_embedding", PAGES * N * PATCH, PATCH, PAGES * N * D, D),
        *resized * PAGES,
        joined._replace(path="embeddings"),
        summed("embeddings", all_patches),
        *under("layers.0", vllm_block() * PAGES),
        joined,
        *under("layers.1", vllm_block() * PAGES),
        joined,
        *under("perceive", vllm_merger() * PAGES),
    ]


def best_block(*, first: bool) -> list[Kernel]:
    """Of all pages."""
    rows, patches = PAGES * N, E * PAGES * N * D
    summed_norm = Kernel("", "fused.add_layer_norm", 2 * patches + 2 * E * D, 2 * patches)
    begins = Kernel("input_layernorm", "fused.layer_norm", patches + 2 * E * D, patches)
    return [
        begins if first else summed_norm._replace(path="input_layernorm"),
        product("self_attn.qkv", rows, D, 3 * D, bias=True),
        Kernel("self_attn", "fused.attention", 3 * patches, patches, PAGES * 4 * N * N * D),
        product("self_attn.o_proj", rows, D, D, bias=True),
        summed_norm._replace(path="post_attention_layernorm"),
        product("mlp.dense_h_to_4h", rows, D, F, bias=True),
        gelu("mlp", rows * F, "fused.gelu"),
        product("mlp.dense_4h_to_h", rows, F, D, bias=True),
    ]


def best_tower() -> list[Kernel]:
    patches, squares, positions = PAGES * N, PAGES * N // 4, PAGES * POSITIONS
    table = F4 * EDGE * EDGE * D
    ends = E * (2 * OUT + OUT)  # the token that begins a page, the one that ends it, the norm's weight
    return [
        convolution("embeddings.patch_embedding", patches * PATCH, PATCH, patches * D, D),
        Kernel("embeddings", "fused.add_positions", table + E * patches * D, E * patches * D),
        *under("layers.0", best_block(first=True)),
        *under("layers.1", best_block(first=False)),
        sum_and_norm("perceive.before_rms", patches, D),
        convolution("perceive.proj.0", patches * D, 4 * D, squares * 2 * D, 2 * D),
        gelu("perceive.proj.1", squares * 2 * D, "fused.gelu"),
        convolution("perceive.proj.2", squares * 2 * D, 2 * D, squares * 4 * D, 4 * D),
        Kernel("perceive", "fused.newlines", E * (squares + 1) * 4 * D, E * positions * 4 * D),
        product("perceive.mlp", positions, 4 * D, OUT, bias=True),
        Kernel("perceive", "fused.ends_and_norm", E * positions * OUT + ends, E * PAGES * TOKENS * OUT),
    ]


@pytest.mark.parametrize(
    ("execution", "tower"), [("vllm", vllm_tower()), ("serving", best_tower())], ids=["vllm", "serving"]
)
def test_vision_kernel_by_kernel(execution: str, tower: list[Kernel]) -> None:
    model = load_cost_model([*SMALL, f"execution={execution}"])
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    assert kernels(model.stage_walk("vision", page=page).records()) == under("vit", tower)


def test_a_prompt_and_a_step_of_vllm() -> None:
    """Queries and keys turn in their GEMM's places, by rows of four coordinates; the norm of each is a kernel after."""
    model = load_cost_model([*SMALL, "execution=vllm"])
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    prefill = kernels(model.stage_walk("prefill", page=page).records())
    assert prefill == [*under("vit", vllm_tower()), *TEXT.all(PAGES * TOKENS)]
    step = replace(TEXT, tokens=1, past=7)
    assert kernels(model.stage_walk("decode", context=7).records()) == step.all()


def test_a_step_at_best_turns_normalises_and_keeps_in_one_kernel() -> None:
    model = load_cost_model([*SMALL, "execution=serving"])
    (chain,) = (each for each in model.stage_walk("decode", context=7).records() if each.aten.startswith("fused.rot"))
    query, key = E * PAGES * 4 * 12, E * PAGES * 2 * 12
    norms, rows = 2 * E * 12, PAGES * (4 * 8 + E * 12)
    assert (chain.bytes_read, chain.bytes_written) == (query + 2 * key + norms + rows, query + 2 * key)


@pytest.mark.parametrize("engine", ["vllm", "serving"])
def test_the_same_products_and_less_of_the_rest(engine: str) -> None:
    ours, library = (load_cost_model([f"execution={name}"]) for name in (engine, "transformers"))
    pages = [each.layout_cost(MergedGrid(23, 14), 5) for each in (ours, library)]
    for stage in ("vision", "prefill", "decode"):
        one, other = (getattr(page, stage) for page in pages)
        for figure in ("tensor_core_flops", "weight_bytes", "kv_bytes", "kv_added_bytes"):
            assert getattr(one, figure) == getattr(other, figure), (stage, figure)
        assert one.io_bytes < other.io_bytes, stage
    best = load_cost_model(["execution=serving"]).layout_cost(MergedGrid(23, 14), 5)
    assert best.prefill.io_bytes <= pages[0].prefill.io_bytes
    assert best.prefill.activation_peak_bytes <= pages[0].prefill.activation_peak_bytes


@pytest.mark.parametrize("execution", ["transformers", "vllm", "serving"])
def test_each_operator_has_a_class_of_kernels(execution: str) -> None:
    model = load_cost_model([f"execution={execution}"])
    page = model.page(600, 800)
    vision = {kernel_class(each) for each in model.stage_walk("vision", page=page).records()}
    assert "encoder_attention" in vision and "context_attention" not in vision
    prefill = {kernel_class(each) for each in model.stage_walk("prefill", page=page).records()}
    assert {"context_attention", "encoder_attention", "convolution"} <= prefill
    step = {kernel_class(each) for each in model.stage_walk("decode", context=page.seq_len).records()}
    assert "generation_attention" in step and "encoder_attention" not in step
