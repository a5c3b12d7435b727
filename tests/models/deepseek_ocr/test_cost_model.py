"""load_cost_model: configuration, pages, stages; and that none of it needs torch."""

import inspect
import json
import operator
import subprocess
import sys
from dataclasses import asdict, replace
from fractions import Fraction
from functools import reduce
from typing import Any

import pytest

from benchmarks.walked import walked_operators
from modelmeter.errors import ModelMeterError
from modelmeter.models.common import StageCost
from modelmeter.models.common.configuration import CheckpointSchema
from modelmeter.models.deepseek_ocr import ImageEncoderViT, MlpProjector, VitModel, load_cost_model
from modelmeter.models.deepseek_ocr.config import CONFIGURATION, ModelSchema, VisionSchema
from modelmeter.models.deepseek_ocr.vision_workload import MODES
from modelmeter.walk import Walk
from tests.models.walked import walked_prefill


def test_a_page_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, modelmeter; from modelmeter.models.deepseek_ocr import load_cost_model;"
        "load_cost_model().page(1275, 1650);"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_letter_page_in_gundam_mode() -> None:
    page = load_cost_model().page(1275, 1650)
    assert page.layout == (7, 2, 3)
    assert page.tokens.total == 17 * 16 + 1 + (20 + 1) * 30
    sam = 976_909_172_736 + 1_953_724_760_064
    clip = 161_715_683_328 + 372_028_538_880
    projector = 1_342_177_280 + 3_145_728_000
    assert page.vision.tensor_core_flops == sam + clip + projector


def test_flops_are_linear_in_the_crops() -> None:
    model = load_cost_model()
    one_pass = model.page(600, 600).vision
    page = model.page(1275, 1650).vision
    crop = sum(
        model.part(name, batch_size=1, **size).forward_tensor_core_flops()
        for name, size in (
            ("image_encoder_vit", {"img_size": 640}),
            ("vit_model", {"img_size": 640}),
            ("mlp_projector", {"num_tokens": 100}),
        )
    )
    assert page.tensor_core_flops == one_pass.tensor_core_flops + 6 * crop


@pytest.mark.parametrize("mode", MODES)
def test_named_modes(mode: str) -> None:
    model = load_cost_model([f"workload={mode}"])
    assert model.workload == MODES[mode]
    assert model.page(1275, 1650).vision.tensor_core_flops > 0


def test_without_crops_one_view_of_image_size() -> None:
    model = load_cost_model(["workload=base", "workload.base_size=1024", "workload.image_size=640"])
    page = model.page(1275, 1650)
    assert (page.layout.num_views_total, page.tokens.total) == (1, 111)
    vision = model.vision_config(page.layout)
    branch = vision.global_branch
    assert (branch.batch_size, branch.img_size, branch.seq_len, branch.num_tokens) == (1, 640, 101, 100)
    assert vision.crop_branch is None


def test_layers_and_the_operators_between_them_sum_to_the_stage() -> None:
    model = load_cost_model()
    page = model.page(1275, 1650)
    layers = model.vision_layers(page.layout)
    assert [cost.path for cost in layers if cost.layer] == [
        f"{branch}.{part}" for branch in ("global", "crops") for part in ("sam_model", "vision_model", "projector")
    ]
    assert sum(cost.walk.tensor_core_flops for cost in layers) == page.vision.tensor_core_flops
    assert sum(cost.walk.cuda_core_flops for cost in layers) == page.vision.cuda_core_flops
    assert sum(cost.walk.bytes_read + cost.walk.bytes_written for cost in layers) == page.vision.io_bytes


def test_a_batch_is_the_total_of_its_pages() -> None:
    one = load_cost_model().page(1275, 1650).vision
    four = load_cost_model(["runtime.batch_size=4"]).page(1275, 1650).vision
    assert four.tensor_core_flops == 4 * one.tensor_core_flops
    assert four.weight_bytes == one.weight_bytes


def test_a_layout_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_cost_model()
    first = model.page(1275, 1650)
    for walk in ("vision_walk", "prefill_walk", "decode_walk"):
        monkeypatch.setattr(type(model.model), walk, None)
    assert model.page(1200, 1600) == first


