"""The cost of pages of Qianfan-OCR: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from dataclasses import asdict

from modelmeter.models.common import cost_model as common
from modelmeter.models.qianfan_ocr.config import CONFIGURATION, PROMPT_TOKENS, ModelSchema
from modelmeter.models.qianfan_ocr.executions import EXECUTIONS
from modelmeter.models.qianfan_ocr.model import QianfanOcrModel
from modelmeter.models.qianfan_ocr.workload import Workload


class CostModel(common.CostModel[ModelSchema, Workload, QianfanOcrModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    assumed_prompt_tokens = PROMPT_TOKENS
    assumed_prompt_note = "; two of them are the markers around an image, however it is cut"

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> QianfanOcrModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, workload = self.config.vision, self.workload
        return QianfanOcrModel(
            vision={**asdict(vision), "patch_size": workload.patch_size},
            size=workload.size,
            shuffled=workload.shuffled,
            decoder=asdict(self.config.decoder),
            code=self.code,
        )


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
