"""The cost of pages of Qwen2-VL: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from modelmeter.models.common import cost_model as common
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.packed_pages_config import check_patches, check_widths
from modelmeter.models.common.passes import PagePass
from modelmeter.models.qwen2_vl.config import CONFIGURATION, PROMPT_TOKENS, ModelSchema
from modelmeter.models.qwen2_vl.executions import EXECUTIONS
from modelmeter.models.qwen2_vl.model import Qwen2VLModel
from modelmeter.models.qwen2_vl.workload import Workload

LAYOUT_ALONE: Final = Assumption(
    figure="layout",
    label="layout pass alone",
    text="the pass that finds the regions of a page; each region is recognised in a pass of its own, and none is "
    "counted (workload.regions declares them, [[width, height], ...] in pixels of the page)",
)


class CostModel(common.CostModel[ModelSchema, Workload, Qwen2VLModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    assumed_prompt_tokens = PROMPT_TOKENS

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload.of(vars(self.config.workload))

    def page_passes(self, layout: MergedGrid) -> Sequence[PagePass]:
        """The layout pass and each region's, where regions are declared."""
        return self.workload.passes(layout)

    def make_model(self) -> Qwen2VLModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, decoder = self.config.vision, asdict(self.config.decoder)
        check_patches(self.workload, vision.patch_size, vision.spatial_merge_size)
        check_widths(vision.embed_dim, vision.num_heads, vision.hidden_size, self.config.decoder)
        vocab_size, tied_head = decoder.pop("vocab_size"), decoder.pop("tie_word_embeddings")
        return Qwen2VLModel(
            vision=asdict(vision), decoder=decoder, vocab_size=vocab_size, tied_head=tied_head, code=self.code
        )

    def own_assumptions(self) -> Sequence[Assumption]:
        """Which regions are counted, where a page's layout is found."""
        return () if self.workload.layout_image_size is None else self.workload.assumptions(LAYOUT_ALONE)


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
