"""transformers' modules, the names that lead to them, and the figures expected of them.

FLOPs: FACTS section 4. Peaks and traffic: found by experiment with independent instruments, and written down
before these existed (bfloat16).
"""

from functools import cache

import pytest
import torch

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.reference.deep_encoder_names import (
    TRANSFORMERS_NAMES,
    transformers_path,
    transformers_paths,
)
from modelmeter.models.deepseek_ocr.reference.modules import TextReference, VisionReference
from modelmeter.reference.building import cache_tensors, on_meta
from modelmeter.reference.flops import measure_flops
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.memory import LiveSet
from modelmeter.reference.traffic import TrafficMeter

vision, text = cache(VisionReference), cache(TextReference)
SAM, CLIP = "vision_tower.sam_encoder", "vision_tower.vision_encoder"

FLOPS = {  # (views, side)      SAM                CLIP             projector
    (1, 1024): (976_909_172_736, 161_715_683_328, 1_342_177_280),
    (6, 640): (1_953_724_760_064, 372_028_538_880, 3_145_728_000),
}


@pytest.mark.parametrize("views, side", FLOPS)
@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_vision_flops(views: int, side: int, attention: str) -> None:
    module = vision(attention=attention)
    with FusedAttention():
        count = measure_flops(module, lambda: module(module.pixels(views, side)))
    measured = tuple(count.by_module[path] for path in (SAM, CLIP, "multi_modal_projector"))
    assert measured == FLOPS[views, side]
    assert count.total == count.by_module[""] == sum(FLOPS[views, side])


@pytest.mark.parametrize("experts", ["grouped_mm", "batched_mm"])
def test_decoder_flops(experts: str) -> None:
    module = text(experts_implementation=experts)
    count = measure_flops(module, lambda: module(module.embeddings(1, 913)))
    assert count.total == 797_349_048_320
    experts_flops = 2 * 6 * 913 * 3 * 1280 * 896
    assert count.by_module["language_model.layers.1.mlp.experts"] == experts_flops
    assert measure_flops(module, lambda: module(module.embeddings(1, 903))).total == 788_060_958_720
    past = module.cache(1, 903)
    assert measure_flops(module, lambda: module(module.embeddings(1, 1), past)).total == 872_775_680


PEAKS = {  # part, views, side: fused, eager
    ("sam", 1, 1024): (836_763_648, 2_447_376_384),
    ("sam", 6, 640): (855_244_800, 2_329_804_800),
    ("clip", 1, 1024): (8_421_376, 13_725_856),
}


@pytest.mark.parametrize("part, views, side", PEAKS)
@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_vision_peaks(part: str, views: int, side: int, attention: str) -> None:
    reference = vision(attention=attention)
    module = reference.sam if part == "sam" else reference.clip
    given = reference.pixels(views, side) if part == "sam" else reference.sam_map(views, side)
    with torch.no_grad(), FusedAttention(), LiveSet(module) as live:
        module(given)
    assert live.peak_bytes == PEAKS[part, views, side][attention == "eager"]
    assert sum(holding.size_bytes for holding in live.alive_at_peak) == live.peak_bytes


@pytest.mark.parametrize("views, side, moved", [(1, 1024, 13_513_631_888), (6, 640, 21_074_722_032)])
def test_vision_traffic(views: int, side: int, moved: int) -> None:
    module = vision()
    with torch.no_grad(), FusedAttention(), TrafficMeter(module) as traffic:
        module(module.pixels(views, side))
    assert traffic.total.total_bytes == traffic.by_module[""].total_bytes == moved
    assert sum(row.total_bytes for row in traffic.by_operator.values()) == moved


PREFILL_PEAKS = {  # float16 eager is left out: its softmax in float32 is one operator on CUDA, two on meta
    ("bfloat16", "flash"): 149_032_241,
    ("bfloat16", "eager"): 168_204_328,
    ("float16", "flash"): 149_032_241,
}


@pytest.mark.parametrize("dtype, attention", PREFILL_PEAKS)
def test_prefill_peak(dtype: str, attention: str) -> None:
    module = text(dtype=dtype, attention=attention)
    given = module.embeddings(1, 913)
    with torch.no_grad(), FusedAttention(), LiveSet(module) as live:
        module(given)
    assert (live.peak_bytes, live.peak_operator) == (PREFILL_PEAKS[dtype, attention], "aten.index.Tensor")


def test_prefill_traffic() -> None:
    module = text()
    given = module.embeddings(1, 913)
    with torch.no_grad(), FusedAttention(), TrafficMeter(module) as traffic:
        out = module(given)
    traffic.mark_kv(cache_tensors(out.past_key_values))
    assert traffic.total.total_bytes == 11_171_753_481
    kv_bytes = 12 * 2 * 913 * 1280 * 2
    assert traffic.total.kv_bytes == 2 * kv_bytes  # written by the cache, read by attention


def test_float32_prefill_runs_grouped_on_meta() -> None:
    module = text(dtype="float32")
    given = module.embeddings(1, 913)
    assert measure_flops(module, lambda: module(given)).total == 797_349_048_320


