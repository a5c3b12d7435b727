"""The cost of pages of DeepSeek-OCR-2: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from dataclasses import asdict

from modelmeter.errors import ModelMeterError
from modelmeter.models.common import cost_model as common
from modelmeter.models.common.configuration import PROMPT_TOKENS
from modelmeter.models.common.deep_encoder_config import check_heads, check_patches, check_sam
from modelmeter.models.deepseek_ocr2.config import CONFIGURATION, ModelSchema
from modelmeter.models.deepseek_ocr2.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr2.model import DeepseekOcr2Model
from modelmeter.models.deepseek_ocr2.workload import Workload


class CostModel(common.CostModel[ModelSchema, Workload, DeepseekOcr2Model]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    assumed_prompt_tokens = PROMPT_TOKENS

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> DeepseekOcr2Model:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, decoder = self.config.vision, self.config.decoder
        sam, encoder = vision.sam, vision.encoder
        check_patches(self.workload, sam)
        check_sam(sam)
        check_heads(decoder.hidden_size, decoder.num_attention_heads)
        check_heads(encoder.hidden_size, encoder.num_attention_heads, "vision.encoder")
        channels = sam.downsample_channels[-1]
        if encoder.hidden_size != channels:
            raise ModelMeterError(
                f"config: vision.encoder.hidden_size={encoder.hidden_size} takes the {channels} channels that the last "
                f"of vision.sam.downsample_channels={sam.downsample_channels} makes; set both to the same width."
            )
        return DeepseekOcr2Model(**asdict(vision), decoder=asdict(decoder), code=self.code)


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
