"""The cost of pages of PaddleOCR-VL: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from modelmeter.models.common import cost_model as common
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.packed_pages_config import check_patches, check_widths
from modelmeter.models.common.passes import PagePass
from modelmeter.models.common.regions import whole_page_alone
from modelmeter.models.paddleocr_vl.config import CONFIGURATION, PROMPT_TOKENS, ModelSchema
from modelmeter.models.paddleocr_vl.executions import EXECUTIONS
from modelmeter.models.paddleocr_vl.model import PaddleOCRVLModel
from modelmeter.models.paddleocr_vl.workload import Workload

WHOLE_PAGE: Final = whole_page_alone(Workload.detector)


class CostModel(common.CostModel[ModelSchema, Workload, PaddleOCRVLModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    assumed_prompt_tokens = PROMPT_TOKENS

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload.of(vars(self.config.workload))

    def page_passes(self, layout: MergedGrid) -> Sequence[PagePass]:
        """Each region's, where regions are declared."""
        return self.workload.passes(layout)

    def make_model(self) -> PaddleOCRVLModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, decoder = asdict(self.config.vision), asdict(self.config.decoder)
        merge = vision.pop("spatial_merge_size")
        check_patches(self.workload, vision["patch_size"], merge)
        check_widths(
            vision["hidden_size"],
            vision["num_attention_heads"],
            decoder["hidden_size"],
            self.config.decoder,
            decoder["head_dim"],
        )
        vocab_size, tied_head = decoder.pop("vocab_size"), decoder.pop("tie_word_embeddings")
        return PaddleOCRVLModel(
            vision=vision,
            spatial_merge_size=merge,
            decoder=decoder,
            vocab_size=vocab_size,
            tied_head=tied_head,
            code=self.code,
        )

    def own_assumptions(self) -> Sequence[Assumption]:
        """Which regions are counted."""
        return self.workload.assumptions(WHOLE_PAGE)


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
