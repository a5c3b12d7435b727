"""Qianfan-OCR's real modules beside a cost model: whole pages of any layout."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.qianfan_ocr.cost_model import CostModel
from modelmeter.models.qianfan_ocr.reference.page import PageReference
from modelmeter.reference.comparison import check_measured
from modelmeter.reference.whole_page import Whole

#: what the library's modules are called within, and the account's are not
DECODER = "language_model"
#: modules of the library that are functions in the account
FUNCTIONS = (".activation_fn", ".act_fn", ".act")
#: the library's name of attention in a block of the tower, and the published one, which the account has
LIBRARY_ATTENTION, ATTENTION = ".attention", ".attn"


class QianfanOcrWhole(Whole):
    """transformers' whole model of a cost model's configuration."""

    def __init__(self, cost_model: CostModel) -> None:
        config = cost_model.config
        check_measured(config.execution.name, ("transformers",))
        super().__init__(
            cost_model, PageReference(config.runtime.dtype, config.runtime.attention, **sizes_of(cost_model))
        )

    def inputs(self, layout: PatchesGrid) -> Any:
        """What the processor makes of such pages."""
        return self.page.inputs(
            pages=self.cost_model.batch_size,
            views=layout.num_local_patches + 1,
            prompt_tokens=self.cost_model.prompt_tokens,
        )

    def place(self, path: str, run: int, layout: PatchesGrid) -> str:
        """By the published name of attention, without the decoder's part in front."""
        for name in FUNCTIONS:
            path = path.removesuffix(name)
        return path.removeprefix(DECODER).removeprefix(".").replace(LIBRARY_ATTENTION, ATTENTION)


def sizes_of(cost_model: CostModel) -> dict[str, Any]:
    """The sizes of a configuration as the library's configurations have them."""
    config, workload = cost_model.config, cost_model.workload
    sides = {"image_size": workload.size, "patch_size": workload.patch_size}
    return {
        "text": asdict(config.decoder),
        "vision": {**asdict(config.vision), **sides},
        "downsample_ratio": workload.downsample_ratio,
    }
