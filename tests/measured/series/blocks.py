"""FLOPs of the vision part of DeepSeek-OCR over views: of SAM, CLIP and projector, and of every block of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from modelmeter.models.common.reference.deep_encoder_names import transformers_paths
from modelmeter.models.deepseek_ocr import ImageEncoderViT, MlpProjector, VitModel
from modelmeter.models.deepseek_ocr.reference.modules import VisionReference
from modelmeter.reference.comparison import block_flops
from modelmeter.reference.flops import measure_flops
from modelmeter.reference.fused_attention import FusedAttention
from tests.measured.account import digest

SIDES = (320, 448, 512, 640, 656, 720, 768, 896, 1024, 1280)
CASES = {f"{views} x {side}": (views, side) for side in SIDES for views in range(1, 10)}

reference = cache(VisionReference)


def parts(views: int, side: int, **common: Any) -> dict[str, Any]:
    """Ours, by their published names."""
    grid = -(-side // 64)
    return {
        "sam_model": ImageEncoderViT(batch_size=views, img_size=side, **common),
        "vision_model": VitModel(batch_size=views, img_size=side, **common),
        "projector": MlpProjector(batch_size=views, num_tokens=grid**2, **common),
    }


def walked(views: int, side: int) -> dict[str, int]:
    """FLOPs of every part and of every block of it, by our walks."""
    flops = {}
    for name, part in parts(views, side).items():
        walk = part.walk()
        flops[name] = walk.tensor_core_flops
        flops |= {f"{name}.{path}": each for path, each in block_flops(walk).items()}
    return flops


@cache
def paths() -> tuple[str, ...]:
    """Every part and block; they are the same at any size."""
    return tuple(walked(1, 640))


def measure(case: tuple[int, int]) -> Mapping[str, Any]:
    """What the real modules do."""
    modules = reference()
    with FusedAttention():
        count = measure_flops(modules, partial(modules, modules.pixels(*case)))
    return shown({path: sum(count.by_module[each] for each in transformers_paths(path)) for path in paths()})


def shown(flops: Mapping[str, int]) -> Mapping[str, Any]:
    """As it is stored: the parts, and a digest of all."""
    return {**{name: flops[name] for name in flops if "." not in name}, "all": digest(sorted(flops.items()))}
