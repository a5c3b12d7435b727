"""execution=published against the replica of the published code: every operator's bytes, peaks, FLOPs."""

from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import CostModel, ImageEncoderViT, VitModel, load_cost_model
from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE
from modelmeter.models.deepseek_ocr.reference.replica import CausalModel, Clip, ReplicaCache, Sam
from modelmeter.reference.building import DTYPES, on_meta
from modelmeter.reference.measurement import measure
from modelmeter.walk import Walk

SMALL = {"num_hidden_layers": 4, "num_key_value_heads": 5, "n_routed_experts": 16, "num_experts_per_tok": 3}
ARCHITECTURES = {
    "published": {},
    "small": SMALL | {"first_k_dense_replace": 2, "n_shared_experts": 1},
    "all experts": {
        "num_hidden_layers": 3,
        "n_routed_experts": 8,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 96,
    },
}


class Figures(NamedTuple):
    flops: int
    peak_bytes: int
    peak_operator: str
    resident_peak_bytes: int
    operators: list[tuple[str, int, int]]


def of_walk(walk: Walk, given_bytes: int = 0) -> Figures:
    operators = [(record.aten, record.bytes_read, record.bytes_written) for record in walk.records()]
    resident = given_bytes + walk.resident_peak_bytes
    return Figures(walk.tensor_core_flops, walk.peak_bytes, walk.peak_operator, resident, operators)


def measured(module: nn.Module, *args: Any, cache_of: Any = lambda: None) -> Figures:
    """`cache_of` makes the cache that goes last, if any."""
    held = cache_of()
    last = () if held is None else (held,)
    found = measure(module, lambda: module(*args, *last), cached=lambda: [] if held is None else held.tensors)
    rows = [(row.operator, row.traffic.read_bytes, row.traffic.written_bytes) for row in found.operator_traffic]
    peaks = (found.activation_peak_bytes, found.peak_operator, found.resident_peak_bytes)
    return Figures(found.flops, *peaks, rows)


def empty(dtype: str, *shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=DTYPES[dtype], device="meta")


@cache
def replica(kind: type[nn.Module], dtype: str) -> nn.Module:
    with on_meta(dtype):
        return kind().eval()


@cache
def causal_model(dtype: str, attention: str, **architecture: int) -> CausalModel:
    with on_meta(dtype):
        return CausalModel(ARCHITECTURE | architecture, eager=attention == "eager").eval()


@pytest.mark.parametrize("side, views", [(448, 1), (448, 2), (640, 2), (656, 1), (1024, 1)])
def test_vision_parts(side: int, views: int) -> None:
    check_vision_parts("bfloat16", "flash", side, views)


@pytest.mark.parametrize("dtype, attention", [("float32", "flash"), ("float16", "flash"), ("bfloat16", "eager")])
@pytest.mark.parametrize("side, views", [(640, 2), (1024, 1)])
def test_vision_parts_of_other_types(dtype: str, attention: str, side: int, views: int) -> None:
    check_vision_parts(dtype, attention, side, views)


