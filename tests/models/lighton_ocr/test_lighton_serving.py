"""LightOnOCR on an inference engine at its best: its vision kernel by kernel, the same products, less of all else."""

import pytest

from modelmeter.kernel_classes import kernel_class
from modelmeter.models.lighton_ocr import PatchGrid, load_cost_model
from tests.models.lighton_ocr.small import OVERRIDES, VISION

#: of the small model: width, inner width, heads, their width; patches and tokens of a page, pages; bytes of an element
D, F, H, W = VISION["hidden_size"], VISION["intermediate_size"], VISION["num_attention_heads"], 16
ROWS, COLUMNS, PAGES, E = 7, 5, 2, 2
N = PAGES * ROWS * COLUMNS
TOKENS = PAGES * (ROWS // 2) * (COLUMNS // 2)
TEXT_WIDTH = 64


def test_vision_kernel_by_kernel() -> None:
    """Bytes read and written, each by the shapes that the kernel takes and gives."""
    model = load_cost_model([*OVERRIDES, "execution=serving", f"runtime.batch_size={PAGES}"])
    page = model.layout_cost(PatchGrid(COLUMNS, ROWS))
    pixels, kernel = N * 3 * 14 * 14, D * 3 * 14 * 14
    patches, norm = N * D, D
    block = [
        ("attention.qkv_proj", "aten.mm.default", patches + 3 * D * D, 3 * patches),
        # queries and keys, in their places; the place of each patch, 8 bytes, and its row of cosines and sines
        ("attention", "fused.rotary", 2 * patches + N * W + N * 8 // E, 2 * patches),
        ("attention", "fused.attention", 3 * patches, patches),
        ("attention.o_proj", "aten.mm.default", patches + D * D, patches),
        ("ffn_norm", "fused.add_rms_norm", 2 * patches + norm, 2 * patches),
        ("feed_forward.gate_up_proj", "aten.mm.default", patches + 2 * D * F, 2 * N * F),
        ("feed_forward", "fused.silu_and_mul", 2 * N * F, N * F),
        ("feed_forward.down_proj", "aten.mm.default", N * F + D * F, patches),
    ]
    path = "vision_encoder.transformer.layers"
    merged = TOKENS * 4 * D
    expected = [
        ("vision_encoder.patch_conv", "aten.convolution.default", pixels + kernel, patches),
        ("vision_encoder", "fused.patches", patches, patches),
        ("vision_encoder.ln_pre", "fused.rms_norm", patches + norm, patches),
        (f"{path}.0.attention_norm", "fused.rms_norm", patches + norm, patches),
        *((f"{path}.0.{name}", *rest) for name, *rest in block),
        (f"{path}.1.attention_norm", "fused.add_rms_norm", 2 * patches + norm, 2 * patches),
        *((f"{path}.1.{name}", *rest) for name, *rest in block),
        ("vision_projection.norm", "fused.add_rms_norm", 2 * patches + norm, 2 * patches),
        ("vision_projection.patch_merger", "fused.unfold", patches, merged),
        ("vision_projection.patch_merger.merging_layer", "aten.mm.default", merged + 4 * D * D, TOKENS * D),
        ("vision_projection.linear_1", "aten.mm.default", TOKENS * D + D * TEXT_WIDTH, TOKENS * TEXT_WIDTH),
        ("vision_projection", "fused.gelu", TOKENS * TEXT_WIDTH, TOKENS * TEXT_WIDTH),
        ("vision_projection.linear_2", "aten.mm.default", TOKENS * TEXT_WIDTH + TEXT_WIDTH**2, TOKENS * TEXT_WIDTH),
    ]
    assert [
        (each.path, each.aten, each.bytes_read, each.bytes_written)
        for each in model.stage_walk("vision", page=page).records()
    ] == [(place, aten, E * read, E * written) for place, aten, read, written in expected]


@pytest.mark.parametrize("pages", [1, 3])
def test_the_same_products_and_less_of_everything_else(pages: int) -> None:
    theirs, ours = (
        load_cost_model([f"execution={name}", f"runtime.batch_size={pages}"]) for name in ("transformers", "serving")
    )
    grid = PatchGrid(43, 16)
    for stage in ("vision", "prefill", "decode"):
        other, best = (getattr(model.layout_cost(grid, 5), stage) for model in (theirs, ours))
        assert best.weight_bytes == other.weight_bytes
        assert best.kv_bytes == other.kv_bytes
        assert best.io_bytes < other.io_bytes
        assert best.activation_peak_bytes < other.activation_peak_bytes
        if stage == "decode" or pages == 1:
            assert best.tensor_core_flops == other.tensor_core_flops
        else:  # pages of a batch do not see each other: what a mask hides is not computed
            hidden = 24 * 4 * (pages**2 - pages) * (43 * 16) ** 2 * 1024
            assert other.tensor_core_flops - best.tensor_core_flops == hidden


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
