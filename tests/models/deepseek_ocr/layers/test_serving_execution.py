"""execution=serving: a step by hand, and the other executions as what it must equal or stay below."""

import gc
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from modelmeter.cli.main import main
from modelmeter.devices import PageKind, compute_throughput, load_device
from modelmeter.errors import ModelMeterError
from modelmeter.layers import CacheSpec, InputSpec
from modelmeter.layers.code import Code, EngineTraits, Execution, Precision
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.moe import MoeTraits
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.vision.clip import ClipTraits
from modelmeter.layers.vision.sam import SamTraits
from modelmeter.models.common.deep_encoder import FusionTraits
from modelmeter.models.common.stage_cost import SUMS
from modelmeter.models.common.vision_language import StageTraits
from modelmeter.models.deepseek_ocr import CostModel, ImageEncoderViT, VitModel, load_cost_model
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS, SERVING
from modelmeter.models.deepseek_ocr.traits import PageTraits
from modelmeter.shape_tensor import Tape
from modelmeter.walk import OperatorRecord, Walk

pytestmark = pytest.mark.slow  # seconds, not for every change

STAGES = ("vision", "prefill", "decode")


class Kernel(NamedTuple):
    """One operator: bytes read and written, product FLOPs, and the rest's by the convention."""

    path: str
    aten: str
    read: int
    written: int
    tensor: int = 0
    cuda: int = 0


# One step of a decoder with hidden width 12, 3 heads of 4 over 1 KV head, a dense layer of 10 and a layer of 5 experts
# of 6, 2 for a token, and 3 shared ones; 2 pages, 7 tokens before it; bfloat16, 2 bytes. An RMSNorm of 2 x 12 elements
# takes 24 (square) + 24 (mean) + 2 (eps) + 2 * 2 (rsqrt) + 24 + 24 (products) = 102 FLOPs, with its sum 126.
HIDDEN, NORM = 2 * 2 * 12, 2 * 12
QKV = 2 * 2 * (12 + 4 + 4)
NEW, GIVEN = 2 * 2 * 4, 2 * 2 * 7 * 4  # keys, or values, of a step and of the cache
ROWS = 2 * 2 * 4 + 2 * 8  # cosines and sines of two positions, and the positions
# query and key turned, 24 and 8 elements each: two products, a sum, half of it negated
TURN = (24 + 8) * 3 + (12 + 4)


def attention_of(layer: int) -> list[Kernel]:
    at = f"layers.{layer}.self_attn"
    return [
        Kernel(f"{at}.qkv_proj", "aten.mm.default", HIDDEN + 2 * 20 * 12, QKV, 2 * 2 * 12 * 20),
        Kernel(at, "fused.rotary_and_cache", QKV + ROWS, HIDDEN + 2 * NEW, cuda=TURN),
        Kernel(at, "fused.attention", HIDDEN + 2 * GIVEN + 2 * NEW, HIDDEN, 2 * 2 * (2 * 3) * 8 * 4),
        Kernel(f"{at}.o_proj", "aten.mm.default", HIDDEN + 2 * 12 * 12, HIDDEN, 2 * 2 * 12 * 12),
    ]


def mlp_of(at: str, width: int) -> list[Kernel]:
    both, one = 2 * 2 * 2 * width, 2 * 2 * width
    return [
        Kernel(f"{at}.gate_up_proj", "aten.mm.default", HIDDEN + 2 * 2 * width * 12, both, 2 * 2 * 12 * 2 * width),
        Kernel(at, "fused.silu_and_mul", both, one, cuda=(4 + 1) * 2 * width),
        Kernel(f"{at}.down_proj", "aten.mm.default", one + 2 * 12 * width, HIDDEN, 2 * 2 * width * 12),
    ]


def sum_and_norm(at: str) -> Kernel:
    return Kernel(at, "fused.add_rms_norm", 2 * HIDDEN + NORM, 2 * HIDDEN, cuda=126)


