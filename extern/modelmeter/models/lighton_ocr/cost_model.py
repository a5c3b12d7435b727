"""The cost of pages of LightOnOCR: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from modelmeter.models.common import cost_model as common
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.configuration import PROMPT_TOKENS
from modelmeter.models.lighton_ocr.config import CONFIGURATION, ModelSchema
from modelmeter.models.lighton_ocr.executions import EXECUTIONS
from modelmeter.models.lighton_ocr.model import LightOnOcrModel
from modelmeter.models.lighton_ocr.workload import Workload

#: vllm/model_executor/models/lightonocr.py takes `PixtralProcessor` (mistral3.py, Mistral3ProcessingInfo)
WHOLE_PATCHES: Final = Assumption(
    figure="layout",
    label="whole patches; vLLM whole squares",
    text="sides are filled up to whole patches, as transformers' processor of this model does; vLLM's fills them up to "
    "whole squares of patches: workload=squares counts as it does",
)


class CostModel(common.CostModel[ModelSchema, Workload, LightOnOcrModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    assumed_prompt_tokens = PROMPT_TOKENS
    assumed_prompt_note = "; the published chat template has some 12 around an image"

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> LightOnOcrModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        workload = self.workload
        max_side = workload.layout(workload.longest_edge, workload.longest_edge).columns
        vision = {**asdict(self.config.vision), "patch_size": workload.patch_size, "max_side": max_side}
        return LightOnOcrModel(
            vision=vision,
            spatial_merge_size=workload.spatial_merge_size,
            decoder=asdict(self.config.decoder),
            code=self.code,
        )

    def own_assumptions(self) -> Sequence[Assumption]:
        """That vLLM fills pages up otherwise, where it does."""
        vllm = self.config.execution.name == "vllm"
        return (WHOLE_PATCHES,) if vllm and not self.workload.whole_squares else ()


def load_cost_model(overrides: Sequence[str] = ()) -> CostModel:
    """Compose the configuration with Hydra overrides, once, and build the model.

    >>> load_cost_model().page(1275, 1650).tokens.total
    2310
    """
    return CostModel(CONFIGURATION.compose(overrides))


def restore_cost_model(configuration: Mapping[str, Any], *, prompt_tokens: int) -> CostModel:
    """The model of a configuration as a result states it, and of the prompt tokens that were counted for it."""
    return CostModel(CONFIGURATION.read(configuration), counted=prompt_tokens)
