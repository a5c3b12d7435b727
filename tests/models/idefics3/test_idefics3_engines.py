"""Idefics3 as engines run it: vision kernel by kernel, by hand; the same products as the library's, less else."""

import pytest

from modelmeter.kernel_classes import kernel_class
from modelmeter.models.idefics3 import CostModel, PatchesGrid, load_cost_model
from modelmeter.walk import OperatorRecord
from tests.models.idefics3.small import OVERRIDES

#: of the small model's tower: width, inner width, heads, layers; tokens' width; patches of a view and of a token; bytes
D, F, HEADS, LAYERS, TEXT, T, S, E = 48, 88, 3, 3, 96, 64, 4, 2
PAGES, VIEWS = 2, 3
N = PAGES * VIEWS
#: elements: of all patches, of their inner layer, of the pictures
ROWS, INNER, PIXELS = N * T * D, N * T * F, N * 3 * 128 * 128
TOKENS = N * T // S * TEXT


def walked(execution: str, stage: str = "vision") -> list[OperatorRecord]:
    """What a stage of two pages of three views runs."""
    model = load_cost_model([*OVERRIDES, f"execution={execution}", f"runtime.batch_size={PAGES}"])
    return list(model.stage_walk(stage, page=model.layout_cost(PatchesGrid(2, 2, 1))).records())


def moved(records: list[OperatorRecord]) -> list[tuple[str, str, int, int]]:
    """Where, what, and the bytes read and written."""
    return [(each.path, each.aten, each.bytes_read, each.bytes_written) for each in records]


def linear(rows: int, width: int, out: int, bias: bool = True) -> tuple[int, int]:
    """Bytes that a product of so many rows reads and writes."""
    return E * (rows * width + width * out + (out if bias else 0)), E * rows * out


def test_serving_kernel_by_kernel() -> None:
    model = "vision_model"
    rows = N * T
    block = [
        ("self_attn.qkv_proj", "aten.addmm.default", *linear(rows, D, 3 * D)),
        ("self_attn", "fused.attention", E * 3 * ROWS, E * ROWS),
        ("self_attn.out_proj", "aten.addmm.default", *linear(rows, D, D)),
        ("layer_norm2", "fused.add_layer_norm", E * (2 * ROWS + 2 * D), E * 2 * ROWS),
        ("mlp.fc1", "aten.addmm.default", *linear(rows, D, F)),
        ("mlp", "fused.gelu", E * INNER, E * INNER),
        ("mlp.fc2", "aten.addmm.default", *linear(rows, F, D)),
    ]
    expected = [
        (
            f"{model}.embeddings.patch_embedding",
            "aten.convolution.default",
            E * (PIXELS + 3 * 16 * 16 * D + D),
            E * ROWS,
        ),
        (f"{model}.embeddings", "fused.add_positions", E * (ROWS + min(T, 36) * D) + 8 * T, E * ROWS),
        (f"{model}.encoder.layers.0.layer_norm1", "fused.layer_norm", E * (ROWS + 2 * D), E * ROWS),
        *((f"{model}.encoder.layers.0.{name}", *rest) for name, *rest in block),
    ]
    for index in range(1, LAYERS):
        layer = f"{model}.encoder.layers.{index}"
        expected.append((f"{layer}.layer_norm1", "fused.add_layer_norm", E * (2 * ROWS + 2 * D), E * 2 * ROWS))
        expected += [(f"{layer}.{name}", *rest) for name, *rest in block]  # type: ignore[misc]
    expected += [
        (f"{model}.post_layernorm", "fused.add_layer_norm", E * (2 * ROWS + 2 * D), E * 2 * ROWS),
        ("connector", "fused.pixel_shuffle", E * ROWS, E * ROWS),
        ("connector.modality_projection.proj", "aten.mm.default", *linear(rows // S, S * D, TEXT, bias=False)),
    ]
    assert moved(walked("serving")) == expected


def test_what_vllm_does_before_the_tower() -> None:
    """It looks for tiles of padding, copies the others and the mask; the host makes positions of each tile's counts."""
    grid, mask = 8, N * 128 * 128 * 8
    before = [
        ("", "aten.eq.Scalar", E * PIXELS, PIXELS),
        ("", "aten.sum.dim_IntList", PIXELS, 8 * N),
        ("", "aten.ne.Scalar", 8 * N, N),
        ("", "aten.sum.dim_IntList", N, 8 * PAGES),
        ("", "aten.index.Tensor", E * PIXELS + N, E * PIXELS),
        ("", "aten.index.Tensor", mask + N, mask),
        ("", "aten.sum.dim_IntList", mask, 8 * N * T),
        ("", "aten.gt.Scalar", 8 * N * T, N * T),
    ]
    records = moved(walked("vllm"))
    assert records[: len(before)] == before
    tower = [each for each in records if each[0].startswith("vision_model.embeddings")]
    of_tile = [("aten.sum.dim_IntList", grid, 8), ("aten.reciprocal.default", 8, 4), ("aten.mul.Tensor", 4, 4)] * 2
    assert [each[1:] for each in tower] == [
        ("aten.convolution.default", E * (PIXELS + 3 * 16 * 16 * D + D), E * ROWS),
        *of_tile * N,
        ("aten._to_copy.default", 8 * N * T, 8 * N * T),
        ("aten.embedding.default", E * ROWS + 8 * N * T, E * ROWS),
        ("aten.add.Tensor", 2 * E * ROWS, E * ROWS),
    ]


def test_what_vllm_runs_of_a_block() -> None:
    """One product for query, key and value; FlashAttention, told where tiles begin; sums and norms apart."""
    records = [each for each in walked("vllm") if ".layers.1." in f"{each.path}."]
    assert [each.aten for each in records] == [
        "aten.native_layer_norm.default",
        "aten.addmm.default",
        "aten.arange.default",
        "fused.attention",
        "aten.addmm.default",
        "aten.add.Tensor",
        "aten.native_layer_norm.default",
        "aten.addmm.default",
        "aten.gelu.default",
        "aten.addmm.default",
        "aten.add.Tensor",
    ]
    (attention,) = [each for each in records if each.aten == "fused.attention"]
    assert attention.bytes_written == E * ROWS + 4 * N * HEADS * T  # and the log-sum-exp


@pytest.mark.parametrize("pages", [1, 3])
def test_the_same_products_and_less_of_everything_else(pages: int) -> None:
    theirs, ours = (
        load_cost_model([f"execution={name}", f"runtime.batch_size={pages}"]) for name in ("transformers", "serving")
    )
    layout = PatchesGrid(12, 3, 4)
    for stage in ("vision", "prefill", "decode"):
        other, best = (getattr(model.layout_cost(layout, 5), stage) for model in (theirs, ours))
        assert best.tensor_core_flops == other.tensor_core_flops
        assert (best.weight_bytes, best.kv_bytes) == (other.weight_bytes, other.kv_bytes)
        assert best.io_bytes < other.io_bytes
        assert best.activation_peak_bytes < other.activation_peak_bytes


@pytest.mark.parametrize("execution", ["vllm", "serving"])
def test_each_operator_has_a_class_of_kernels(execution: str) -> None:
    model: CostModel = load_cost_model([f"execution={execution}"])
    page = model.page(600, 800)
    classes = {
        stage: {kernel_class(each) for each in model.stage_walk(stage, page=page, context=page.seq_len).records()}
        for stage in ("vision", "prefill", "decode")
    }
    assert "encoder_attention" in classes["vision"] and "context_attention" not in classes["vision"]
    assert "context_attention" in classes["prefill"] and "generation_attention" in classes["decode"]