def check_vision_parts(dtype: str, attention: str, side: int, views: int) -> None:
    common: Any = {"dtype": dtype, "attention": attention, "execution": "published"}
    grid = -(-side // 64)
    sam = ImageEncoderViT(batch_size=views, img_size=side, **common)
    assert of_walk(sam.walk()) == measured(replica(Sam, dtype), empty(dtype, views, 3, side, side))
    clip = VitModel(batch_size=views, img_size=side, **common)
    assert of_walk(clip.walk()) == measured(replica(Clip, dtype), empty(dtype, views, 1024, grid, grid))


def cost_model(dtype: str, attention: str, architecture: dict[str, int], batch: int = 1) -> CostModel:
    overrides = [f"decoder.{name}={value}" for name, value in architecture.items()]
    runtime = [f"runtime.dtype={dtype}", f"runtime.attention={attention}", f"runtime.batch_size={batch}"]
    return load_cost_model(["execution=published", *runtime, *overrides])


def check_decoder(dtype: str, attention: str, tokens: int, batch: int = 1, name: str = "published") -> None:
    """A prefill of `tokens`, and the decode step after it."""
    model = cost_model(dtype, attention, ARCHITECTURES[name], batch)
    sizes = ARCHITECTURE | ARCHITECTURES[name]
    causal = causal_model(dtype, attention, **ARCHITECTURES[name])
    decoder = causal.model.decoder
    head_dim, layers = sizes["hidden_size"] // sizes["num_attention_heads"], sizes["num_hidden_layers"]

    def cache_of() -> ReplicaCache:
        shape = (batch, sizes["num_key_value_heads"], tokens, head_dim)
        held = [empty(dtype, *shape) for _ in range(2 * layers)]
        return ReplicaCache(held[:layers], held[layers:])

    hit = model.experts_hit(batch * tokens)
    decoder.declare_experts_hit(int(hit))
    walk = model.model.decoder_walk(batch, tokens, hit)
    assert of_walk(walk) == measured(decoder, empty(dtype, batch, tokens, sizes["hidden_size"]), cache_of=ReplicaCache)
    hit = model.experts_hit(batch)
    decoder.declare_experts_hit(int(hit))
    walk, given_bytes, kv_bytes = model.model.decode_walk(batch, tokens, hit, "all")
    token = torch.empty(batch, 1, dtype=torch.int64, device="meta")
    figures = measured(causal, token, [], None, [], cache_of=cache_of)
    assert of_walk(walk, given_bytes) == figures
    assert kv_bytes == given_bytes // tokens * (tokens + 1)


@pytest.mark.parametrize("tokens", [1, 100])
@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_decoder_bfloat16(attention: str, tokens: int) -> None:
    check_decoder("bfloat16", attention, tokens)


@pytest.mark.parametrize("dtype, attention, tokens", [("float32", "eager", 100), ("float16", "flash", 100)])
def test_decoder_of_other_types(dtype: str, attention: str, tokens: int) -> None:
    check_decoder(dtype, attention, tokens)


@pytest.mark.parametrize("name, attention", [("small", "flash"), ("small", "eager"), ("all experts", "flash")])
def test_other_decoders(name: str, attention: str) -> None:
    check_decoder("bfloat16", attention, 273, name=name)
    check_decoder("bfloat16", attention, 100, batch=3, name=name)


@pytest.mark.parametrize(
    "width, height, batch, head, overrides",
    [
        (1275, 1650, 1, "all", ()),
        (600, 400, 1, "all", ()),
        (300, 2700, 1, "last", ()),
        (1000, 1000, 2, "none", ("workload.base_size=512", "workload.image_size=448")),
        (1275, 1650, 3, "all", ("workload=tiny",)),
        (300, 300, 1, "all", ("workload=tiny", "workload.base_size=640")),
    ],
)
def test_whole_pages(width: int, height: int, batch: int, head: str, overrides: tuple[str, ...]) -> None:
    small = {"num_hidden_layers": 2, "vocab_size": 129280 if head == "all" else 1000}
    of_decoder = [f"decoder.{name}={value}" for name, value in small.items()]
    runtime = [f"runtime.batch_size={batch}", f"runtime.head={head}"]
    model = load_cost_model(["execution=published", *runtime, *overrides, *of_decoder])
    page = model.page(width, height)
    vision = model.vision_config(page.layout)
    seq_len = page.tokens.total + 10
    causal = causal_model("bfloat16", "flash", **small)
    causal.model.decoder.declare_experts_hit(int(model.experts_hit(batch * seq_len)))
    side = vision.global_branch.img_size
    crops = page.layout.w_crop * page.layout.h_crop
    if vision.crop_branch:
        crop_side = vision.crop_branch.img_size
        patches = empty("bfloat16", crops, 3, crop_side, crop_side)
    else:
        patches = empty("float32", 1, 3, model.workload.base_size, model.workload.base_size)
    images = [(patches, empty("bfloat16", 1, 3, side, side))] * batch
    ids = torch.empty(batch, seq_len, dtype=torch.int64, device="meta")
    mask = torch.empty(batch, seq_len, dtype=torch.bool, device="meta")
    grids = [(page.layout.w_crop, page.layout.h_crop)] * batch

    class Whole(nn.Module):
        def forward(self, held: ReplicaCache) -> torch.Tensor:
            return causal(ids, images, mask, grids, held, head)

    walk, _ = model.model.prefill_walk(
        batch, seq_len, model.geometry(page.layout), model.experts_hit(batch * seq_len), head
    )
    assert of_walk(walk) == measured(WithRoot(causal, Whole()), cache_of=ReplicaCache)
    assert (page.prefill.activation_peak_bytes, page.prefill.io_bytes) == (
        walk.peak_bytes,
        walk.bytes_read + walk.bytes_written,
    )

    class Vision(nn.Module):
        def forward(self) -> object:
            return causal.model(None, images, None, grids, None)

    walk = model.model.vision_walk(model.geometry(page.layout))
    assert of_walk(walk) == measured(WithRoot(causal, Vision()))


class WithRoot(nn.Module):
    """A call in the frame of another module, whose parameters are the weights."""

    def __init__(self, root: nn.Module, call: nn.Module) -> None:
        super().__init__()
        self.root = root
        self.call = call

    def forward(self, *args: Any) -> Any:
        return self.call(*args)


@pytest.mark.parametrize("mode, side", [("gundam", 1024), ("tiny", 512), ("tiny workload.base_size=768", 768)])
def test_a_page_without_crops_has_zeros_in_float32_in_their_place(mode: str, side: int) -> None:
    """infer() makes them of base_size x base_size, without a type; the model sums them: are there crops?"""
    model = load_cost_model(["execution=published", *f"workload={mode}".split()])
    page = model.page(300, 300)
    own_pixels, crops = (
        record for record in model.stage_walk("vision", page=page).records() if record.aten == "aten.sum.default"
    )
    assert (crops.bytes_read, crops.bytes_written) == (3 * side * side * 4, 4)
    view = page.views[0].width
    assert (own_pixels.bytes_read, own_pixels.bytes_written) == (3 * view * view * 2, 2)


def test_parameters() -> None:
    assert load_cost_model(["execution=published"]).model.parameter_count() == 3_336_106_240


def test_rotary_and_head_are_the_only_other_flops() -> None:
    """FACTS: 12 products of 2 * 64 * S a prefill, and the head over all positions."""
    published, other = (load_cost_model([f"execution={name}"]) for name in ("published", "transformers"))
    tokens = 913
    rotary = 12 * 2 * 64 * tokens
    head = 2 * 1280 * 129280
    difference = published.text(tokens).prefill.tensor_core_flops - other.text(tokens).prefill.tensor_core_flops
    assert difference == rotary + (tokens - 1) * head
    step = published.step(tokens).tensor_core_flops - other.step(tokens).tensor_core_flops
    assert step == 12 * 2 * 64


def test_float32_wants_eager_attention() -> None:
    with pytest.raises(ModelMeterError, match=r"half precision only, and runtime.dtype=float32; set runtime.attention"):
        load_cost_model(["execution=published", "runtime.dtype=float32"]).text(10)


def test_experts_hit_on_average_are_rounded_once_a_layer() -> None:
    """The bytes of a layer's experts: their number times an expert's bytes, rounded once."""
    model = load_cost_model(["execution=published", "runtime.experts_hit=uniform"])
    most = load_cost_model(["execution=published"])
    expert = 3 * 1280 * 896 * 2
    layers = 11
    read = round(model.experts_hit(7) * expert)
    difference = most.text(7).prefill.io_weight_bytes - model.text(7).prefill.io_weight_bytes
    assert difference == layers * (42 * expert - read)
