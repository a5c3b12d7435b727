"""execution=vllm and sglang: steps and pages by hand; the other executions as what they must equal or exceed."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import pytest

from modelmeter.kernel_classes import MOE, kernel_class
from modelmeter.layers import CacheSpec, InputSpec
from modelmeter.layers.code import Code, EngineTraits, Execution, Precision
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.moe import MoeTraits
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.vision.clip import PATCH_CONVOLUTION, ClipTraits
from modelmeter.layers.vision.sam import SamTraits
from modelmeter.models.common.deep_encoder import FusionTraits, PageLoopTraits
from modelmeter.models.common.vision_language import StageTraits
from modelmeter.models.deepseek_ocr import CostModel, ImageEncoderViT, VitModel, load_cost_model
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.shape_tensor import Tape
from modelmeter.walk import OperatorRecord

STAGES = ("vision", "prefill", "decode")
ENGINES = ("vllm", "sglang")


class Kernel(NamedTuple):
    """One operator: bytes read and written, product FLOPs, and the rest's by the convention."""

    path: str
    aten: str
    read: int
    written: int
    tensor: int = 0
    cuda: int = 0


def kernels(records: Iterator[OperatorRecord]) -> list[Kernel]:
    return [
        Kernel(each.path, each.aten, each.bytes_read, each.bytes_written, each.tensor_core_flops, each.cuda_core_flops)
        for each in records
    ]


# -- one step of the decoder -------------------------------------------------------------------------------------------

# Hidden width 12, 3 heads of 4 over 1 KV head, a dense layer of 10 and a layer of 5 experts of 6, 2 for a token, and 3
# shared ones; 2 pages, 7 tokens before it; bfloat16, 2 bytes. An RMSNorm of 2 x 12 elements takes 24 (square) + 24
# (mean) + 2 (eps) + 2 * 2 (rsqrt) + 24 + 24 (products) = 102 FLOPs, with its sum 126.
HIDDEN, NORM = 2 * 2 * 12, 2 * 12
QKV = 2 * 2 * (12 + 4 + 4)
NEW, GIVEN = 2 * 2 * 4, 2 * 2 * 7 * 4  # keys, or values, of a step and of the cache
TURNED = 2 * 2 * (12 + 4)  # queries and keys
ROWS = 2 * 2 * 4 + 2 * 8  # cosines and sines of two positions, and the positions
SLOTS = 2 * 8
LOG_SUM_EXP = 4 * 2 * 3
#: query and key turned, 24 and 8 elements each: two products, a sum, half of it negated
TURN = (24 + 8) * 3 + (12 + 4)

SCORES, CHOICES = 2 * 2 * 5, 2 * 2  # bfloat16 logits of 5 experts; tokens x experts a token
ORDER, OFFSETS, GATED = 4 * CHOICES, 4 * 5, 2 * CHOICES * 6
BY_CHOICE = 2 * CHOICES * 12
UP, DOWN = 4 * 2 * 12 * 12, 4 * 2 * 12 * 6  # weights of the four experts that are hit
MOE_BLOCK = "layers.1.mlp"

