"""Every line of `verify layers`: every layer class of every model, at several sizes, types and attentions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelmeter.models.deepseek_ocr.reference import layer_cases as deepseek_ocr
from modelmeter.models.deepseek_ocr2.reference import layer_cases as deepseek_ocr2
from modelmeter.models.glm_ocr.reference import layer_cases as glm_ocr
from modelmeter.models.granite_docling.reference import layer_cases as granite_docling
from modelmeter.models.hunyuan_vl.reference import layer_cases as hunyuan_vl
from modelmeter.models.idefics3.reference import layer_cases as idefics3
from modelmeter.models.lighton_ocr.reference import layer_cases as lighton_ocr
from modelmeter.models.paddleocr_vl.reference import layer_cases as paddleocr_vl
from modelmeter.models.qianfan_ocr.reference import layer_cases as qianfan_ocr
from modelmeter.models.qwen2_5_vl.reference import layer_cases as qwen2_5_vl
from modelmeter.models.qwen2_vl.reference import layer_cases as qwen2_vl
from modelmeter.models.qwen3_vl.reference import layer_cases as qwen3_vl
from modelmeter.models.unlimited_ocr.reference import layer_cases as unlimited_ocr
from modelmeter.reference.layer import LayerRun, measure_layer
from modelmeter.reference.layer_case import LayerCase
from tests.measured.account import digest

MODELS = {
    "deepseek_ocr": deepseek_ocr,
    "unlimited_ocr": unlimited_ocr,
    "deepseek_ocr2": deepseek_ocr2,
    "granite_docling": granite_docling,
    "idefics3": idefics3,
    "lighton_ocr": lighton_ocr,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen2_vl": qwen2_vl,
    "qwen3_vl": qwen3_vl,
    "glm_ocr": glm_ocr,
    "hunyuan_vl": hunyuan_vl,
    "qianfan_ocr": qianfan_ocr,
    "paddleocr_vl": paddleocr_vl,
}


def lines() -> Iterator[tuple[str, LayerCase]]:
    """By model and execution."""
    for model in MODELS:
        yield from lines_of(model)


def lines_of(model: str) -> Iterator[tuple[str, LayerCase]]:
    """A model's, by execution."""
    verification = MODELS[model].verification()
    for execution in verification.executions:
        for case in verification.cases(execution):
            yield f"{model} {execution} {case}", case


CASES = dict(lines())


def measure(case: LayerCase) -> dict[str, Any]:
    """What the real module does."""
    return shown(case, measure_layer(case.prepare(), case.experts_hit))


def shown(case: LayerCase, run: LayerRun) -> dict[str, Any]:
    """A run as it is stored: its figures, and digests of what it was given and of all that it ran."""
    return {
        "given": digest([(case.inputs, case.experts_hit, case.outputs)]),
        "flops": run.flops,
        "traffic_bytes": run.traffic_bytes,
        "peak_bytes": run.peak_bytes,
        "peak_operator": run.peak_operator,
        "shapes": [list(shape) for shape in run.shapes],
        "operators": digest(
            (each.operator, each.elements, each.read_bytes, each.written_bytes, each.live_bytes)
            for each in run.operators
        ),
    }
