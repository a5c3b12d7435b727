"""The cost of pages of HunyuanOCR: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from dataclasses import asdict

from modelmeter.errors import ModelMeterError, shown
from modelmeter.models.common import cost_model as common
from modelmeter.models.common.packed_pages_config import check_patches
from modelmeter.models.hunyuan_vl.config import CONFIGURATION, PROMPT_TOKENS, ModelSchema
from modelmeter.models.hunyuan_vl.executions import EXECUTIONS
from modelmeter.models.hunyuan_vl.model import HunYuanVLModel
from modelmeter.models.hunyuan_vl.workload import Workload


class CostModel(common.CostModel[ModelSchema, Workload, HunYuanVLModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    assumed_prompt_tokens = PROMPT_TOKENS

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> HunYuanVLModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, decoder = self.config.vision, asdict(self.config.decoder)
        check_patches(self.workload, vision.patch_size, vision.spatial_merge_size)
        if vision.out_hidden_size != decoder["hidden_size"]:
            raise ModelMeterError(
                f"config: vision.out_hidden_size={vision.out_hidden_size} differs from "
                f"decoder.hidden_size={decoder['hidden_size']}; set both to the same size."
            )
        if 2 * sum(decoder["mrope_section"]) != decoder["head_dim"]:
            raise ModelMeterError(
                f"config: decoder.mrope_section={shown(decoder['mrope_section'])} sums to "
                f"{sum(decoder['mrope_section'])}, and decoder.head_dim={decoder['head_dim']}; let it sum to half of "
                "a head."
            )
        vocab_size, tied_head = decoder.pop("vocab_size"), decoder.pop("tie_word_embeddings")
        return HunYuanVLModel(
            vision=asdict(vision), decoder=decoder, vocab_size=vocab_size, tied_head=tied_head, code=self.code
        )


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
