"""Times that a roofline of known rates takes, and a model small enough to run."""

from fractions import Fraction
from functools import partial
from typing import Any

import pytest

from modelmeter.calibration.fit import TimedCopy, TimedProduct

#: FLOPs a second that products reach, bytes a second, seconds an operator
RATES = {"bf16": Fraction(3 * 10**12, 7), "fp32": Fraction(10**11, 3)}
BANDWIDTH = Fraction(10**11, 13)
LAUNCH_S = Fraction(1, 190_001)


def seconds(peak: str, flops: int, nbytes: int) -> Fraction:
    return max(flops / RATES[peak], nbytes / BANDWIDTH) + LAUNCH_S


def product(name: str, flops: int, nbytes: int, count: int, peak: str = "bf16") -> TimedProduct:
    taken = seconds(peak, flops, nbytes)
    return TimedProduct(name=name, peak=peak, flops=flops, nbytes=nbytes, count=count, seconds=taken)


PRODUCTS = [
    product("large", 10**11, 10**6, 3),
    product("larger", 7 * 10**11, 10**6, 5),
    product("of bytes", 10**6, 10**9, 11),
    product("of nothing", 10, 10, 100),
    product("float32", 10**10, 10**6, 0, "fp32"),
]
COPIES = [TimedCopy(nbytes=size, seconds=size / BANDWIDTH + LAUNCH_S) for size in (512, 2048, 10**9, 3 * 10**9)]

SMALL = [
    "workload=tiny",
    "workload.image_size=64",
    "vision.projector.n_embed=64",
    "decoder.hidden_size=64",
    "decoder.intermediate_size=96",
    "decoder.moe_intermediate_size=32",
    "decoder.num_hidden_layers=2",
    "decoder.num_attention_heads=2",
    "decoder.num_key_value_heads=2",
    "decoder.n_routed_experts=4",
    "decoder.num_experts_per_tok=2",
    "decoder.vocab_size=1000",
]


def shrink_vision(patch: pytest.MonkeyPatch) -> None:
    """Let the real model have one layer in each vision encoder: it is built in a second."""
    from modelmeter.models.deepseek_ocr.reference import real_page

    vision: dict[str, Any] = {
        "encoder_config": {"num_hidden_layers": 1},
        "sam_config": {"num_hidden_layers": 1, "global_attn_indexes": [0]},
    }
    patch.setattr(real_page, "UnlimitedOcrConfig", partial(real_page.UnlimitedOcrConfig, vision_config=vision))
