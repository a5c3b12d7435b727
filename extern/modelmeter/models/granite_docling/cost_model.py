"""The cost of pages of Granite-Docling: what `CostModel` of all models is told of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common import cost_model as common
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.patches_grid import PatchesGrid, markers_around
from modelmeter.models.common.siglip_config import MARKED_PROMPT_NOTE, check_tower
from modelmeter.models.granite_docling.config import CONFIGURATION, ModelSchema
from modelmeter.models.granite_docling.executions import EXECUTIONS
from modelmeter.models.granite_docling.model import GraniteDoclingModel
from modelmeter.models.granite_docling.workload import Workload

COARSE: Final = Assumption(
    figure="layout",
    label="coarse route",
    text="workload.route=coarse: a page's pixels decide whether it takes the fine one, which has 4 times the image "
    "tokens; workload.route=fine declares it",
)
FINE: Final = Assumption(
    figure="layout",
    label="fine route",
    text="workload.route=fine: declared; a page's pixels decide whether it does",
)


class CostModel(common.CostModel[ModelSchema, Workload, GraniteDoclingModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS
    prompt_is_one_item = True
    assumed_prompt_tokens = 30
    assumed_prompt_note = MARKED_PROMPT_NOTE

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> GraniteDoclingModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        workload, vision, layers = self.workload, self.config.vision, self.config.decoder.num_hidden_layers
        check_tower(vision, workload.patch_size)
        if workload.size != vision.image_size:
            raise ModelMeterError(
                f"config: workload.size={workload.size} is not vision.image_size={vision.image_size}, and the code has "
                "positions for that side alone; set both to the same."
            )
        if workload.route == "fine" and not vision.use_fine_route:
            raise ModelMeterError(
                "config: workload.route=fine, but vision.use_fine_route=false builds no such route; set either."
            )
        taps = vision.deepstack_visual_indexes
        if taps != sorted(set(taps)) or any(each >= vision.num_hidden_layers for each in taps) or len(taps) > layers:
            raise ModelMeterError(
                f"config: vision.deepstack_visual_indexes={taps} must be different blocks of "
                f"vision.num_hidden_layers={vision.num_hidden_layers}, from 0 on, in order, and no more than "
                f"decoder.num_hidden_layers={layers}; give such."
            )
        return GraniteDoclingModel(
            vision={**asdict(vision), "patch_size": workload.patch_size, "scale_factor": workload.scale_factor},
            size=workload.size,
            decoder=asdict(self.config.decoder),
            code=self.code,
        )

    def markers(self, layout: PatchesGrid) -> int:
        """Tokens around the views of this layout."""
        return markers_around(layout)

    def own_assumptions(self) -> Sequence[Assumption]:
        """Which route is counted."""
        return (COARSE if self.workload.route == "coarse" else FINE,)


load_cost_model = CostModel.load
restore_cost_model = CostModel.restore
