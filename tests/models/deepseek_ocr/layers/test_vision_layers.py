"""SAM, CLIP and projector against transformers' modules on meta: FLOPs, peaks, traffic, operator by operator."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import DeepseekOCRModel, ImageEncoderViT, MlpProjector, VitModel
from modelmeter.models.deepseek_ocr.reference.modules import VisionReference
from modelmeter.models.deepseek_ocr.reference.plain import PlainProjector
from modelmeter.reference.flops import measure_flops
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.memory import LiveSet
from modelmeter.reference.traffic import TrafficMeter
from tests.measured.recorded import recorded
from tests.measured.series import blocks
from tests.measured.series.blocks import parts


@cache
def reference(dtype: str = "bfloat16", attention: str = "flash") -> VisionReference:
    return VisionReference(dtype=dtype, attention=attention)


@pytest.mark.parametrize("case", blocks.CASES)
def test_flops_of_every_block_equal_the_reference(case: str) -> None:
    flops = blocks.walked(*blocks.CASES[case])
    assert blocks.shown(flops) == recorded("blocks", case)
    for name in ("sam_model", "vision_model", "projector"):
        of_blocks = [each for path, each in flops.items() if path.startswith(f"{name}.")]
        assert sum(of_blocks) == flops[name] > 0


@pytest.mark.parametrize("side", blocks.SIDES)
def test_shapes_equal_the_reference(side: int) -> None:
    modules, views = reference(), 3
    with torch.no_grad():
        sam_map = modules.sam(modules.pixels(views, side)).last_hidden_state
        tokens = modules.clip(sam_map).last_hidden_state
        features = torch.cat((tokens[:, 1:], sam_map.flatten(2).transpose(1, 2)), dim=-1)
        given = (sam_map, tokens, modules.projector(features))
    shapes = [part.output_shapes() for part in parts(views, side).values()]
    assert shapes == [(tuple(each.shape),) for each in given]


FLOPS = {  # published figures, multiply-add = 2
    (1, 1024): (976_909_172_736, 161_715_683_328, 1_342_177_280),
    (6, 640): (1_953_724_760_064, 372_028_538_880, 3_145_728_000),
}


@pytest.mark.parametrize("views, side", FLOPS)
def test_published_flops(views: int, side: int) -> None:
    flops = tuple(part.forward_tensor_core_flops() for part in parts(views, side).values())
    assert flops == FLOPS[views, side]


PEAKS = {  # part, views, side, attention: bytes, bfloat16
    ("sam_model", 1, 1024, "flash"): 836_763_648,
    ("sam_model", 1, 1024, "eager"): 2_447_376_384,
    ("sam_model", 6, 640, "flash"): 855_244_800,
    ("sam_model", 6, 640, "eager"): 2_329_804_800,
    ("vision_model", 1, 1024, "flash"): 8_421_376,
    ("vision_model", 1, 1024, "eager"): 13_725_856,
}


@pytest.mark.parametrize("name, views, side, attention", PEAKS)
def test_published_peaks(name: str, views: int, side: int, attention: str) -> None:
    part = parts(views, side, attention=attention)[name]
    assert part.forward_memory_activation() == PEAKS[name, views, side, attention]


def run(part: str, views: int, side: int, dtype: str, attention: str) -> tuple[nn.Module, Any]:
    modules = reference(dtype, attention)
    if part == "sam_model":
        pixels = modules.pixels(views, side)
        return modules.sam, lambda: modules.sam(pixels)
    if part == "vision_model":
        sam_map = modules.sam_map(views, side)
        return modules.clip, lambda: modules.clip(sam_map)
    features = torch.empty(views, (-(-side // 64)) ** 2, 2048, dtype=modules.dtype, device="meta")
    return modules.projector, lambda: modules.projector(features)


@pytest.mark.parametrize("name", ["sam_model", "vision_model"])
@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_the_walk_runs_the_operators_that_the_module_runs(name: str, attention: str) -> None:
    module, call = run(name, 2, 640, "bfloat16", attention)
    with torch.no_grad(), FusedAttention(), TrafficMeter(module) as traffic:
        call()
    walked = [
        (record.aten, record.bytes_read, record.bytes_written)
        for record in parts(2, 640, attention=attention)[name].operators()
    ]
    measured = [(each.operator, each.traffic.read_bytes, each.traffic.written_bytes) for each in traffic.operators]
    assert walked == measured


def test_a_view_with_two_sides() -> None:
    modules = reference()
    for height, width in ((320, 640), (704, 448)):
        layer = ImageEncoderViT(img_size=(height, width))
        pixels = modules.pixels(1, height, width)
        assert layer.forward_tensor_core_flops() == measure_flops(modules.sam, lambda p=pixels: modules.sam(p)).total
        with torch.no_grad(), FusedAttention(), LiveSet(modules.sam) as live:
            modules.sam(pixels)
        assert layer.forward_memory_activation() == live.peak_bytes


def test_parameters_equal_the_modules() -> None:
    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    modules = reference()
    assert ImageEncoderViT().parameter_count() == count(modules.sam) == 95_569_152
    assert VitModel().parameter_count() == count(modules.clip) == 303_177_728 - 602_112
    assert MlpProjector().parameter_count() == count(modules.projector) == 2_622_720
    vision = count(modules) + 2 * 1280
    assert DeepseekOCRModel().vision_weight_bytes() == 2 * vision
    assert DeepseekOCRModel().parameter_count() == 3_335_504_128


PROJECTORS = [
    ("identity", 1, 2, 1, 36),
    ("mlp_gelu", 1, 2, 1, 36),
    ("mlp_gelu", 3, 2, 1, 36),
    ("downsample_mlp_gelu", 2, 2, 1, 36),
    ("downsample_mlp_gelu", 4, 2, 3, 49),
    ("downsample_mlp_gelu", 3, 3, 2, 64),
]


@pytest.mark.parametrize("kind, depth, ratio, mlp_ratio, tokens", PROJECTORS)
def test_projector_types_against_plain_modules(kind: str, depth: int, ratio: int, mlp_ratio: int, tokens: int) -> None:
    with torch.device("meta"):
        sizes = {"depth": depth, "mlp_ratio": mlp_ratio, "downsample_ratio": ratio}
        module = PlainProjector(kind, input_dim=24, n_embed=20, **sizes)
        x = torch.empty(3, tokens, 24)
    layer = MlpProjector(
        batch_size=3,
        num_tokens=tokens,
        projector_type=kind,
        input_dim=24,
        n_embed=20,
        dtype="float32",
        **sizes,
    )
    assert layer.output_shapes() == (tuple(module(x).shape),)
    assert layer.parameter_count() == sum(parameter.numel() for parameter in module.parameters())
    assert layer.forward_tensor_core_flops() == measure_flops(module, lambda: module(x)).total
    with torch.no_grad(), LiveSet(module) as live:
        module(x)
    assert layer.forward_memory_activation() == live.peak_bytes
    with torch.no_grad(), TrafficMeter(module) as traffic:
        module(x)
    assert layer.forward_cal_io() == traffic.total.total_bytes


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: ImageEncoderViT(img_size=1000), "img_size=1000 is no multiple of patch_size=16; .* 992 and 1008"),
        (lambda: ImageEncoderViT(img_size=(640, 5)), "img_size=5 is no multiple of patch_size=16; .* are 16"),
        (lambda: ImageEncoderViT(img_size=0), "img_size=0 is not a number of pixels"),
        (lambda: ImageEncoderViT(batch_size=0), "batch_size=0 is not a batch"),
        (lambda: ImageEncoderViT(num_heads=7), "embed_dim=768 does not divide by num_heads=7"),
        (lambda: VitModel(img_size=(640, 320)), "not a number of pixels"),
        (lambda: VitModel(num_positions=200), "not a square grid"),
        (lambda: VitModel(num_attention_heads=5), "hidden_size=1024 does not divide by num_attention_heads=5"),
        (lambda: MlpProjector(projector_type="linaer"), 'did you mean "linear"'),
        (lambda: MlpProjector(projector_type="downsample_mlp_gelu"), "depth=1 is too small"),
        (lambda: MlpProjector(num_tokens=0), "num_tokens=0"),
        (
            lambda: MlpProjector(projector_type="downsample_mlp_gelu", depth=2, num_tokens=50).walk(),
            "num_tokens=50 is no square grid",
        ),
    ],
)
def test_wrong_arguments_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        make()