MOE, EXPERTS = "layers.1.mlp", "layers.1.mlp.experts"
CHOICES = 2 * 2  # tokens x experts a token
ORDER, OFFSETS, GATED = 4 * CHOICES, 4 * 5, 2 * CHOICES * 6
BY_CHOICE = 2 * CHOICES * 12
STEP = [
    Kernel("layers.0.input_layernorm", "fused.rms_norm", HIDDEN + NORM, HIDDEN, cuda=102),
    *attention_of(0),
    sum_and_norm("layers.0.post_attention_layernorm"),
    *mlp_of("layers.0.mlp", 10),
    sum_and_norm("layers.1.input_layernorm"),
    *attention_of(1),
    sum_and_norm("layers.1.post_attention_layernorm"),
    Kernel(f"{MOE}.gate", "aten.mm.default", HIDDEN + 2 * 5 * 12, 2 * 2 * 5, 2 * 2 * 12 * 5),
    # float32 weights and 32-bit indices; softmax 5, top-k 1 of 10 scores, scaling 1 of 4
    Kernel(f"{MOE}.gate", "fused.topk_softmax", 2 * 2 * 5, (4 + 4) * CHOICES, cuda=(5 + 1) * 10 + CHOICES),
    *mlp_of(f"{MOE}.shared_experts", 3 * 6),
    # sort and count the choices, sum up 5 counts
    Kernel(EXPERTS, "fused.sort_by_expert", 4 * CHOICES, ORDER + OFFSETS, cuda=2 * CHOICES + 5),
    # four experts are hit, [12, 12] and [12, 6] each
    Kernel(
        EXPERTS,
        "fused.grouped_mm",
        BY_CHOICE + OFFSETS + ORDER + 4 * 2 * 12 * 12,
        2 * GATED,
        2 * CHOICES * 12 * 12,
    ),
    Kernel(EXPERTS, "fused.silu_and_mul", 2 * GATED, GATED, cuda=(4 + 1) * CHOICES * 6),
    Kernel(EXPERTS, "fused.grouped_mm", GATED + OFFSETS + ORDER + 4 * 2 * 12 * 6, BY_CHOICE, 2 * CHOICES * 6 * 12),
    # a product and a sum a choice, the shared experts' sum
    Kernel(MOE, "fused.weighted_sum", BY_CHOICE + 4 * CHOICES + HIDDEN, HIDDEN, cuda=2 * CHOICES * 12 + 2 * 12),
    sum_and_norm("norm"),
]


def tiny_decoder(execution: str = "serving", dtype: str = "bfloat16") -> Decoder:
    return Decoder(
        hidden_size=12,
        intermediate_size=10,
        moe_intermediate_size=6,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        n_routed_experts=5,
        num_experts_per_tok=2,
        n_shared_experts=3,
        first_k_dense_replace=1,
        max_position_embeddings=40,
        code=Code(EXECUTIONS[execution], "flash", Precision.of(dtype)),
    )


def test_a_step_by_hand() -> None:
    walk = tiny_decoder().walk(InputSpec((2, 1, 12), "bfloat16"), (CacheSpec((2, 1, 7, 4)),) * 2, 4)
    found = [
        Kernel(each.path, each.aten, each.bytes_read, each.bytes_written, each.tensor_core_flops, each.cuda_core_flops)
        for each in walk.records()
    ]
    assert found == STEP
    # what lives after the first attention: its input, the turned query, new keys and values, its output; no product
    attended = next(each for each in walk.records() if each.aten == "fused.attention")
    assert attended.live_bytes == 3 * HIDDEN + 2 * NEW
    # of the cache: what is given is read, what is new is written and read, in each of two layers
    assert walk.kv_bytes == 2 * (2 * GIVEN + 2 * (2 * NEW))


def test_the_kept_tables_are_no_weights() -> None:
    """They are read as weights are, but no checkpoint holds them; and rows are read, never more than the table."""
    ours, theirs = tiny_decoder(), tiny_decoder(execution="transformers")
    assert ours.forward_memory_weight() == theirs.forward_memory_weight()
    for batch, rows in ((2, 2), (39, 39), (50, 40)):
        walk = ours.walk(InputSpec((batch, 1, 12), "bfloat16"), (CacheSpec((batch, 1, 7, 4)),) * 2, 5)
        (first, _) = (each for each in walk.records() if each.aten == "fused.rotary_and_cache")
        assert first.bytes_read == batch * 2 * 20 + batch * 8 + rows * 2 * 4


# -- beside the other executions --------------------------------------------------------------------------------------

