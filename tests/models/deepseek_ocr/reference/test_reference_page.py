"""transformers' whole model on a page: its inputs, its parts, what is refused, and instruments that do not disturb."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from transformers.cache_utils import DynamicCache
from transformers.models.unlimited_ocr import modeling_unlimited_ocr

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.reference.page import (
    PageGeometry,
    PageReference,
    placeholder_tokens,
    token_row,
    values_unchecked,
)
from modelmeter.reference.building import cache_tensors
from modelmeter.reference.comparison import flops_by_place
from modelmeter.reference.flops import measure_flops
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.measurement import measure
from modelmeter.reference.memory import LiveSet
from modelmeter.reference.traffic import TrafficMeter

TINY: dict[str, int] = {"num_hidden_layers": 2, "vocab_size": 500, "n_routed_experts": 8, "num_experts_per_tok": 2}
reference = cache(PageReference)

#: global side, crop side, columns, rows: placeholders by hand (rows of tokens with a newline each, and a separator)
PLACEHOLDERS = {
    (1024, 640, 2, 3): 17 * 16 + 1 + (2 * 10 + 1) * 30,
    (1280, 1024, 3, 1): 21 * 20 + 1 + (3 * 16 + 1) * 16,
    (512, 0, 1, 1): 9 * 8 + 1,
    (656, 400, 1, 2): 12 * 11 + 1 + (7 + 1) * 14,  # a remainder of the patch grid makes one more token a side
}


@pytest.mark.parametrize("size", PLACEHOLDERS, ids=str)
def test_inputs_are_what_the_processor_makes(size: tuple[int, int, int, int]) -> None:
    global_side, crop_side, columns, rows = size
    crops = columns * rows if columns * rows > 1 else 0
    assert placeholder_tokens(global_side, crop_side, [columns, rows], crops) == PLACEHOLDERS[size]
    page = PageGeometry(pages=2, global_side=global_side, crop_side=crop_side, columns=columns, rows=rows)
    inputs = reference(**TINY).inputs(page)
    assert inputs.token_ids.shape == (2, PLACEHOLDERS[size] + 10)
    assert inputs.images["pixel_values"].shape == (2, 3, global_side, global_side)
    assert inputs.images["patches_grid"] == [[columns, rows]] * 2
    assert inputs.images["num_local_patches"] == [crops] * 2
    if crops:
        assert inputs.images["pixel_values_local"].shape == (2 * crops, 3, crop_side, crop_side)
    else:
        assert "pixel_values_local" not in inputs.images


def test_the_image_stands_behind_the_begin_token() -> None:
    assert token_row(3, 4, 9) == [0, 9, 9, 9, 1, 1, 1]
    assert token_row(2, 1, 9) == [0, 9, 9]
    assert token_row(1, 0, 9) == [9]


@pytest.mark.parametrize("stage", ["vision", "prefill"])
def test_one_placeholder_less_is_refused_by_the_models_own_check(stage: str) -> None:
    whole = reference(**TINY)
    inputs = whole.inputs(PageGeometry(global_side=320))  # 5 * 6 + 1 image tokens
    short = replace(inputs, token_ids=inputs.token_ids[:, :31])  # the begin token and 30 of them
    with pytest.raises(ModelMeterError, match="do not match, tokens: 30, features: 31"):
        whole.vision(short) if stage == "vision" else whole.prefill(short, experts_hit=8)


def test_the_models_own_check_is_back_after_a_measurement() -> None:
    before: Any = vars(modeling_unlimited_ocr)["torch_compilable_check"]
    whole = reference(**TINY)
    whole.prefill(whole.text_inputs(3), experts_hit=6)
    with pytest.raises(ModelMeterError, match="cannot run this on the meta device"):
        whole.prefill(replace(whole.text_inputs(3), token_ids=torch.zeros(1, 3, 3, dtype=torch.long)), experts_hit=6)
    assert vars(modeling_unlimited_ocr)["torch_compilable_check"] is before


def test_parts_of_a_page_by_branch() -> None:
    whole = reference(**TINY)
    inputs = whole.inputs(PageGeometry(global_side=1024, crop_side=640, columns=2, rows=3))
    measured = whole.vision(inputs)
    parts: dict[str, int] = {}
    for path, flops in flops_by_place(measured, partial(whole.place, crops=True)).items():
        branch, part, *_ = path.split(".")
        parts[f"{branch}.{part}"] = parts.get(f"{branch}.{part}", 0) + flops
    assert parts == {
        "global.sam_model": 976_909_172_736,
        "global.vision_model": 161_715_683_328,
        "global.projector": 1_342_177_280,
        "crops.sam_model": 1_953_724_760_064,
        "crops.vision_model": 372_028_538_880,
        "crops.projector": 3_145_728_000,
    }
    assert sum(parts.values()) == measured.flops


PLACES = {  # a module of transformers, and which run of its part: where it stands in a page with crops
    ("vision_tower.sam_encoder.layers.2.attn", 1): "crops.sam_model.blocks.2.attn",
    ("vision_tower.vision_encoder.encoder.layers.3.self_attn.q_proj", 2): (
        "global.vision_model.transformer.layers.3.self_attn.q_proj"
    ),
    ("vision_tower.vision_encoder.embeddings.position_embedding", 0): "global.vision_model.embeddings",
    ("vision_tower.sam_encoder.layers.11.mlp.act", 0): "global.sam_model.blocks.11.mlp",
    ("vision_tower", 1): "crops",
    ("multi_modal_projector", 0): "global.projector.layers",
    ("language_model.layers.1.mlp.experts.act_fn", 0): "layers.1.mlp.experts",
    ("language_model.rotary_emb", 0): "rotary_emb",
    ("language_model", 0): "",
    ("lm_head", 0): "lm_head",
    ("", 0): "",
    ("something.new", 0): "something.new",
}


@pytest.mark.parametrize("module", PLACES, ids=str)
def test_where_a_module_stands(module: tuple[str, int]) -> None:
    assert reference(**TINY).place(*module, crops=True) == PLACES[module]


def test_weights_and_cache_of_the_stages() -> None:
    """By hand: parameters of the parts; in bfloat16, 2 bytes each."""
    whole = reference(**TINY)
    inputs = whole.inputs(PageGeometry(global_side=320))
    vision = whole.vision(inputs)
    assert vision.weight_bytes == 2 * (95_569_152 + 303_177_728 - 602_112 + 2_622_720 + 2 * 1280)
    prefill, kv_cache = whole.prefill(inputs, experts_hit=8)
    step = whole.decode_step(kv_cache, experts_hit=2, head="none")
    every = sum(each.numel() for each in whole.model.parameters())
    assert prefill.weight_bytes == step.weight_bytes == 2 * every
    position_bytes = 2 * 2 * 1280 * 2  # layers, keys and values, width, bytes
    assert (prefill.kv_added_bytes, step.kv_added_bytes, vision.kv_added_bytes) == (
        inputs.token_ids.shape[1] * position_bytes,
        position_bytes,
        0,
    )


def test_a_parameter_outside_the_listed_weights_is_refused() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)).to("meta")
    x = torch.empty(4, 3, device="meta")
    assert measure(module, lambda: module(x), weights=[module]).weight_bytes == 4 * (3 * 3 + 3 + 3 * 2 + 2)
    with pytest.raises(ModelMeterError, match=r"reads 2 parameters, the first of shape \[2, 3\].* list their part"):
        measure(module, lambda: module(x), weights=[module[0]])


def test_a_prompt_and_its_steps() -> None:
    """Published figures of the decoder, head left out; the cache that the library really holds."""
    whole = reference()
    prefill, kv_cache = whole.prefill(whole.text_inputs(903), experts_hit=64, head="none")
    position_bytes = 12 * 2 * 10 * 128 * 2
    assert prefill.flops == 788_060_958_720
    assert (prefill.kv_bytes, kv_cache.get_seq_length()) == (903 * position_bytes, 903)
    step = whole.decode_step(kv_cache, experts_hit=6, head="none")
    assert step.flops == 872_775_680
    assert (step.kv_bytes, kv_cache.get_seq_length()) == (904 * position_bytes, 904)
    # the given cache is read while it is copied to one position more, and that is written, then read
    assert step.traffic.kv_bytes == (903 + 2 * 904) * position_bytes
    assert whole.decode_step(kv_cache, experts_hit=6).flops == 872_775_680 + 12 * 4 * 1280 + 2 * 1280 * 129_280


def test_heads() -> None:
    whole = reference(**TINY)
    none, last, all_positions = (
        whole.prefill(whole.text_inputs(7), experts_hit=8, head=head)[0].flops for head in ("none", "last", "all")
    )
    position = 2 * 1280 * 500
    assert (last - none, all_positions - none) == (position, 7 * position)
    with pytest.raises(ModelMeterError, match='head=lost is unknown; did you mean "last"'):
        whole.prefill(whole.text_inputs(7), experts_hit=8, head="lost")


def test_what_generate_does_around_the_model() -> None:
    """The figures of docs/verify.md on what is left out: the image encoded first and kept, position ids handed in."""
    whole = reference(**TINY)
    inputs = whole.inputs(PageGeometry(global_side=1024, crop_side=640, columns=2, rows=3))
    positions = inputs.token_ids.shape[1]
    input_ids = inputs.token_ids.to("meta")
    position_ids = torch.arange(positions).unsqueeze(0).to("meta")
    kept: dict[str, Any] = {}

    def as_generate() -> None:
        kept["image"] = whole.model.model.get_image_features(**inputs.images, return_dict=True)
        whole.model(
            input_ids=input_ids,
            position_ids=position_ids,
            mm_encoder_outputs=kept,
            past_key_values=DynamicCache(config=whole.config.text_config),
            logits_to_keep=1,
        )

    with values_unchecked(), LiveSet(whole.roots) as live:
        generated = measure(whole.roots, as_generate, experts_hit=8)
    plain, _ = whole.prefill(inputs, experts_hit=8)
    assert plain.io_bytes - generated.io_bytes == 24 * positions
    assert (generated.activation_peak_bytes, plain.activation_peak_bytes) == (856_948_736, 859_286_016)
    towers, tokens = (256 + 6 * 100) * 2048, 903 * 1280
    assert live.live_bytes == 2 * (towers + tokens) == 5_817_856


@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_instruments_at_once_show_what_each_shows_alone(attention: str) -> None:
    whole = reference(attention=attention, **TINY)
    inner, roots = whole.model.model, whole.roots
    ids = torch.zeros(2, 40, dtype=torch.long, device="meta")
    past = whole.prefill(whole.text_inputs(9, prompts=2), experts_hit=8)[1]
    kept = [tuple(tensor.shape) for tensor in cache_tensors(past)]

    def fresh() -> Any:
        past.crop(9 - past.get_seq_length())
        for layer in past.layers:  # a view of the grown cache would keep it alive
            layer.keys, layer.values = layer.keys.clone(), layer.values.clone()
        assert [tuple(tensor.shape) for tensor in cache_tensors(past)] == kept
        return past

    def call() -> None:
        inner(input_ids=ids, past_key_values=past, use_cache=True)

    fresh()
    together = measure(roots, call, cached=lambda: cache_tensors(past), experts_hit=5)
    fresh()
    assert together.flops == measure_flops(roots, call).total
    fresh()
    with torch.no_grad(), FusedAttention(), LiveSet(roots) as live:
        call()
    assert (together.activation_peak_bytes, together.peak_operator) == (live.peak_bytes, live.peak_operator)
    fresh()
    with torch.no_grad(), FusedAttention(), LiveSet(roots, given=cache_tensors(past)) as resident:
        call()
    assert together.resident_peak_bytes == resident.peak_bytes
    fresh()
    with torch.no_grad(), FusedAttention(), TrafficMeter(roots, kv=cache_tensors(past), experts_hit=5) as traffic:
        call()
    traffic.mark_kv(cache_tensors(past))
    assert together.traffic == traffic.total


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"attention": "eager", "num_key_value_heads": 5}, r"eager with 5 KV heads for 10 heads cannot run"),
    ({"dtype": "float32", "num_key_value_heads": 5}, r"no fused kernel takes them"),
    ({"hidden_size": 1240}, r"heads of 124 elements are no multiple of 8"),
    ({"moe_intermediate_size": 900}, r"moe_intermediate_size=900 is no multiple of 8"),
    ({"hidden_size": 1100, "num_attention_heads": 11, "num_key_value_heads": 11, "attention": "eager"}, r"hidden_size"),
]


@pytest.mark.parametrize("arguments, message", REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_measured_is_refused(arguments: dict[str, Any], message: str) -> None:
    whole = PageReference(**{**TINY, **arguments})
    with pytest.raises(ModelMeterError, match=message):
        whole.prefill(whole.text_inputs(3), experts_hit=8)


def test_a_decoder_that_transformers_does_not_take() -> None:
    with pytest.raises(ModelMeterError, match="transformers takes no such decoder"):
        PageReference(hidden_size=1000, num_attention_heads=30)


def test_parameters() -> None:
    parameters = dict(PageReference().model.named_parameters())
    assert sum(parameter.numel() for parameter in parameters.values()) == 3_335_504_128
    assert PageReference().unused_patch_convolution() == 3 * 14 * 14 * 1024
    assert {parameter.device.type for parameter in parameters.values()} == {"meta"}


def test_the_check_of_values_comes_back() -> None:
    check = modeling_unlimited_ocr.torch_compilable_check
    with pytest.raises(RuntimeError), values_unchecked():
        assert modeling_unlimited_ocr.torch_compilable_check is not check
        raise RuntimeError
    assert modeling_unlimited_ocr.torch_compilable_check is check