def test_part_peaks() -> None:
    model = load_cost_model()
    assert model.part_peak("image_encoder_vit", batch_size=1, img_size=1024) == 836_763_648
    assert model.part_peak("vit_model", batch_size=1, img_size=1024) == 8_421_376
    # the projector makes its output and nothing else
    assert model.part_peak("decoder_prefill", seq_len=913) == 149_032_241
    assert model.part_peak("mlp_projector", batch_size=2, num_tokens=100) == 2 * 100 * 1280 * 2


def test_decode_in_closed_form_is_the_sum_of_its_steps() -> None:
    model = load_cost_model()
    page = model.page(1275, 1650, output_tokens=50)
    assert page.decode == reduce(operator.add, [model.step(913 + index) for index in range(50)])
    assert page.decode.kv_added_bytes == 50 * 12 * 2 * 10 * 128 * 2
    assert page.prefill.kv_bytes == page.prefill.kv_added_bytes == 913 * 12 * 2 * 10 * 128 * 2
    assert page.total.kv_bytes == 963 * 12 * 2 * 10 * 128 * 2
    assert page.prefill.weight_bytes == 2 * 3_335_504_128


def test_prefill_is_vision_decoder_and_head() -> None:
    page = load_cost_model().page(1275, 1650)
    head = 2 * 1280 * 129_280
    assert page.prefill.tensor_core_flops == page.vision.tensor_core_flops + 797_349_048_320 + head
    everywhere = load_cost_model(["runtime.head=all"]).page(1275, 1650)
    assert everywhere.prefill.tensor_core_flops - page.prefill.tensor_core_flops == 912 * head
    assert load_cost_model().text(903).prefill.tensor_core_flops == 788_060_958_720 + head


def test_a_page_without_output_holds_its_prefills_cache() -> None:
    page = load_cost_model().page(1275, 1650)
    assert page.decode.tensor_core_flops == 0
    assert page.total.kv_bytes == page.prefill.kv_bytes


def test_a_stages_walk_holds_its_figures() -> None:
    model = load_cost_model(["workload=small"])
    page = model.page(1275, 1650, 3)
    text = model.text(5, 3)
    for walk, stage in (
        (model.stage_walk("vision", page=page), page.vision),
        (model.stage_walk("prefill", page=page), page.prefill),
        (model.stage_walk("prefill", page=text), text.prefill),
        (model.stage_walk("decode", context=7), model.step(7)),
    ):
        assert walk.tensor_core_flops == stage.tensor_core_flops
        assert walk.bytes_read + walk.bytes_written == stage.io_bytes


def test_a_model_of_more_pages_shares_the_layers_and_nothing_else() -> None:
    one = load_cost_model(["workload=small"])
    three = one.batched(3)
    assert (one.batch_size, three.batch_size, three.model is one.model) == (1, 3, True)
    assert three.page(1275, 1650, 2) == load_cost_model(["workload=small", "runtime.batch_size=3"]).page(1275, 1650, 2)
    assert one.step(9) == load_cost_model().step(9)
    # the walk of three pages from the cost of one
    page = one.page(1275, 1650)
    assert three.stage_walk("prefill", page=page).tensor_core_flops == 3 * page.prefill.tensor_core_flops


def test_a_prefill_hits_the_experts_of_all_its_pages() -> None:
    eight = load_cost_model(["runtime.batch_size=8"])
    declared = load_cost_model(["runtime.batch_size=8", f"runtime.experts_hit={8 * 6}"])
    assert eight.text(1).prefill == declared.text(1).prefill
    assert eight.text(2).prefill != declared.text(2).prefill


