"""Qwen2.5-VL on an inference engine at its best, kernel by kernel: the same products, less of all else."""

import pytest

from modelmeter.kernel_classes import kernel_class
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.qwen2_5_vl import load_cost_model

#: of the small model: the tower's width, inner width, heads and their width, what its tokens are wide
D, F, H, W, OUT = 64, 96, 4, 16, 48
#: the decoder's inner width, heads, heads of keys, their width, vocabulary
TEXT_F, TEXT_H, TEXT_KV, TEXT_W, VOCAB = 80, 4, 2, 12, 100
#: tokens of a page, a window of 4 x 4 and what two sides leave of it; pages, prompt; bytes of an element
COLUMNS, ROWS, PAGES, PROMPT, E = 5, 9, 2, 100, 2
TOKENS = PAGES * COLUMNS * ROWS
N = 4 * TOKENS
LENGTH = COLUMNS * ROWS + PROMPT
SMALL = (
    f"vision.hidden_size={D}",
    f"vision.intermediate_size={F}",
    f"vision.num_heads={H}",
    f"vision.out_hidden_size={OUT}",
    "vision.depth=2",
    "vision.fullatt_block_indexes=[1]",
    f"decoder.hidden_size={OUT}",
    f"decoder.intermediate_size={TEXT_F}",
    f"decoder.num_attention_heads={TEXT_H}",
    f"decoder.num_key_value_heads={TEXT_KV}",
    "decoder.mrope_section=[1,2,3]",
    f"decoder.vocab_size={VOCAB}",
    "decoder.num_hidden_layers=1",
    "execution=serving",
    f"runtime.batch_size={PAGES}",
    f"runtime.prompt_tokens={PROMPT}",
)
PATCHES = E * N * D
NORM = E * D


def product(rows: int, inner: int, outer: int, *, bias: bool) -> tuple[int, int]:
    """Bytes that rows times a weight read and write."""
    return E * (rows * inner + inner * outer + (outer if bias else 0)), E * rows * outer


def block(index: int, attention: list[tuple[str, str, int, int]]) -> list[tuple[str, str, int, int]]:
    """One of the tower."""
    tables = 2 * 4 * N * W  # float32, a row a patch
    summed = ("fused.add_rms_norm", 2 * PATCHES + NORM, 2 * PATCHES)
    named = [
        ("norm1", *(summed if index else ("fused.rms_norm", PATCHES + NORM, PATCHES))),
        ("attn.qkv", "aten.addmm.default", *product(N, D, 3 * D, bias=True)),
        ("attn", "fused.rotary", 2 * PATCHES + tables, 2 * PATCHES),
        *attention,
        ("attn.proj", "aten.addmm.default", *product(N, D, D, bias=True)),
        ("norm2", *summed),
        ("mlp.gate_up_proj", "aten.addmm.default", *product(N, D, 2 * F, bias=True)),
        ("mlp", "fused.silu_and_mul", 2 * E * N * F, E * N * F),
        ("mlp.down_proj", "aten.addmm.default", *product(N, F, D, bias=True)),
    ]
    return [(f"visual.blocks.{index}.{name}", *rest) for name, *rest in named]  # type: ignore[misc]


