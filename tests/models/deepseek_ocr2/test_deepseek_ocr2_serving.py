"""DeepSeek-OCR-2 on an inference engine at its best: its encoder kernel by kernel, the same products, less else."""

import pytest

from modelmeter.kernel_classes import kernel_class
from modelmeter.models.deepseek_ocr2 import PatchesGrid, load_cost_model
from tests.models.deepseek_ocr2.small import OVERRIDES

#: of the small model's encoder: width, inner width, heads and KV heads of a width; positions and tokens, pages; bytes
D, F, HEADS, KV, W = 96, 136, 6, 2, 16
PATCHES, PAGES, E = 256, 2, 2
N = PAGES * 2 * PATCHES
TEXT_WIDTH = 64


def test_the_encoder_kernel_by_kernel() -> None:
    """Bytes read and written, each by the shapes that the kernel takes and gives."""
    model = load_cost_model([*OVERRIDES, "execution=serving", f"runtime.batch_size={PAGES}"])
    page = model.layout_cost(PatchesGrid(0, 1, 1))
    rows, norm, queries = N * D, D, PAGES * PATCHES * D
    query, key = N * HEADS * W, N * KV * W
    joined = query + 2 * key
    block = [
        ("self_attn.qkv_proj", "aten.addmm.default", rows + (D + 1) * (HEADS + 2 * KV) * W, joined),
        # queries and keys, in their places; the place of each position, 8 bytes, and the table, as long as a page
        ("self_attn", "fused.rotary", query + key + 2 * PATCHES * W + N * 8 // E, query + key),
        ("self_attn", "fused.attention", joined, query),
        ("self_attn.o_proj", "aten.mm.default", query + D * D, rows),
        ("post_attention_layernorm", "fused.add_rms_norm", 2 * rows + norm, 2 * rows),
        ("mlp.gate_up_proj", "aten.mm.default", rows + 2 * D * F, 2 * N * F),
        ("mlp", "fused.silu_and_mul", 2 * N * F, N * F),
        ("mlp.down_proj", "aten.mm.default", N * F + D * F, rows),
    ]
    path = "global.qwen2_model.model"
    table = PATCHES * D
    expected = [
        ("global.qwen2_model", "aten.cat.default", queries + table, rows),
        (f"{path}.layers.0.input_layernorm", "fused.rms_norm", rows + norm, rows),
        *((f"{path}.layers.0.{name}", *rest) for name, *rest in block),
        (f"{path}.layers.1.input_layernorm", "fused.add_rms_norm", 2 * rows + norm, 2 * rows),
        *((f"{path}.layers.1.{name}", *rest) for name, *rest in block),
        (f"{path}.norm", "fused.add_rms_norm", 2 * rows + norm, 2 * rows),
    ]
    records = [each for each in model.stage_walk("vision", page=page).records() if ".qwen2_model" in each.path]
    assert [(each.path, each.aten, each.bytes_read, each.bytes_written) for each in records] == [
        (place, aten, E * read, E * written) for place, aten, read, written in expected
    ]


@pytest.mark.parametrize("pages", [1, 3])
def test_the_same_products_and_less_of_everything_else(pages: int) -> None:
    theirs, ours = (
        load_cost_model([f"execution={name}", f"runtime.batch_size={pages}"]) for name in ("transformers", "serving")
    )
    layout = PatchesGrid(6, 2, 3)
    for stage in ("vision", "prefill", "decode"):
        other, best = (getattr(model.layout_cost(layout, 5), stage) for model in (theirs, ours))
        assert best.tensor_core_flops == other.tensor_core_flops
        assert best.weight_bytes == other.weight_bytes
        assert best.kv_bytes == other.kv_bytes
        assert best.io_bytes < other.io_bytes
        assert best.activation_peak_bytes < other.activation_peak_bytes


def test_each_operator_has_a_class_of_kernels() -> None:
    for execution, attention in (("transformers", "bias_attention"), ("serving", "encoder_attention")):
        model = load_cost_model([f"execution={execution}"])
        page = model.page(600, 800)
        vision = {kernel_class(each) for each in model.stage_walk("vision", page=page).records()}
        assert attention in vision and "context_attention" not in vision
        prefill = {kernel_class(each) for each in model.stage_walk("prefill", page=page).records()}
        assert "context_attention" in prefill
        step = {kernel_class(each) for each in model.stage_walk("decode", context=page.seq_len).records()}
        assert "generation_attention" in step and "bias_attention" not in step