#: how the experts are chosen
CHOICE = {
    "vllm": [
        # softmax 5 and the largest of the only group 1, of 10 scores
        Kernel(f"{MOE_BLOCK}.gate", "fused.softmax_of_groups", SCORES, SCORES + 2 * 2, cuda=(5 + 1) * 10),
        Kernel(f"{MOE_BLOCK}.gate", "aten.topk.default", 2 * 2, (2 + 8) * 2, cuda=2),
        Kernel(f"{MOE_BLOCK}.gate", "aten.full.default", 0, 2 * 2),
        Kernel(f"{MOE_BLOCK}.gate", "aten.scatter_.value", 8 * 2, 2 * 2),
        # is the group left out? 2 comparisons, then 10 choices
        Kernel(f"{MOE_BLOCK}.gate", "fused.mask_groups", SCORES + 2 * 2, SCORES, cuda=2 + 10),
        Kernel(f"{MOE_BLOCK}.gate", "aten.topk.default", SCORES, (2 + 8) * CHOICES, cuda=10),
        Kernel(f"{MOE_BLOCK}.gate", "fused.cast_choice", (2 + 8) * CHOICES, (4 + 4) * CHOICES),
    ],
    "sglang": [
        # softmax 5 and top-k 1 of 10 scores; the weights are not scaled
        Kernel(f"{MOE_BLOCK}.gate", "fused.topk_softmax", SCORES, (4 + 4) * CHOICES, cuda=(5 + 1) * 10),
    ],
}
#: the block of routed experts, kernel by kernel: read, written, product FLOPs, the rest's
EXPERTS = (
    (4 * CHOICES, ORDER + OFFSETS, 0, 2 * CHOICES + 5),  # sort and count the choices, sum up 5 counts
    (BY_CHOICE + OFFSETS + ORDER + UP, 2 * GATED, 2 * CHOICES * 12 * 12, 0),
    (2 * GATED, GATED, 0, (4 + 1) * CHOICES * 6),
    # the weights, in float32, are multiplied in before the rows are written
    (GATED + OFFSETS + ORDER + 4 * CHOICES + DOWN, BY_CHOICE, 2 * CHOICES * 6 * 12, CHOICES * 12),
    (BY_CHOICE, HIDDEN, 0, CHOICES * 12),  # a sum an element read
)


def attention_of(layer: int, engine: str) -> list[Kernel]:
    at = f"layers.{layer}.self_attn"
    copied = [Kernel(at, "aten.clone.default", HIDDEN, HIDDEN)] if engine == "sglang" else []
    return [
        Kernel(f"{at}.qkv_proj", "aten.mm.default", HIDDEN + 2 * 20 * 12, QKV, 2 * 2 * 12 * 20),
        Kernel(at, "fused.rotary", TURNED + ROWS, TURNED, cuda=TURN),
        Kernel(at, "fused.write_cache", 2 * NEW + SLOTS, 2 * NEW),
        *copied,
        Kernel(at, "fused.attention", HIDDEN + 2 * GIVEN + 2 * NEW, HIDDEN + LOG_SUM_EXP, 2 * 2 * (2 * 3) * 8 * 4),
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


def step_of(engine: str) -> list[Kernel]:
    return [
        Kernel("layers.0.input_layernorm", "fused.rms_norm", HIDDEN + NORM, HIDDEN, cuda=102),
        *attention_of(0, engine),
        sum_and_norm("layers.0.post_attention_layernorm"),
        *mlp_of("layers.0.mlp", 10),
        sum_and_norm("layers.1.input_layernorm"),
        *attention_of(1, engine),
        sum_and_norm("layers.1.post_attention_layernorm"),
        *mlp_of(f"{MOE_BLOCK}.shared_experts", 3 * 6),
        Kernel(f"{MOE_BLOCK}.gate", "aten.mm.default", HIDDEN + 2 * 5 * 12, SCORES, 2 * 2 * 12 * 5),
        *CHOICE[engine],
        Kernel(f"{MOE_BLOCK}.experts", "fused.moe", *map(sum, zip(*EXPERTS, strict=True))),
        Kernel(MOE_BLOCK, "aten.add.Tensor", 2 * HIDDEN, HIDDEN, cuda=24),
        sum_and_norm("norm"),
    ]


def tiny_decoder(engine: str) -> Decoder:
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
        code=Code(EXECUTIONS[engine], "flash", Precision.of("bfloat16")),
    )


