"""Idefics3's real modules beside a cost model: whole pages of any layout."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.idefics3.cost_model import CostModel
from modelmeter.models.idefics3.reference.page import PageReference
from modelmeter.reference.comparison import check_measured
from modelmeter.reference.whole_page import Whole

#: what the library's modules are called within, and the account's are not
DECODER: Final = "text_model"
#: modules of the library that are functions or parameters in the account
WITHIN: Final = (".act_fn", ".activation_fn", ".position_embedding")


class Idefics3Whole(Whole):
    """transformers' whole model of a cost model's configuration."""

    #: the embedding runs before the rest of the decoder, and the head, which is tied to it, after
    torchinfo_counts_twice = ("model.text_model.embed_tokens.weight", "lm_head.weight")

    def __init__(self, cost_model: CostModel) -> None:
        config = cost_model.config
        check_measured(config.execution.name, ("transformers",))
        page = PageReference(config.runtime.dtype, config.runtime.attention, **sizes_of(cost_model))
        super().__init__(cost_model, page)

    def inputs(self, layout: PatchesGrid) -> Any:
        """What the processor makes of such pages."""
        geometry = self.cost_model.geometry(layout)
        return self.page.inputs(
            pages=geometry.pages,
            views=geometry.views,
            side=self.cost_model.workload.max_image_size,
            prompt_tokens=self.cost_model.prompt_of(layout),
        )

    def place(self, path: str, run: int, layout: PatchesGrid) -> str:
        """By the checkpoint's name, without the decoder's part in front."""
        for name in WITHIN:
            path = path.removesuffix(name)
        return path.removeprefix(DECODER).removeprefix(".")


def sizes_of(cost_model: CostModel) -> dict[str, Any]:
    """The sizes of a configuration as the library's configurations have them."""
    config, workload = cost_model.config, cost_model.workload
    return {
        "text": asdict(config.decoder),
        "vision": {**asdict(config.vision), "patch_size": workload.patch_size},
        "scale_factor": workload.scale_factor,
    }