def vision() -> list[tuple[str, str, int, int]]:
    """The tower and its merger: path, operator, bytes read and written."""
    pixels = 3 * 2 * 14 * 14
    order = 8 * TOKENS
    # 2 windows of 4 x 4 tokens a page, then 2 cut on the right, 1 below and 1 on both sides; 4 bytes an end
    ends = 4 * (PAGES * 6 + 1)
    within = [("attn", "fused.attention", 3 * PATCHES + ends, PATCHES)]
    whole = [("attn", "fused.attention", 3 * PATCHES + 4 * (PAGES + 1), PATCHES)]
    return [
        ("visual.patch_embed.proj", "aten.convolution.default", E * (N * pixels + D * pixels), PATCHES),
        ("visual", "aten.index.Tensor", PATCHES + order, PATCHES),
        # row and column of a patch, the order of windows, W / 4 frequencies
        ("visual", "fused.rotary_tables", 2 * 8 * N + order + 4 * W // 4, 2 * 4 * N * W),
        *block(0, within),
        *block(1, whole),
        ("visual", "aten.sort.default", order, 2 * order),
        ("visual.merger.ln_q", "fused.add_rms_norm", 2 * PATCHES + NORM, 2 * PATCHES),
        ("visual.merger.mlp.0", "aten.addmm.default", *product(TOKENS, 4 * D, 4 * D, bias=True)),
        ("visual.merger.mlp.1", "fused.gelu", PATCHES, PATCHES),
        ("visual.merger.mlp.2", "aten.addmm.default", *product(TOKENS, 4 * D, OUT, bias=True)),
        ("visual", "aten.index.Tensor", E * TOKENS * OUT + order, E * TOKENS * OUT),
    ]


def text() -> list[tuple[str, str, int, int]]:
    """What comes after vision in a prefill."""
    rows, kv = PAGES * LENGTH, TEXT_KV * TEXT_W
    hidden, image = E * rows * OUT, E * TOKENS * OUT
    keys = E * rows * kv
    # three coordinates of a position; of each section, the row of one of them
    tables = rows * (3 * 8 + E * TEXT_W)
    summed = ("fused.add_rms_norm", 2 * hidden + E * OUT, 2 * hidden)
    return [
        ("embed_tokens", "aten.embedding.default", hidden + 8 * rows, hidden),
        ("", "fused.put_image_tokens", image + 8 * TOKENS, image),
        ("layers.0.input_layernorm", "fused.rms_norm", hidden + E * OUT, hidden),
        ("layers.0.self_attn.qkv_proj", "aten.addmm.default", *product(rows, OUT, OUT + 2 * kv, bias=True)),
        ("layers.0.self_attn", "fused.rotary_and_cache", hidden + 2 * keys + tables, hidden + 2 * keys),
        ("layers.0.self_attn", "fused.attention", hidden + 2 * keys, hidden),
        ("layers.0.self_attn.o_proj", "aten.mm.default", *product(rows, OUT, OUT, bias=False)),
        ("layers.0.post_attention_layernorm", *summed),
        ("layers.0.mlp.gate_up_proj", "aten.mm.default", *product(rows, OUT, 2 * TEXT_F, bias=False)),
        ("layers.0.mlp", "fused.silu_and_mul", 2 * E * rows * TEXT_F, E * rows * TEXT_F),
        ("layers.0.mlp.down_proj", "aten.mm.default", *product(rows, TEXT_F, OUT, bias=False)),
        ("norm", *summed),
        ("lm_head", "aten.mm.default", *product(PAGES, OUT, VOCAB, bias=False)),
    ]


def test_kernel_by_kernel() -> None:
    """Bytes read and written, each by the shapes that the kernel takes and gives."""
    model = load_cost_model(SMALL)
    page = model.layout_cost(MergedGrid(COLUMNS, ROWS))
    for stage, expected in (("vision", vision()), ("prefill", [*vision(), *text()])):
        walked = model.stage_walk(stage, page=page).records()
        assert [(each.path, each.aten, each.bytes_read, each.bytes_written) for each in walked] == expected


@pytest.mark.parametrize("pages", [1, 3])
def test_the_same_products_and_less_of_everything_else(pages: int) -> None:
    theirs, ours = (
        load_cost_model([f"execution={name}", f"runtime.batch_size={pages}"]) for name in ("transformers", "serving")
    )
    grid = MergedGrid(23, 14)
    for stage in ("vision", "prefill", "decode"):
        other, best = (getattr(model.layout_cost(grid, 5), stage) for model in (theirs, ours))
        for figure in ("tensor_core_flops", "weight_bytes", "kv_bytes"):
            assert getattr(best, figure) == getattr(other, figure)
        for figure in ("io_bytes", "activation_peak_bytes"):
            assert getattr(best, figure) < getattr(other, figure)


def test_each_operator_has_a_class_of_kernels() -> None:
    for execution in ("transformers", "serving"):
        model = load_cost_model([f"execution={execution}"])
        page = model.page(600, 800)
        first, *rest = model.stage_walk("vision", page=page).records()
        assert kernel_class(first) == "convolution"
        found = {kernel_class(each) for each in rest}
        assert "encoder_attention" in found
        assert not found & {"bias_attention", "context_attention", "convolution"}
        prefill = {kernel_class(each) for each in model.stage_walk("prefill", page=page).records()}
        assert "context_attention" in prefill
        step = {kernel_class(each) for each in model.stage_walk("decode", context=page.seq_len).records()}
        assert "generation_attention" in step and "encoder_attention" not in step