def tiny_step(engine: str) -> list[OperatorRecord]:
    walk = tiny_decoder(engine).walk(InputSpec((2, 1, 12), "bfloat16"), (CacheSpec((2, 1, 7, 4)),) * 2, 4)
    # of the cache: what is given is read, what is new is written and read, in each of two layers
    assert walk.kv_bytes == 2 * (2 * GIVEN + 2 * (2 * NEW))
    return list(walk.records())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_by_hand(engine: str) -> None:
    records = tiny_step(engine)
    assert kernels(iter(records)) == step_of(engine)
    # what lives after the first attention: its input, the product that query, key and value are views of, new keys and
    # values, its output with the log-sum-exp, and the copy of the queries
    attended = next(each for each in records if each.aten == "fused.attention")
    copied = HIDDEN if engine == "sglang" else 0
    assert attended.live_bytes == HIDDEN + QKV + 2 * NEW + HIDDEN + LOG_SUM_EXP + copied


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_time_reads_of_the_block_of_experts(engine: str) -> None:
    (block,) = (each for each in tiny_step(engine) if each.name == "fused_moe")
    assert kernel_class(block) == MOE
    x, index, weights, gate_up, down = block.inputs
    assert (x, index, weights, gate_up, down) == ((2, 12), (2, 2), (2, 2), (5, 12, 12), (5, 12, 6))
    assert block.outputs == ((2, 12),)
    rows, experts_bytes = index[0] * index[1], 2 * 5 * (12 * 12 + 12 * 6)
    assert rows == CHOICES
    assert 5 * block.weight_bytes == 4 * experts_bytes  # four experts are hit
    activations = block.bytes_read + block.bytes_written - block.weight_bytes
    # rows gathered, gate and up, their product, rows by choice: written, read, and the sum; the rest is routing
    routing = 4 * CHOICES + ORDER + OFFSETS + 2 * (ORDER + OFFSETS) + 4 * CHOICES
    assert activations == BY_CHOICE + 2 * (2 * GATED) + 2 * GATED + 2 * BY_CHOICE + HIDDEN + routing
    # the largest live set within: beside what lives when it begins are order, offsets, gate and up, their product
    before = next(each for each in tiny_step(engine) if each.path.endswith("gate_up_proj") and "shared" in each.path)
    assert block.live_bytes > before.live_bytes


def test_a_peak_within_the_block_is_the_blocks() -> None:
    """907 tokens around an image of 7 through a dense and a MoE layer: the peak is between the block's products."""
    overrides = ("workload.base_size=128", "workload.image_size=64", "runtime.prompt_tokens=900")
    model = load_cost_model(["execution=vllm", "decoder.num_hidden_layers=2", *overrides])
    prefill = model.page(300, 300).prefill
    assert (prefill.peak_path, prefill.peak_operator) == ("layers.1.mlp.experts", "fused.moe")
    tokens, choices = 907, 907 * 6
    row = 2 * 1280
    # the image's tokens in the encoder's cache; the embeddings, which the residual is written over; the dense layer's
    # output; the norm's, over attention's output; the shared experts'
    alive = 7 * row + 4 * tokens * row
    cache = 2 * 2 * tokens * row
    routing = choices * (4 + 4) + choices * 4 + 64 * 4  # float32 weights and 32-bit indices; order; offsets
    gate_and_up, product = choices * 2 * 896 * 2, choices * 896 * 2
    assert prefill.activation_peak_bytes == alive + cache + routing + gate_and_up + product
    walk = model.stage_walk("prefill", page=model.page(300, 300))
    assert max(each.live_bytes for each in walk.records()) == prefill.activation_peak_bytes


@pytest.mark.parametrize("engine", ENGINES)
def test_live_is_the_cache_without_a_garbage_collector(engine: str) -> None:
    model = load_cost_model([f"execution={engine}", "workload.base_size=512", "workload.image_size=320"])
    page = model.page(1275, 1650)
    geometry = model.geometry(page.layout)
    gc.disable()
    try:
        tape = Tape()
        states = model.model.run_prefill(tape, 1, page.seq_len, geometry, 64, "last")
        kept = 12 * 2 * page.seq_len * 1280 * 2
        assert tape.live_bytes == page.prefill.kv_bytes == kept
        for step in range(1, 4):  # onto what the steps before it left: none is copied
            model.model.run_decode(tape, states, 1, 6, "last")
            assert tape.live_bytes == kept + step * 12 * 2 * 1280 * 2
        del states
        assert tape.live_bytes == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("engine", ENGINES)
def test_holders_are_the_peak(engine: str) -> None:
    model = load_cost_model([f"execution={engine}"])
    page = model.page(1275, 1650, output_tokens=3)
    for stage in STAGES:
        holders = model.peak_holders(stage, 1275, 1650, output_tokens=3)
        assert sum(each.nbytes for each in holders) == getattr(page, stage).resident_peak_bytes


