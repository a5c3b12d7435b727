"""The cost of pages of Qwen3-VL: what `CostModel` of all models is told of this one."""

from __future__ import annotations

import math
from dataclasses import asdict

from modelmeter.errors import ModelMeterError, shown
from modelmeter.models.common import cost_model as common
from modelmeter.models.common.packed_pages_config import check_patches, check_widths
from modelmeter.models.qwen3_vl.config import CONFIGURATION, PROMPT_TOKENS, ModelSchema
from modelmeter.models.qwen3_vl.executions import EXECUTIONS
from modelmeter.models.qwen3_vl.model import Qwen3VLModel
from modelmeter.models.qwen3_vl.workload import Workload


class CostModel(common.CostModel[ModelSchema, Workload, Qwen3VLModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    assumed_prompt_tokens = PROMPT_TOKENS

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> Qwen3VLModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, decoder = self.config.vision, asdict(self.config.decoder)
        check_patches(self.workload, vision.patch_size, vision.spatial_merge_size)
        check_widths(
            vision.hidden_size, vision.num_heads, vision.out_hidden_size, self.config.decoder, decoder["head_dim"]
        )
        taps, rows = vision.deepstack_visual_indexes, vision.num_position_embeddings
        if taps != sorted(set(taps)) or any(index >= vision.depth for index in taps):
            raise ModelMeterError(
                f"config: vision.deepstack_visual_indexes={shown(taps)} are no ascending blocks of "
                f"vision.depth={vision.depth}; give numbers from 0 to {vision.depth - 1}, each once."
            )
        if math.isqrt(rows) ** 2 != rows:
            raise ModelMeterError(
                f"config: vision.num_position_embeddings={rows} make no square grid; give a square, as 2304, 48 x 48."
            )
        vocab_size, tied_head = decoder.pop("vocab_size"), decoder.pop("tie_word_embeddings")
        return Qwen3VLModel(
            vision=asdict(vision), decoder=decoder, vocab_size=vocab_size, tied_head=tied_head, code=self.code
        )


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
