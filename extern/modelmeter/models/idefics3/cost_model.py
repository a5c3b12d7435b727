"""The cost of pages of Idefics3: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from dataclasses import asdict

from modelmeter.models.common import cost_model as common
from modelmeter.models.common.patches_grid import PatchesGrid, markers_around
from modelmeter.models.common.siglip_config import MARKED_PROMPT_NOTE, check_tower
from modelmeter.models.idefics3.config import CONFIGURATION, ModelSchema
from modelmeter.models.idefics3.executions import EXECUTIONS
from modelmeter.models.idefics3.model import Idefics3Model
from modelmeter.models.idefics3.workload import Workload


class CostModel(common.CostModel[ModelSchema, Workload, Idefics3Model]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    prompt_is_one_item = True
    assumed_prompt_tokens = 30
    assumed_prompt_note = MARKED_PROMPT_NOTE

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> Idefics3Model:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        workload, vision = self.workload, self.config.vision
        check_tower(vision, workload.patch_size)
        return Idefics3Model(
            vision={**asdict(vision), "patch_size": workload.patch_size},
            size=workload.max_image_size,
            scale_factor=workload.scale_factor,
            decoder=asdict(self.config.decoder),
            code=self.code,
        )

    def markers(self, layout: PatchesGrid) -> int:
        """Tokens around the views of this layout."""
        return markers_around(layout)


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
