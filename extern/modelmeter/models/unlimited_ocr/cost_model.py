"""The cost of pages of Unlimited-OCR: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from modelmeter.models.common import cost_model as common
from modelmeter.models.common.deep_encoder_config import check_encoder, check_heads, check_patches
from modelmeter.models.unlimited_ocr.config import CONFIGURATION, ModelSchema
from modelmeter.models.unlimited_ocr.executions import EXECUTIONS
from modelmeter.models.unlimited_ocr.model import UnlimitedOcrModel
from modelmeter.models.unlimited_ocr.workload import Workload


class CostModel(common.CostModel[ModelSchema, Workload, UnlimitedOcrModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> UnlimitedOcrModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, decoder = self.config.vision, self.config.decoder
        check_patches(self.workload, vision.sam)
        check_heads(decoder.hidden_size, decoder.num_attention_heads)
        check_encoder(vision.sam, vision.clip)
        return UnlimitedOcrModel(**asdict(vision), decoder=asdict(decoder), code=self.code)


def load_cost_model(overrides: Sequence[str] = ()) -> CostModel:
    """Compose the configuration with Hydra overrides, once, and build the model.

    >>> load_cost_model().page(1275, 1650).tokens.total
    1513
    """
    return CostModel(CONFIGURATION.compose(overrides))


def restore_cost_model(configuration: Mapping[str, Any], *, prompt_tokens: int) -> CostModel:
    """The model of a configuration as a result states it, and of the prompt tokens that were counted for it."""
    return CostModel(CONFIGURATION.read(configuration), counted=prompt_tokens)