# -- around the decoder ------------------------------------------------------------------------------------------------

ROW, VOCABULARY = 2 * 1280, 129280
LOGITS = 3 * VOCABULARY


def head_of(*, gathered: bool) -> list[Kernel]:
    """The last positions of three prompts, their logits in float32, the largest of each."""
    out = [Kernel("", "aten.index.Tensor", 3 * (ROW + 8), 3 * ROW)] if gathered else []
    return [
        *out,
        Kernel("lm_head", "aten.mm.default", 3 * ROW + VOCABULARY * ROW, 2 * LOGITS, 2 * 1280 * LOGITS),
        Kernel("", "aten._to_copy.default", 2 * LOGITS, 4 * LOGITS),
        Kernel("", "aten.argmax.default", 4 * LOGITS, 3 * 8, cuda=LOGITS),
    ]


def around(engine: str, tokens: int) -> list[Kernel]:
    """What runs of three prompts of `tokens` beside the decoder."""
    embedded = Kernel("embed_tokens", "aten.embedding.default", 3 * tokens * (ROW + 8), 3 * tokens * ROW)
    if engine == "sglang":
        return [embedded, *head_of(gathered=tokens > 1)]
    copied = Kernel("", "aten.clone.default", 3 * tokens * ROW, 3 * tokens * ROW)
    return [embedded, copied, *head_of(gathered=True), Kernel("", "aten._to_copy.default", 3 * 8, 3 * 4)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tokens", [1, 5])
def test_around_the_decoder_by_hand(engine: str, tokens: int) -> None:
    model = load_cost_model([f"execution={engine}", "runtime.batch_size=3", "decoder.num_hidden_layers=1"])
    walk = (
        model.stage_walk("decode", context=9)
        if tokens == 1
        else model.model.prefill_walk(3, tokens, None, 0, "last")[0]
    )
    beside = (each for each in walk.records() if not each.path.startswith(("layers", "norm")))
    assert kernels(beside) == around(engine, tokens)


# -- pages through vision ----------------------------------------------------------------------------------------------

# Two pages of 2 x 1 crops: a global view of 128, whose map is 2 x 2, and crops of 64, whose map is one token.
PIXELS, CROPS = 2 * 3 * 128 * 128, 2 * 2 * 3 * 64 * 64
FEATURES = 2 * (1024 + 1024)
GLOBAL_ROWS, CROP_ROWS = 2 * (2 + 1), 2 + 1
TOKENS = GLOBAL_ROWS + CROP_ROWS + 1


def view_of(branch: str) -> list[Kernel | str]:
    """The views of a page of one kind: towers and projector by name, and what runs between them."""
    count, rows, newlines = {"global": (4, GLOBAL_ROWS, 2), "crops": (2, CROP_ROWS, 1)}[branch]
    return [
        f"{branch}.sam_model",
        f"{branch}.vision_model",
        Kernel("", "aten.cat.default", count * FEATURES, count * FEATURES),
        f"{branch}.projector",
        # a newline is read once for all rows
        Kernel("", "aten.cat.default", (rows - newlines + 1) * ROW, rows * ROW),
    ]


JOINED = Kernel("", "aten.cat.default", TOKENS * ROW, TOKENS * ROW)
SUM_OF_CROPS = Kernel("", "aten.sum.default", CROPS, 2, cuda=CROPS // 2)
PAGE: dict[str, list[Kernel | str]] = {
    "vllm": [
        Kernel("", "aten.clone.default", PIXELS, PIXELS),
        *view_of("global"),
        SUM_OF_CROPS,
        *view_of("crops"),
        JOINED,
    ],
    "sglang": [
        Kernel("", "aten.clone.default", PIXELS, PIXELS),
        Kernel("", "aten.clone.default", CROPS, CROPS),
        SUM_OF_CROPS,
        *view_of("crops"),
        *view_of("global"),
        JOINED,
        Kernel("", "aten.clone.default", TOKENS * ROW, TOKENS * ROW),
    ],
}
#: before the pages: is there an image at all?
BEFORE: dict[str, list[Kernel | str]] = {
    "vllm": [Kernel("", "aten.sum.default", 2 * PIXELS, 2, cuda=2 * PIXELS // 2)],
    "sglang": [],
}
PROMPT = TOKENS + 3
EMBEDDED = Kernel("embed_tokens", "aten.embedding.default", 2 * PROMPT * (ROW + 8), 2 * PROMPT * ROW)
BOTH = Kernel("", "aten.cat.default", 2 * TOKENS * ROW, 2 * TOKENS * ROW)
#: after the pages: their tokens into the prompts
AFTER: dict[str, list[Kernel | str]] = {
    "vllm": [
        EMBEDDED,
        BOTH,
        Kernel("", "aten.masked_scatter_.default", 2 * PROMPT + 2 * TOKENS * ROW, 2 * PROMPT * ROW),
        Kernel("", "aten.clone.default", 2 * PROMPT * ROW, 2 * PROMPT * ROW),
    ],
    "sglang": [
        BOTH,
        Kernel("", "aten.isin.Tensor_Tensor", 2 * PROMPT * 8, 2 * PROMPT, cuda=2 * PROMPT),
        Kernel("", "aten.sum.default", 2 * PROMPT, 8, cuda=2 * PROMPT),
        EMBEDDED,
        Kernel("", "aten.nonzero.default", 2 * PROMPT, 2 * TOKENS * 8),
        Kernel("", "aten.index_put_.default", 2 * TOKENS * (8 + ROW), 2 * TOKENS * ROW),
    ],
}


def outline(records: Iterator[OperatorRecord]) -> list[Kernel | str]:
    """Operators in order; those of a tower or a projector as its name alone."""
    found: list[Kernel | str] = []
    for part, of_part in groupby(records, key=lambda each: ".".join(each.path.split(".")[:2])):
        found += [part] if "." in part else kernels(of_part)
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_pages_one_after_another_by_hand(engine: str) -> None:
    small = (
        "workload.base_size=128",
        "workload.image_size=64",
        "runtime.prompt_tokens=3",
        "runtime.batch_size=2",
        "workload.max_num=2",
    )
    model = load_cost_model([f"execution={engine}", "decoder.num_hidden_layers=1", *small])
    page = model.page(1300, 650)
    assert (page.layout[1:], page.tokens.total) == ((2, 1), TOKENS)
    vision = outline(model.stage_walk("vision", page=page).records())
    assert vision == [*BEFORE[engine], *PAGE[engine], *PAGE[engine]]
    prefill = outline(model.stage_walk("prefill", page=page).records())
    assert prefill[: len(vision)] == vision
    assert prefill[len(vision) :][: len(AFTER[engine])] == AFTER[engine]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_goes_through_vision_as_its_pages_do_alone(engine: str) -> None:
    one, three = (load_cost_model([f"execution={engine}", f"runtime.batch_size={pages}"]) for pages in (1, 3))
    alone, together = one.page(1275, 1650).vision, three.page(1275, 1650).vision
    assert together.tensor_core_flops == 3 * alone.tensor_core_flops
    assert together.io_activation_bytes - 3 * alone.io_activation_bytes == (
        -2 * 2 if engine == "vllm" else 0
    )  # one sum
    # what is made of a page is dropped but for its tokens
    assert together.activation_peak_bytes == alone.activation_peak_bytes + 2 * alone_tokens(one)


def alone_tokens(model: CostModel) -> int:
    return model.page(1275, 1650).tokens.total * ROW


# -- the vision encoders beside the published code's, which the replica proves -----------------------------------------


def moved(part: type[ImageEncoderViT] | type[VitModel], execution: str, side: int) -> list[tuple[object, ...]]:
    walk = part(batch_size=2, img_size=side, execution=execution).walk()
    records = (each._replace(live_bytes=0) for each in walk.records())
    return [(each.path, each.aten, each.inputs, each.outputs, *each[7:]) for each in records]


@pytest.mark.parametrize("side", [640, 1024])
def test_sam_runs_as_published(side: int) -> None:
    published, vllm, sglang = (moved(ImageEncoderViT, name, side) for name in ("published", "vllm", "sglang"))
    clone = [each for each in published if each[:2] == ("", "aten.clone.default")]
    assert len(clone) == 1
    assert vllm == [each for each in published if each not in clone]
    if side == 1024:  # no table is resized
        assert sglang == published
    else:  # tables of relative positions are resized in their type: two casts less, for rows and columns of four blocks
        assert len(sglang) == len(published) - 4 * 2 * 2


def test_clip_runs_as_published_but_for_attention_or_its_activation() -> None:
    published, vllm, sglang = (moved(VitModel, name, 1024) for name in ("published", "vllm", "sglang"))

    def without(operators: list[tuple[object, ...]], *names: str) -> list[tuple[object, ...]]:
        return [each for each in operators if not any(name in str(each[1]) for name in names)]

    assert without(vllm, "attention", "arange") == without(published, "attention")
    (start, attended) = [each for each in vllm if "arange" in str(each[1]) or "attention" in str(each[1])][:2]
    tokens = 16 * 16 + 1
    assert (start[1], start[3]) == ("aten.arange.default", ((3,),))
    assert (attended[1], attended[3]) == ("fused.attention", ((2, 16, tokens, 64), (2, 16, tokens)))
    activation = ("mul", "sigmoid", "quick_gelu")
    assert without(sglang, *activation) == without(published, *activation)
    assert [each[1] for each in sglang if "quick_gelu" in str(each[1])] == ["fused.quick_gelu"] * 24
    assert [each[1] for each in vllm if "sigmoid" in str(each[1])] == ["aten.sigmoid.default"] * 24


# -- beside the other executions ---------------------------------------------------------------------------------------

CASES = {
    "letter": ((1275, 1650), ()),
    "no crops": ((600, 400), ()),
    "float16, three pages of base": ((1275, 1650), ("workload=base", "runtime.batch_size=3", "runtime.dtype=float16")),
    "small, all positions": ((800, 800), ("workload=small", "runtime.head=all")),
    "grouped heads": ((1000, 1000), ("workload=large", "decoder.num_key_value_heads=2", "decoder.num_hidden_layers=3")),
    "crops of two pages": ((1000, 700), ("runtime.batch_size=2", "runtime.experts_hit=uniform")),
}
#: kernels of the block of experts beyond the one record
IN_A_BLOCK = 4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size, overrides", CASES.values(), ids=CASES)
def test_the_same_products_and_no_less_than_the_bound(
    size: tuple[int, int], overrides: tuple[str, ...], engine: str
) -> None:
    ours, bound, library = (
        load_cost_model([f"execution={name}", *overrides]) for name in (engine, "serving", "transformers")
    )
    pages = [each.page(*size, output_tokens=5) for each in (ours, bound, library)]
    convolution = 2 * 1024 * PATCH_CONVOLUTION[0] * PATCH_CONVOLUTION[1] * PATCH_CONVOLUTION[2]
    for stage in STAGES:
        one, least, other = (getattr(page, stage) for page in pages)
        assert one.tensor_core_flops == least.tensor_core_flops == other.tensor_core_flops, stage
        assert one.weight_bytes == other.weight_bytes + convolution
        assert (one.kv_bytes, one.kv_added_bytes) == (other.kv_bytes, other.kv_added_bytes)
        assert one.io_bytes > least.io_bytes and one.io_activation_bytes > least.io_activation_bytes, stage
        assert one.io_kv_bytes == least.io_kv_bytes
        if stage != "vision":  # every weight that the bound reads is read
            assert one.io_weight_bytes >= least.io_weight_bytes
        counts = []
        for model, page in zip((ours, bound), pages, strict=False):
            records = list(model.stage_walk(stage, page=page, context=9).records())
            counts.append(len(records) + IN_A_BLOCK * sum(each.name == "fused_moe" for each in records))
        assert counts[0] > counts[1], stage


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_alone_run_as_graphs(engine: str) -> None:
    assert EXECUTIONS[engine].traits(EngineTraits).graphed == {"decode"}
    assert not EXECUTIONS["transformers"].traits(EngineTraits).graphed
    assert not EXECUTIONS["published"].traits(EngineTraits).graphed


@pytest.mark.parametrize("engine", ENGINES)
def test_pages_say_that_it_was_read(engine: str) -> None:
    labels = {each.label for each in load_cost_model([f"execution={engine}", "workload.max_num=9"]).assumptions()}
    assert {"an engine's kernels, as read", "blocks not rounded up", "up to 9 crops; engines 6"} <= labels


# -- traits ------------------------------------------------------------------------------------------------------------

#: traits that an engine's forward pass reads and the other executions leave alone, and another value of each
OTHERWISE: dict[tuple[type, str], object] = {
    (StageTraits, "last_gathered"): "never",
    (StageTraits, "token_dtype"): None,
    (SamTraits, "rel_pos_resized_in_float32"): False,
    (SamTraits, "blocks_output_kept"): False,
    (SamTraits, "map_cloned"): True,
    (ClipTraits, "attention_over_sequences"): False,
    (PageLoopTraits, "first"): "tiles",
    (PageLoopTraits, "copied"): (),
    (PageLoopTraits, "pages_summed"): False,
    (PageLoopTraits, "tiles_summed"): False,
    (PageLoopTraits, "output_copied"): True,
    (FusionTraits, "image_tokens_cached"): False,
    (FusionTraits, "placeholders_sought"): True,
    (FusionTraits, "embeddings_copied"): False,
    (MoeTraits, "weights_in_epilogue"): False,
    (MoeTraits, "topk_of_groups"): False,
    (MoeTraits, "experts_output_in_place"): True,
    (DecoderTraits, "cache_written_apart"): False,
    (DecoderTraits, "query_copied"): True,
    (DecoderTraits, "log_sum_exp_written"): False,
}


def with_trait(execution: Execution, kind: type, **changed: Any) -> Execution:
    """The execution with one of its traits otherwise."""
    record = replace(execution.traits(kind), **changed)
    facts = (*(each for each in execution.facts if type(each) is not kind), record)
    return Execution(execution.name, facts, execution.of_vision)


def figures(execution: Execution, monkeypatch: pytest.MonkeyPatch) -> object:
    """Every operator of a page under an execution, and what is alive after each."""
    monkeypatch.setattr(CostModel, "executions", {"vllm": execution})
    model = load_cost_model(["execution=vllm", "decoder.num_hidden_layers=2", "workload.image_size=320"])
    page = model.page(1275, 1650)
    return [list(model.stage_walk(stage, page=page, context=30).records()) for stage in ("prefill", "decode")]


@pytest.mark.parametrize("kind, trait", OTHERWISE, ids=[f"{kind.__name__}.{trait}" for kind, trait in OTHERWISE])
def test_every_trait_is_read(kind: type, trait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = with_trait(EXECUTIONS["vllm"], kind, **{trait: OTHERWISE[kind, trait]})
    assert figures(other, monkeypatch) != figures(EXECUTIONS["vllm"], monkeypatch)


def test_names_of_views_are_held_to_the_pages_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the crops while the global view runs; in the other engine they die with their function."""
    sglang = EXECUTIONS["sglang"]
    held, unheld = (with_trait(sglang, PageLoopTraits, names_kept=kept) for kept in (True, False))
    (kept_prefill, _), (dropped_prefill, _) = (
        figures(replace(each, name="vllm"), monkeypatch) for each in (held, unheld)
    )  # type: ignore[misc]
    differ = {one.live_bytes - other.live_bytes for one, other in zip(kept_prefill, dropped_prefill, strict=True)}
    # SAM's map and CLIP's tokens, class tokens among them, of 6 crops of 320, 5 x 5 positions; and of the global view
    crops = 6 * 2 * 1024 * (25 + 26)
    assert differ == {0, crops, crops + 2 * 1024 * (256 + 257)}


def test_the_vision_encoders_have_facts_of_their_own() -> None:
    vllm = EXECUTIONS["vllm"]
    assert vllm.traits(EngineTraits).chains_fused and not vllm.vision().traits(EngineTraits).chains_fused
    assert vllm.vision().traits(SamTraits) == vllm.traits(SamTraits)
    assert vllm.vision().vision() == vllm.vision()
    assert EXECUTIONS["published"].vision() is EXECUTIONS["published"]