@pytest.mark.parametrize(
    "ask, text",
    [
        (lambda model: model.stage_walk("decoed"), 'stage decoed is unknown; did you mean "decode"'),
        (lambda model: model.stage_walk("prefill"), "the prefill stage is that of a page"),
        (lambda model: model.stage_walk("vision", page=model.text(5)), "the vision stage is that of a page"),
        (lambda model: model.batched(0), "batch_size=0"),
    ],
)
def test_walks_that_do_not_exist_are_refused(ask: Any, text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        ask(load_cost_model())


def test_experts_hit() -> None:
    for declared, hit in (("max", 64), ("9", 9)):
        assert load_cost_model([f"runtime.experts_hit={declared}"]).experts_hit(100) == hit
    for tokens, hit in ((1, 6), (2, 12), (10, 60), (11, 64)):  # 6 each, until all 64 are hit
        assert load_cost_model().experts_hit(tokens) == hit
    assert load_cost_model(["runtime.experts_hit=9"]).experts_hit(1) == 6
    uniform = load_cost_model(["runtime.experts_hit=uniform"])
    assert uniform.experts_hit(1) == 6
    assert uniform.experts_hit(2) == 64 * (1 - Fraction(58, 64) ** 2)
    # a token misses an expert with a chance of 58 / 64; to the power of 901 that is above 2 ** -128, of 902 below
    assert Fraction(58, 64) ** 901 > Fraction(1, 2**128) > Fraction(58, 64) ** 902
    assert uniform.experts_hit(901) == 64 * (1 - Fraction(58, 64) ** 901)
    assert uniform.experts_hit(902) == 64


def test_prompts_in_which_all_experts_are_hit_share_a_law() -> None:
    model = load_cost_model(["runtime.experts_hit=uniform", "decoder.num_hidden_layers=2"])
    model.text(902)
    with walked_operators() as names:
        longer = model.text(5000)
    assert names == []
    assert longer.prefill == walked_prefill(model, 5000, None)
    with walked_operators() as names:
        model.text(901)
    assert names


@pytest.mark.parametrize(
    "ask, text",
    [
        (lambda model: model.page(1275, 1650, output_tokens=-1), "output_tokens=-1 is no number of tokens"),
        (lambda model: model.page(1275, 1650, output_tokens=7280), "output_tokens may be up to 7279"),
        (lambda model: model.text(9000), "take a smaller page or mode, or a shorter prompt"),
        (lambda model: model.text(0), "nothing to prefill"),
        (lambda model: model.part_peak("decoder_prefill", seq_len=-3), "seq_len=-3"),
    ],
)
def test_impossible_lengths_are_refused(ask: Any, text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        ask(load_cost_model())


def test_the_file_of_the_vision_group_holds_the_layers_defaults() -> None:
    config = CONFIGURATION.compose([]).vision
    assert config == VisionSchema()
    for layer, group in ((ImageEncoderViT, config.sam), (VitModel, config.clip), (MlpProjector, config.projector)):
        parameters = inspect.signature(layer).parameters
        for name, value in asdict(group).items():
            default = parameters[name].default
            assert (list(default) if isinstance(default, tuple) else default) == value, name


def test_the_defaults_are_the_published_ones() -> None:
    assert replace(CONFIGURATION.compose([]), checkpoint=CheckpointSchema()) == ModelSchema()


BAD = [
    ("model.vision_workload_multiplier=4", r"config key model\.vision_workload_multiplier does not exist"),
    ("workload.base_szie=1024", 'did you mean "workload.base_size"'),
    ("workload=gundem", 'there is no such workload; did you mean "gundam"'),
    ("workload=zzz", "the options are tiny, small, base, large, gundam, gundam_m"),
    ("execution=servin", 'there is no such execution; did you mean "serving"'),
    ("workload.base_size=abc", r"config: workload\.base_size='abc' is no whole number; give one from 1 to 1,048,576"),
    ("workload.base_size=1000", r"base_size=1000 is no multiple of patch_size=16 .* 992 and 1008"),
    ("workload.min_num=12", "min_num=12"),
    ("runtime.dtype=int8", "dtype=int8 is unknown; the options are bfloat16, float16, float32"),
    ("runtime.attention=flush", 'did you mean "flash"'),
    ("runtime.batch_size=0", "runtime.batch_size=0 is too small; give 1 or more"),
    ("workload.patch_size=32", r"workload\.patch_size=32 differs from vision\.sam\.patch_size=16"),
    ("workload.downsample_ratio=2", "one token of 4 x 4 patches"),
    ("runtime.experts_hit=3", "neither max nor uniform nor a number of experts from 6"),
    ("runtime.prompt=hello", "a prompt needs a tokenizer"),
    ("runtime.head=first", "head=first is unknown; the options are last, all, none"),
    ("decoder.num_key_value_heads=3", "may be 1, 2, 5, 10"),
    ("decoder.num_experts_per_tok=65", "num_experts_per_tok=65 is more than n_routed_experts=64"),
    ("decoder.num_hidden_layers=0", r"decoder\.num_hidden_layers=0 is too small; give 1 or more"),
    ("decoder.num_attention_heads=0", r"decoder\.num_attention_heads=0 is too small"),
    ("decoder.num_key_value_heads=-1", r"decoder\.num_key_value_heads=-1 is too small"),
    ("decoder.first_k_dense_replace=-1", r"decoder\.first_k_dense_replace=-1 is too small; give 0 or more"),
    ("decoder.num_attention_heads=1280", r"makes heads of 1 elements; the rotary embedding takes even ones"),
    ("decoder.rope_theta=3", r"config key decoder\.rope_theta does not exist"),
    ("+workload.scale=3", "adds a key; the configuration is closed"),
    ("gundam", "has no value"),
]


@pytest.mark.parametrize("override, text", BAD)
def test_wrong_overrides_are_refused(override: str, text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        load_cost_model([override])


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ModelMeterError, match='part vit_modle is unknown; did you mean "vit_model"'):
        load_cost_model().part_peak("vit_modle", batch_size=1, img_size=640)


@pytest.mark.parametrize("size", [{}, {"seq_len": 0}, {"seq_len": True}, {"seq_len": 5, "batch_size": 2}])
def test_a_decoder_part_wants_its_length(size: dict[str, int]) -> None:
    with pytest.raises(ModelMeterError, match=r"decoder_prefill got .* give seq_len"):
        load_cost_model().part_peak("decoder_prefill", **size)


@pytest.mark.parametrize("output_tokens", [True, -1, 1.0, [3], "3"])
def test_output_tokens_that_are_no_number_are_refused(output_tokens: Any) -> None:
    model = load_cost_model()
    model.page(1275, 1650, 1)
    with pytest.raises(ModelMeterError, match=r"output_tokens=.* is no number of tokens"):
        model.page(1275, 1650, output_tokens)


def walk(**figures: int) -> Walk:
    names = dict.fromkeys(Walk._fields, 0) | {"entries": (), "peak_path": "a", "peak_operator": "b"}
    return Walk(**(names | figures))  # type: ignore[arg-type]


def test_stage_costs_add_and_peak() -> None:
    early = StageCost.of_walk(walk(tensor_core_flops=5, bytes_read=7, bytes_written=2, peak_bytes=9), weight_bytes=40)
    late = StageCost.of_walk(
        walk(tensor_core_flops=1, bytes_read=8, weight_bytes=3, kv_bytes=1, peak_bytes=4, resident_peak_bytes=6),
        weight_bytes=100,
        kv_bytes=30,
        kv_added_bytes=10,
    )
    both = early + late
    assert (both.tensor_core_flops, both.io_bytes, both.io_weight_bytes, both.io_kv_bytes) == (6, 17, 3, 1)
    assert (both.weight_bytes, both.activation_peak_bytes, both.resident_peak_bytes) == (100, 9, 6)
    assert (both.kv_bytes, both.kv_added_bytes) == (30, 10)
    assert both.io_tb == 17 * 8 / 1e12


def test_json_keeps_every_digit() -> None:
    cost = StageCost(tensor_core_flops=2**53 + 1, io_weight_bytes=12, peak_path="x.y")
    text = cost.to_json()
    values: dict[str, Any] = json.loads(text)
    assert (values["tensor_core_flops"], values["io_weight_bytes"]) == (str(2**53 + 1), 12)
    assert StageCost.from_json(text) == cost
    with pytest.raises(ModelMeterError, match="StageCost: tensor_core_flops is missing; it was not written by to_json"):
        StageCost.from_json("{}")
