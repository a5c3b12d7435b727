"""The layer cases of every model: each class has a line or is excused, and a wrong layer is seen in one."""

from pathlib import Path
from typing import Any

import pytest

from modelmeter.layers import BaseLayer
from modelmeter.layers.vision import packed
from modelmeter.layers.vision.packed_siglip import SiglipAttention
from modelmeter.models import MODELS
from modelmeter.models.deepseek_ocr2.layers import vision as deepseek_ocr2
from modelmeter.models.qianfan_ocr.layers import vision as qianfan_ocr
from modelmeter.models.qwen2_vl import model as qwen2_vl
from modelmeter.operators import cat, gelu, mul, silu
from modelmeter.programs.verify.layers import excuses, walk_layer
from modelmeter.shape_tensor import ShapeTensor
from tests.measured import recorded
from tests.measured.series import layers

PAGE = (Path(__file__).parents[2] / "docs/verify-layers.md").read_text(encoding="utf-8")


def test_every_model_has_them() -> None:
    assert layers.MODELS.keys() == MODELS.keys()


@pytest.mark.parametrize("model", layers.MODELS)
def test_every_class_has_a_case_or_an_excuse(model: str) -> None:
    verification = layers.MODELS[model].verification()
    named = {each.__name__ for each in verification.classes()}
    for execution in verification.executions:
        excused = excuses(verification, execution).keys()
        verified = {case.name for case in verification.cases(execution)}
        assert verified | excused == named and not verified & excused


@pytest.mark.parametrize("model", layers.MODELS)
def test_an_excuse_is_a_class_without_operators(model: str) -> None:
    verification = layers.MODELS[model].verification()
    for each in verification.classes():
        assert (each.forward is BaseLayer.forward) == (each.__name__ in verification.stateless)


@pytest.mark.parametrize("model", layers.MODELS)
def test_the_page_counts_the_lines_of_a_whole_run(model: str) -> None:
    verification = layers.MODELS[model].verification()
    classes = len(verification.classes())
    for execution in verification.executions:
        lines, excused = len(list(verification.cases(execution))), len(excuses(verification, execution))
        assert f"{classes - excused} of {classes} layer classes verified, {excused} excused, {lines} lines" in PAGE


def joined_and_dropped(parts: Any, dimension: int) -> ShapeTensor:
    """Tensors concatenated; a list of them is held no longer."""
    joined = cat(parts, dimension)
    if isinstance(parts, list):
        parts.clear()
    return joined


def attended_without_weights(self: SiglipAttention, *inputs: Any) -> tuple[ShapeTensor, None]:
    """What SigLIP's attention gives, whose weights die with it."""
    return ATTENDED(self, *inputs)[0], None


ATTENDED = SiglipAttention.forward
WRONG = {  # what is wrong: model, layer, where
    "weights that a block does not hold": (
        "paddleocr_vl",
        "SiglipEncoderLayer",
        (SiglipAttention, "forward", attended_without_weights),
    ),
    "what attention gave dropped before its end": (
        "qwen2_5_vl",
        "PackedAttention",
        (packed, "cat", joined_and_dropped),
    ),
    "another activation in the merger": ("qwen2_5_vl", "Gelu", (packed, "gelu", silu)),
    "another activation in the blocks": ("qwen2_vl", "QuickGelu", (qwen2_vl, "quick_gelu", gelu)),
    "a mask of truth values all the same": (
        "deepseek_ocr2",
        "Qwen2Encoder",
        (deepseek_ocr2, "additive", lambda x, _: x),
    ),
    "one scale for all channels": ("qianfan_ocr", "VisionLayer", (qianfan_ocr, "scaled", lambda _, x: mul(x))),
    "the queries of another side": (
        "deepseek_ocr2",
        "QueryEncoder",
        (deepseek_ocr2.QueryEncoder, "queries", lambda self, _: self.query_1024),
    ),
}


@pytest.mark.parametrize(("model", "name", "mutation"), WRONG.values(), ids=WRONG)
def test_a_wrong_layer_is_seen(
    model: str, name: str, mutation: tuple[object, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong() -> list[str]:
        lines = [(key, case) for key, case in layers.lines_of(model) if case.name == name]
        return [key for key, case in lines if layers.shown(case, walk_layer(case)) != recorded.recorded("layers", key)]

    assert wrong() == []
    monkeypatch.setattr(*mutation)
    assert wrong()