CASES = {
    "letter": ((1275, 1650), ()),
    "no crops": ((600, 400), ()),
    "float16, three pages of base": ((1275, 1650), ("workload=base", "runtime.batch_size=3", "runtime.dtype=float16")),
    "float32, tiny": ((1275, 1650), ("workload=tiny", "runtime.dtype=float32", "runtime.batch_size=2")),
    "small, all positions": ((800, 800), ("workload=small", "runtime.head=all")),
    "gundam_m, a strip": ((300, 2700), ("workload=gundam_m", "runtime.head=none")),
    "grouped heads": ((1000, 1000), ("workload=large", "decoder.num_key_value_heads=2", "decoder.num_hidden_layers=3")),
    "crops of two pages": ((1000, 700), ("runtime.batch_size=2", "runtime.experts_hit=uniform")),
}


def models(overrides: tuple[str, ...]) -> tuple[CostModel, CostModel, CostModel]:
    """serving, transformers, published; the published code's FlashAttention takes no float32."""
    head = () if any(each.startswith("runtime.head") for each in overrides) else ("runtime.head=last",)
    eager = ("runtime.attention=eager",) if "runtime.dtype=float32" in overrides else ()
    serving, transformers = (load_cost_model([f"execution={name}", *overrides]) for name in ("serving", "transformers"))
    return serving, transformers, load_cost_model(["execution=published", *head, *eager, *overrides])