def test_decode_step_peaks_and_traffic() -> None:
    module = text()
    token = module.embeddings(1, 1)
    kv_bytes, kv_after_bytes = 56_094_720, 56_156_160
    assert (kv_bytes, kv_after_bytes) == (12 * 2 * 913 * 1280 * 2, 12 * 2 * 914 * 1280 * 2)

    past = module.cache(1, 913)
    with torch.no_grad(), FusedAttention(), LiveSet(module) as live:
        module(token, past)
    assert live.peak_bytes == 56_498_330

    past = module.cache(1, 913)
    with torch.no_grad(), FusedAttention(), LiveSet(module, given=cache_tensors(past)) as live:
        module(token, past)
    assert (live.given_bytes, live.peak_bytes) == (kv_bytes, kv_bytes + 2_412_954)
    del token
    assert live.live_bytes == kv_after_bytes

    past = module.cache(1, 913)
    kv = cache_tensors(past)
    with torch.no_grad(), FusedAttention(), TrafficMeter(module, kv=kv, experts_hit=6) as traffic:
        module(module.embeddings(1, 1), past)
    traffic.mark_kv(cache_tensors(past))
    assert traffic.total.total_bytes == 999_397_876
    assert traffic.total.kv_bytes == kv_bytes + 2 * kv_after_bytes  # copied to one position more, then read


def test_every_published_name_leads_to_a_module() -> None:
    known = {path for reference in (vision(), text()) for path, _ in reference.named_modules()}
    for name in TRANSFORMERS_NAMES:
        for layer in (1, 11):  # every block has them but the dense first layer's MLP
            dense = name in {f"layers.N.mlp.{part}_proj" for part in ("gate", "up", "down")} | {"layers.N.mlp.act_fn"}
            for path in transformers_paths(name.replace("N", "0" if dense else str(layer))):
                assert path in known, (name, path)


def test_the_names_reach_every_module_that_computes() -> None:
    reached = {
        path
        for name in TRANSFORMERS_NAMES
        for layer in range(24)
        for path in transformers_paths(name.replace("N", str(layer)))
    }
    for module in (vision(), text()):
        count = measure_flops(
            module,
            lambda module=module: (
                module(module.pixels(1, 640))
                if isinstance(module, VisionReference)
                else module(module.embeddings(1, 9))
            ),
        )
        assert {path for path, flops in count.own_by_module.items() if flops} <= reached


def test_names() -> None:
    assert transformers_path("sam_model.blocks.3.attn.qkv") == f"{SAM}.layers.3.attn.qkv"
    assert transformers_path("sam_model.neck.2") == f"{SAM}.neck.conv2"
    assert transformers_path("layers.11.mlp.gate") == "language_model.layers.11.mlp.gate"
    assert transformers_path("projector.layers") == "multi_modal_projector"
    fused = "vision_model.transformer.layers.7.self_attn.qkv_proj"
    assert transformers_paths(fused) == tuple(f"{CLIP}.encoder.layers.7.self_attn.{x}_proj" for x in "qkv")
    with pytest.raises(ModelMeterError, match=r"is 3 modules in transformers .*use transformers_paths"):
        transformers_path(fused)
    with pytest.raises(ModelMeterError, match=r"no published module 'sam_model\.net_4'.*net_3"):
        transformers_path("sam_model.net_4")


def test_parameters() -> None:
    def parameters(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    unused_patch_convolution = 3 * 14 * 14 * 1024
    assert parameters(vision().sam) == 95_569_152
    assert parameters(vision().clip) == 303_177_728 - unused_patch_convolution
    assert parameters(vision().projector) == 2048 * 1280 + 1280 == 2_622_720
    separators = 2 * 1280
    whole = parameters(vision()) + parameters(text()) + separators
    assert whole == 3_336_106_240 - unused_patch_convolution


def test_another_architecture_by_published_names() -> None:
    module = TextReference(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=3,
        first_k_dense_replace=2, intermediate_size=40, moe_intermediate_size=16, n_routed_experts=5,
        num_experts_per_tok=2, n_shared_experts=1, vocab_size=50, max_position_embeddings=64)  # fmt: skip
    with FusedAttention():
        count = measure_flops(module, lambda: module(module.embeddings(1, 7)))
    attention = 2 * 7 * 32 * (32 + 16 + 16 + 32) + 2 * (2 * 4 * 7 * 7 * 8)
    dense, sparse = 2 * 7 * 3 * 32 * 40, 2 * 7 * (3 * 32 * 16 * (2 + 1) + 32 * 5)
    assert count.total == 3 * attention + 2 * dense + sparse


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: VisionReference(dtype="bfloat"), r'no dtype \'bfloat\'; did you mean "bfloat16"'),
        (lambda: TextReference(attention="sdpa"), r"no attention 'sdpa'; the options are flash, eager"),
        (lambda: TextReference(hidden=3), r"no architecture value 'hidden'; did you mean \"hidden_size\""),
    ],
)
def test_a_wrong_name_is_refused(build: object, message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        build()  # type: ignore[operator]


def test_the_default_dtype_is_restored() -> None:
    assert vision().sam_map(1, 640).dtype == torch.bfloat16
    with pytest.raises(RuntimeError), on_meta("float16"):
        assert torch.empty(1).dtype == torch.float16
        raise RuntimeError
    assert torch.empty(1).dtype == torch.float32
    assert torch.empty(1).device.type == "cpu"
