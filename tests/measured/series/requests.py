"""Requests of every model as transformers runs them: several pages in one prompt, and prefills over a given cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from modelmeter import load_cost_model
from modelmeter.models.deepseek_ocr.reference.whole import DeepseekOcrWhole
from modelmeter.models.deepseek_ocr2.reference.whole import DeepseekOcr2Whole
from modelmeter.models.glm_ocr.reference.whole import GlmOcrWhole
from modelmeter.models.granite_docling.reference.whole import GraniteDoclingWhole
from modelmeter.models.hunyuan_vl.reference.whole import HunYuanWhole
from modelmeter.models.idefics3.reference.whole import Idefics3Whole
from modelmeter.models.lighton_ocr.reference.whole import LightOnOcrWhole
from modelmeter.models.paddleocr_vl.reference.whole import PaddleOCRVLWhole
from modelmeter.models.qianfan_ocr.reference.whole import QianfanOcrWhole
from modelmeter.models.qwen2_5_vl.reference.whole import Qwen2_5VLWhole
from modelmeter.models.qwen2_vl.reference.whole import Qwen2VLWhole
from modelmeter.models.qwen3_vl.reference.whole import Qwen3VLWhole
from modelmeter.models.unlimited_ocr.reference.whole import UnlimitedOcrWhole
from modelmeter.reference.whole_page import Whole
from modelmeter.reference.whole_request import WholeRequest
from tests.measured.account import stage_of as account_of
from tests.measured.measuring import stage_of
from tests.models.granite_docling.small import OVERRIDES as GRANITE_SMALL
from tests.models.idefics3.small import OVERRIDES as IDEFICS3_SMALL
from tests.models.lighton_ocr.small import OVERRIDES as LIGHTON_SMALL
from tests.models.qianfan_ocr.small import OVERRIDES as QIANFAN_SMALL

Stages = dict[str, dict[str, Any]]

#: few layers of a model that has no small one
FEW = ("decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
DEEPSEEK_SMALL = (*FEW, "workload.base_size=512", "workload.image_size=320")
QWEN2_5_SMALL = (*FEW, "vision.depth=2", "vision.fullatt_block_indexes=[1]", "decoder.intermediate_size=1100")
QWEN3_SMALL = (*FEW, "vision.depth=3", "vision.deepstack_visual_indexes=[0,1]", "decoder.intermediate_size=1100")

#: by model, the real one, the overrides of a small one, and the layout of its pages
MODELS: Mapping[str, tuple[type[Whole], tuple[str, ...], tuple[Any, ...]]] = {
    "deepseek_ocr": (DeepseekOcrWhole, DEEPSEEK_SMALL, (3, 1, 2)),
    "deepseek_ocr2": (DeepseekOcr2Whole, FEW, (2, 2, 1)),
    "unlimited_ocr": (UnlimitedOcrWhole, FEW, (2, 2, 1)),
    "lighton_ocr": (LightOnOcrWhole, tuple(LIGHTON_SMALL), (5, 7)),
    "qwen2_vl": (Qwen2VLWhole, (*FEW, "vision.depth=2"), (5, 7)),
    "qwen2_5_vl": (Qwen2_5VLWhole, QWEN2_5_SMALL, (5, 6)),
    "qwen3_vl": (Qwen3VLWhole, QWEN3_SMALL, (5, 7)),
    "paddleocr_vl": (PaddleOCRVLWhole, FEW, (5, 7)),
    "glm_ocr": (GlmOcrWhole, (*FEW, "vision.depth=2"), (5, 7)),
    "hunyuan_vl": (HunYuanWhole, FEW, (5, 7)),
    "qianfan_ocr": (QianfanOcrWhole, QIANFAN_SMALL, (2, 2, 1)),
    "idefics3": (Idefics3Whole, tuple(IDEFICS3_SMALL), (2, 2, 1)),
    "granite_docling": (GraniteDoclingWhole, tuple(GRANITE_SMALL), (2, 2, 1)),
}

#: the tokens of a system prompt of which the first ones are cached; a window's decoder goes on with no cache
SYSTEM, CACHED = 40, (32, 33)
WINDOWED = ("unlimited_ocr",)


@dataclass(frozen=True)
class Case:
    """A small model, and what `runtime` says of its requests."""

    model: str
    runtime: tuple[str, ...]

    @property
    def cached(self) -> tuple[int, ...]:
        """The positions of the prompt that a cache holds before it, prefill by prefill."""
        return (0,) if self.model in WINDOWED else (0, *CACHED)

    def cost_model(self) -> Any:
        """Ours."""
        _, small, _ = MODELS[self.model]
        keys = (*self.runtime, f"system_prompt_tokens={SYSTEM}", "prompt_tokens=7")
        return load_cost_model([*small, *(f"runtime.{key}" for key in keys)], model=self.model)


RUNTIMES = (
    ("pages_per_request=1",),
    ("pages_per_request=3",),
    ("pages_per_request=2", "batch_size=2", "attention=eager"),
    ("pages_per_request=2", "batch_size=2", "dtype=float32"),
)
CASES = {f"{model} {' '.join(runtime)}": Case(model, runtime) for model in MODELS for runtime in RUNTIMES}


def walked(case: Case) -> Stages:
    """What the cost model says of every stage."""
    model = case.cost_model()
    _, _, layout = MODELS[case.model]
    page = model.layout_cost(model.workload.layout_of(layout), 1)
    stages = {"vision": account_of(page.vision, model.stage_walk("vision", page=page))}
    for cached in case.cached:
        walk = model.stage_walk("prefill", page=page, cached=cached)
        stages[f"prefill over {cached}"] = account_of(model.prefill_over_cache(page, cached), walk, page.seq_len)
    stages["step"] = account_of(page.decode, model.stage_walk("decode", context=page.seq_len), page.seq_len + 1)
    return stages


def measure(case: Case) -> Stages:
    """What the real modules do in every stage."""
    model = case.cost_model()
    make, _, fields = MODELS[case.model]
    layout = model.workload.layout_of(fields)
    requests = WholeRequest(model, make(model))
    return dict(_measured(model, requests, layout, case.cached))


def _measured(
    model: Any, requests: WholeRequest, layout: Any, cached: tuple[int, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    requests.check()
    place, seq_len = partial(requests.place, layout=layout), model.seq_len(layout)
    yield "vision", stage_of(requests.vision(requests.inputs(layout)), place)
    for before in cached:
        hit = int(model.experts_hit(model.batch_size * (seq_len - before)))
        inputs = requests.inputs(layout, before)
        measured, cache = requests.prefill(inputs, experts_hit=hit, head=model.head, cached=before)
        yield f"prefill over {before}", {"seq_len": requests.positions(cache), **stage_of(measured, place)}
    step = requests.decode_step(cache, experts_hit=int(model.experts_hit(model.batch_size)), head=model.head)
    yield "step", {"seq_len": requests.positions(cache), **stage_of(step, place)}
