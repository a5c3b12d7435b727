"""The cost of pages of Qwen2.5-VL: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from dataclasses import asdict

from modelmeter.errors import ModelMeterError, shown
from modelmeter.models.common import cost_model as common
from modelmeter.models.common.packed_pages_config import check_patches, check_widths
from modelmeter.models.qwen2_5_vl.config import CONFIGURATION, PROMPT_TOKENS, ModelSchema
from modelmeter.models.qwen2_5_vl.executions import EXECUTIONS
from modelmeter.models.qwen2_5_vl.model import Qwen2_5VLModel
from modelmeter.models.qwen2_5_vl.workload import Workload


class CostModel(common.CostModel[ModelSchema, Workload, Qwen2_5VLModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    assumed_prompt_tokens = PROMPT_TOKENS

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> Qwen2_5VLModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, decoder = self.config.vision, asdict(self.config.decoder)
        check_patches(self.workload, vision.patch_size, vision.spatial_merge_size)
        check_widths(vision.hidden_size, vision.num_heads, vision.out_hidden_size, self.config.decoder)
        token_side = vision.patch_size * vision.spatial_merge_size
        if vision.window_size < token_side:
            raise ModelMeterError(
                f"config: vision.window_size={vision.window_size} pixels hold no token of {token_side}; give that many "
                "or more."
            )
        if any(index >= vision.depth for index in vision.fullatt_block_indexes):
            raise ModelMeterError(
                f"config: vision.fullatt_block_indexes={shown(vision.fullatt_block_indexes)} are no blocks of "
                f"vision.depth={vision.depth}; give numbers from 0 to {vision.depth - 1}."
            )
        vocab_size, tied_head = decoder.pop("vocab_size"), decoder.pop("tie_word_embeddings")
        return Qwen2_5VLModel(
            vision=asdict(vision), decoder=decoder, vocab_size=vocab_size, tied_head=tied_head, code=self.code
        )


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
