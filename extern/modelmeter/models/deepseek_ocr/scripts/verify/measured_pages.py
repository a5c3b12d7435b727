"""From a cost model's page to what the reference measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost
from modelmeter.reference.page import PageGeometry, PageReference
from modelmeter.reference.replica_page import ReplicaPageReference

REPLICA_NOTE: Final = (
    "execution=published: whole pages and stages are measured on the replica of that code "
    "(modelmeter/reference/replica.py), which gives every figure that was measured on the published files; without "
    "autocast."
)

#: by execution, the whole model that shows what it costs
WHOLE_MODELS: Final[Mapping[str, type[PageReference] | type[ReplicaPageReference]]] = {
    "transformers": PageReference,
    "published": ReplicaPageReference,
}


def check_measured(execution: str, measured: Mapping[str, object]) -> None:
    """Raise `ModelMeterError` unless an execution is one of those whose code can be measured."""
    if execution not in measured:
        raise ModelMeterError(
            f"verify: execution={execution} has no code here to measure; verify one of {', '.join(measured)}."
        )


def page_reference(cost_model: CostModel) -> Any:
    """The whole model that the cost model's configuration describes, on the meta device; all answer alike."""
    config = cost_model.config
    check_measured(config.execution.name, WHOLE_MODELS)
    whole = WHOLE_MODELS[config.execution.name]
    return whole(config.runtime.dtype, config.runtime.attention, **vars(config.decoder))


def page_geometry(cost_model: CostModel, page: PageCost) -> PageGeometry:
    """The page as the reference takes it."""
    vision = cost_model.vision_config(page.layout)
    return PageGeometry(
        pages=cost_model.config.runtime.batch_size,
        global_side=vision.global_branch.img_size,
        crop_side=0 if vision.crop_branch is None else vision.crop_branch.img_size,
        columns=page.layout.w_crop,
        rows=page.layout.h_crop,
        prompt_tokens=cost_model.prompt_tokens,
        base_size=vision.base_size,
    )
