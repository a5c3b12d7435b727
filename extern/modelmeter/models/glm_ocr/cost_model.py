"""The cost of pages of GLM-OCR: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from modelmeter.models.common import cost_model as common
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.packed_pages_config import check_patches, check_widths
from modelmeter.models.common.passes import PagePass
from modelmeter.models.common.regions import whole_page_alone
from modelmeter.models.glm_ocr.config import CONFIGURATION, PROMPT_TOKENS, ModelSchema
from modelmeter.models.glm_ocr.executions import EXECUTIONS
from modelmeter.models.glm_ocr.model import GlmOcrModel
from modelmeter.models.glm_ocr.workload import Workload


class CostModel(common.CostModel[ModelSchema, Workload, GlmOcrModel]):
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

    def make_model(self) -> GlmOcrModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, decoder = self.config.vision, self.config.decoder
        check_patches(self.workload, vision.patch_size, vision.spatial_merge_size)
        check_widths(vision.hidden_size, vision.num_heads, vision.out_hidden_size, decoder, decoder.head_dim)
        sizes = asdict(decoder)
        vocab_size, tied_head = sizes.pop("vocab_size"), sizes.pop("tie_word_embeddings")
        return GlmOcrModel(
            vision=asdict(vision), decoder=sizes, vocab_size=vocab_size, tied_head=tied_head, code=self.code
        )

    def own_assumptions(self) -> Sequence[Assumption]:
        """Which regions are counted, or that it is the whole page."""
        return self.workload.assumptions(whole_page_alone(self.workload.detector))


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