@pytest.mark.parametrize("size, overrides", CASES.values(), ids=CASES)
def test_the_same_products_and_less_of_everything_else(size: tuple[int, int], overrides: tuple[str, ...]) -> None:
    serving, transformers, published = models(overrides)
    ours, theirs, theirs_too = (each.page(*size, output_tokens=5) for each in (serving, transformers, published))
    for stage in STAGES:
        one, other, third = (getattr(page, stage) for page in (ours, theirs, theirs_too))
        assert one.tensor_core_flops == other.tensor_core_flops, stage
        assert one.weight_bytes == other.weight_bytes
        assert (one.kv_bytes, one.kv_added_bytes) == (other.kv_bytes, other.kv_added_bytes)
        for figure in ("io_bytes", "io_activation_bytes", "cuda_core_flops"):
            assert getattr(one, figure) < min(getattr(other, figure), getattr(third, figure)), (stage, figure)
        assert one.io_kv_bytes <= min(other.io_kv_bytes, third.io_kv_bytes)
        # the published code takes one page at a time through vision, so several need less memory there
        alone = serving.batch_size == 1 or stage == "decode"
        for figure in ("activation_peak_bytes", "resident_peak_bytes"):
            least = min(getattr(other, figure), getattr(third, figure)) if alone else getattr(other, figure)
            assert getattr(one, figure) <= least, (stage, figure)
        counts = [
            each.stage_walk(stage, page=page, context=9).operator_count
            for each, page in ((serving, ours), (transformers, theirs), (published, theirs_too))
        ]
        assert counts[0] < min(counts[1:])
    # rows of the rotary table are read in every layer, where transformers reads its float32 frequencies once a step
    decoder, itemsize = serving.config.decoder, 4 if "runtime.dtype=float32" in overrides else 2
    head_dim = decoder.hidden_size // decoder.num_attention_heads
    rows = decoder.num_hidden_layers * serving.batch_size * head_dim * itemsize
    assert ours.decode.io_weight_bytes - theirs.decode.io_weight_bytes == 5 * (rows - 4 * head_dim // 2)


def records(model: CostModel, stage: str) -> list[OperatorRecord]:
    return list(model.stage_walk(stage, page=model.page(1275, 1650), context=913).records())


def cuda_core_flops(records: list[OperatorRecord]) -> int:
    return sum(each.cuda_core_flops for each in records)


def test_what_the_engine_need_not_compute() -> None:
    """The vector FLOPs that are missing, operator by operator: those of transformers that have no part in a page."""
    serving, transformers, _ = models(())
    # tables of relative positions that have the wanted length, which transformers resizes all the same: windows of 14
    # in 8 blocks and both passes, the global view's grid of 64 in 4; two tables each, 3 FLOPs an element of 64
    resized = 2 * 3 * 64 * (2 * 8 * (2 * 14 - 1) + 4 * (2 * 64 - 1))
    assert cuda_core_flops(records(transformers, "vision")) - cuda_core_flops(records(serving, "vision")) == resized
    for stage, more in (("prefill", resized), ("decode", 0)):
        theirs = records(transformers, stage)
        # masks, positions, the search for image tokens, and rotary tables; halving indices and counting rows
        between = [each for each in theirs if each.path in ("", "rotary_emb")]
        indices = [
            each
            for each in theirs
            if each.path.endswith("experts") and each.aten in ("aten.floor_divide.default", "aten.arange.default")
        ]
        assert len(indices) == 2 * 11
        missing = cuda_core_flops(between) + cuda_core_flops(indices) + more
        assert cuda_core_flops(theirs) - cuda_core_flops(records(serving, stage)) == missing


def test_decode_in_closed_form_is_the_sum_of_its_steps() -> None:
    serving, transformers, _ = models(("workload=tiny", "decoder.num_hidden_layers=2", "runtime.batch_size=3"))
    page = serving.page(1275, 1650, output_tokens=40)
    steps = [serving.step(page.seq_len + index) for index in range(40)]
    growths = {tuple(getattr(other, name) - getattr(one, name) for name in SUMS) for one, other in pairwise(steps)}
    assert len(growths) == 1
    total = steps[0]
    for step in steps[1:]:
        total += step
    assert page.decode == total
    assert page.total.kv_bytes == transformers.page(1275, 1650, output_tokens=40).total.kv_bytes
    # a token more to read in every layer, and nothing else: keys and values of 3 pages, 10 heads of 128
    assert dict(zip(SUMS, growths.pop(), strict=True))["io_kv_bytes"] == 2 * 2 * 3 * 10 * 128 * 2


@pytest.mark.parametrize("views, side", [(1, 448), (2, 640), (1, 656), (3, 1024)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_parts_of_any_size(dtype: str, views: int, side: int) -> None:
    for part in (ImageEncoderViT, VitModel):
        ours, theirs, published = (
            part(batch_size=views, img_size=side, dtype=dtype, execution=name).walk()
            for name in ("serving", "transformers", "published")
        )
        assert ours.tensor_core_flops == theirs.tensor_core_flops == published.tensor_core_flops
        assert ours.peak_bytes < min(theirs.peak_bytes, published.peak_bytes)
        assert moved(ours) < min(moved(theirs), moved(published))


def moved(walk: Walk) -> int:
    return walk.bytes_read + walk.bytes_written


def test_the_bias_is_made_in_aligned_rows_and_read_as_it_is() -> None:
    """Windows of 14 x 14: 196 keys, rows at a multiple of 200; 2 views of 21 x 21 patches are 8 windows."""
    sam = ImageEncoderViT(batch_size=2, img_size=336, depth=1, embed_dim=24, num_heads=3, execution="serving")
    walk = sam.walk()
    (bias,) = (each for each in walk.records() if each.aten == "fused.rel_pos_bias")
    (attended,) = (each for each in walk.records() if each.aten == "fused.attention")
    rows = 8 * 3 * 196
    terms = 2 * (2 * rows * 14)
    assert (bias.bytes_read, bias.bytes_written) == (terms, 2 * rows * 196)
    query = 2 * 8 * 196 * 24
    assert (attended.bytes_read, attended.bytes_written) == (3 * query + 2 * rows * 196, query)
    assert walk.peak_bytes >= 2 * rows * 200  # the gaps between rows are memory


def test_windows_leave_without_their_padding() -> None:
    """Of 8 windows of 14 x 14 the 2 x 21 x 21 rows that are no padding are read."""
    sam = ImageEncoderViT(batch_size=2, img_size=336, depth=1, embed_dim=24, num_heads=3, execution="serving")
    walked = list(sam.walk().records())
    enter, leave = (each for each in walked if "partition" in each.aten)
    grid, windows, norm = 2 * 2 * 21 * 21 * 24, 2 * 8 * 196 * 24, 2 * 2 * 24
    # the first block has no sum to make: its residual is its input
    assert (enter.bytes_read, enter.bytes_written) == (grid + norm, windows)
    assert (leave.bytes_read, leave.bytes_written) == (2 * grid + norm, 2 * grid)
    # what lives beside the residual when the attention is projected: its input, its output, and the product of that;
    # then the product, and the norm, in memory of its own: the sum takes the residual's
    (proj,) = (each for each in walked if each.path == "blocks.0.attn.proj")
    assert (proj.live_bytes, leave.live_bytes) == (grid + 3 * windows, grid + windows + grid)


def test_image_tokens_by_hand() -> None:
    """Two pages of 2 x 1 crops: each page's tokens made in one kernel, and all put into the prompts in one."""
    model = load_cost_model(["execution=serving", "runtime.batch_size=2", "decoder.num_hidden_layers=1"])
    page = model.page(1300, 650)
    assert page.layout[1:] == (2, 1)
    made = [each for each in model.stage_walk("prefill", page=page).records() if each.path == ""]
    *tokens, put = (each for each in made if each.aten.startswith("fused"))
    row = 2 * 1280
    views = 16 * 16 + 2 * 10 * 10
    assert len(tokens) == 2
    for each in tokens:
        assert (each.bytes_read, each.bytes_written) == (row * (views + 2), row * page.tokens.total)
    assert (put.bytes_read, put.bytes_written) == (
        2 * page.tokens.total * (row + 8),
        2 * page.tokens.total * row,
    )


# -- memory -----------------------------------------------------------------------------------------------------------


def test_live_is_outputs_and_cache_without_a_garbage_collector() -> None:
    model = load_cost_model(["execution=serving", "workload.base_size=512", "workload.image_size=320"])
    page = model.page(1275, 1650)
    geometry = model.geometry(page.layout)
    gc.disable()
    try:
        tape = Tape()
        model.model.run_vision(tape, geometry)  # what it returns is dropped here
        assert tape.live_bytes == 0
        tape = Tape()
        states = model.model.run_prefill(tape, 1, page.seq_len, geometry, 64, "last")
        kept = 12 * 2 * page.seq_len * 1280 * 2
        assert tape.live_bytes == page.prefill.kv_bytes == kept
        for step in range(1, 4):  # onto what the steps before it left: the cache grows by pieces, none is copied
            model.model.run_decode(tape, states, 1, 6, "last")
            assert tape.live_bytes == kept + step * 12 * 2 * 1280 * 2
        assert [len(state.items) for state in states] == [2 * 4] * 12
        del states
        assert tape.live_bytes == 0
    finally:
        gc.enable()


def test_steps_over_pieces_cost_what_steps_over_one_cache_cost() -> None:
    model = load_cost_model(["execution=serving", "decoder.num_hidden_layers=2"])
    tape = Tape()
    states = model.model.run_prefill(tape, 1, 20, None, 64, "last")
    for _ in range(3):
        model.model.run_decode(tape, states, 1, 6, "last")
    walk = tape.entries[-1].walk  # type: ignore[union-attr]
    alone, _, _ = model.model.decode_walk(1, 22, 6, "last")
    assert (moved(walk), walk.kv_bytes, walk.tensor_core_flops, walk.peak_bytes) == (
        moved(alone),
        alone.kv_bytes,
        alone.tensor_core_flops,
        alone.peak_bytes,
    )


def test_a_prefill_that_peaks_in_the_decoder_by_hand() -> None:
    """7 tokens of an image and 900 around them through a dense and a MoE layer; nothing of vision is alive then."""
    overrides = ("workload.base_size=128", "workload.image_size=64", "runtime.prompt_tokens=900")
    prefill = load_cost_model(["execution=serving", "decoder.num_hidden_layers=2", *overrides]).page(300, 300).prefill
    assert (prefill.peak_path, prefill.peak_operator) == ("layers.1.mlp.experts", "fused.silu_and_mul")
    tokens, choices = 907, 907 * 6
    row = 2 * 1280
    # residual; the dense layer's output, which its caller holds; attention's output; the shared experts'
    alive = 4 * tokens * row
    cache = 2 * 2 * tokens * row
    routing = choices * (4 + 4) + choices * 4 + 64 * 4  # float32 weights and 32-bit indices; order; offsets
    gate_and_up, product = choices * 2 * 896 * 2, choices * 896 * 2
    assert prefill.activation_peak_bytes == alive + cache + routing + gate_and_up + product == 47_897_112


def test_holders_are_the_peak() -> None:
    model = load_cost_model(["execution=serving"])
    page = model.page(1275, 1650, output_tokens=3)
    for stage in STAGES:
        holders = model.peak_holders(stage, 1275, 1650, output_tokens=3)
        assert sum(each.nbytes for each in holders) == getattr(page, stage).resident_peak_bytes


# -- traits -----------------------------------------------------------------------------------------------------------

#: traits that an engine's forward pass reads, and another value of each
OTHERWISE: dict[tuple[type, str], object] = {
    (StageTraits, "head"): "all",
    (StageTraits, "logits_to_float32"): True,
    (SamTraits, "rel_pos_always_resized"): True,
    (SamTraits, "rel_pos_index_on_host"): True,
    (SamTraits, "windows_always_padded"): True,
    (SamTraits, "layer_norm_2d_fused"): False,
    (SamTraits, "resized_table_kept"): True,
    (SamTraits, "map_cloned"): True,
    (ClipTraits, "patch_convolution"): True,
    (ClipTraits, "qkv_fused"): False,
    (ClipTraits, "embeddings_kept"): True,
    (ClipTraits, "positions_looked_up"): True,
    (PageTraits, "pages_looped"): True,
    (FusionTraits, "image_tokens_first"): False,
    (MoeTraits, "experts_grouped"): False,
    (MoeTraits, "gate_in_float32"): True,
    (MoeTraits, "grouped_gemm_indexed"): False,
    (MoeTraits, "index_dtype"): "int64",
    (EngineTraits, "chains_fused"): False,
    (EngineTraits, "add_norm_fused"): False,
    (EngineTraits, "attention_fused_only"): False,
    (DecoderTraits, "qkv_and_gate_up_fused"): False,
    (DecoderTraits, "kv_paged"): False,
    (DecoderTraits, "position_ids_given"): False,
    (DecoderTraits, "cos_sin_cached"): False,
}
#: those that only show where chains are not fused: what they change is an intermediate of a kernel
INSIDE_A_CHAIN = ("resized_table_kept", "rel_pos_index_on_host", "windows_always_padded")


def with_trait(execution: Execution, kind: type, **changed: Any) -> Execution:
    """The execution with one of its traits otherwise."""
    record = replace(execution.traits(kind), **changed)
    return Execution(execution.name, (*(each for each in execution.facts if type(each) is not kind), record))


def figures(execution: Execution, monkeypatch: pytest.MonkeyPatch) -> object:
    """Every operator of a page, in its parts and as it is held, under an execution."""
    monkeypatch.setattr(CostModel, "executions", {"serving": execution})
    model = load_cost_model(["execution=serving", "decoder.num_hidden_layers=2"])
    page = model.page(1275, 1650)
    walks = [model.stage_walk(stage, page=page, context=30) for stage in STAGES]
    # 448: a grid of 28 x 28 is whole windows
    of_parts = [model.part(part, batch_size=1, img_size=448).walk() for part in ("image_encoder_vit", "vit_model")]
    operators = [[each._replace(path="") for each in walk.records()] for walk in (*walks, *of_parts)]
    return operators, [walk.peak_bytes for walk in (*walks, *of_parts)], page.total.weight_bytes


@pytest.mark.parametrize("kind, trait", OTHERWISE, ids=[f"{kind.__name__}.{trait}" for kind, trait in OTHERWISE])
def test_every_trait_is_read(kind: type, trait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = with_trait(SERVING, EngineTraits, chains_fused=False) if trait in INSIDE_A_CHAIN else SERVING
    other = with_trait(execution, kind, **{trait: OTHERWISE[kind, trait]})
    assert figures(other, monkeypatch) != figures(execution, monkeypatch)


# -- devices, and what is refused -------------------------------------------------------------------------------------


def test_throughput_grows_with_the_batch_and_beats_the_other_code() -> None:
    device = load_device("A100-40G")
    rates = []
    for name in ("serving", "transformers"):
        model = load_cost_model([f"execution={name}"])
        kinds = [PageKind(page=model.page(1275, 1650), output_tokens=1000)]
        batches = (1, 2, 3, 8, 11, 32, 100)
        each = [compute_throughput(model, device, kinds, batch_size=batch).pages_per_s for batch in batches]
        assert each == sorted(each)
        rates.append([*each, compute_throughput(model, device, kinds).pages_per_s])
    assert all(ours > theirs for ours, theirs in zip(*rates, strict=True))


@pytest.mark.parametrize(
    "command",
    [
        ("page", "1275x1650"),
        ("modes", "1275x1650"),
        ("corpus", "examples/pages"),
        ("throughput", "1275x1650", "--device", "H100-SXM", "--output-tokens", "9"),
        ("diff", "1275x1650", "--a", "execution=transformers", "--b", "execution=serving"),
    ],
    ids=lambda command: command[0],
)
def test_commands_say_that_it_is_assumed(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    given = () if command[0] == "diff" else ("execution=serving",)
    assert main([*command, *given]) == 0
    said = capsys.readouterr().out
    assert "execution=serving" in said
    if given:
        assert "an engine at its best" in said and "blocks not rounded up" in said


def test_there_is_no_eager_form() -> None:
    text = "attention=eager, but execution=serving has fused attention only; leave runtime.attention=flash, or take"
    with pytest.raises(ModelMeterError, match=text):
        load_cost_model(["execution=serving", "runtime.attention=eager"])
