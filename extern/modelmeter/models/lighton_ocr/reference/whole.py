"""LightOnOCR's real modules beside a cost model: whole pages of any size."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from modelmeter.models.lighton_ocr.cost_model import CostModel
from modelmeter.models.lighton_ocr.reference.page import PageReference
from modelmeter.models.lighton_ocr.workload import PatchGrid
from modelmeter.reference.comparison import check_measured
from modelmeter.reference.whole_page import Whole

#: what the library's modules are called within, and the account's are not
DECODER = "language_model"
#: modules of the library that are functions in the account
FUNCTIONS = (".act_fn", ".act")


class LightOnOcrWhole(Whole):
    """transformers' whole model of a cost model's configuration."""

    #: the embedding runs before the rest of the decoder, and the head, which is tied to it, after
    torchinfo_counts_twice = ("model.language_model.embed_tokens.weight", "lm_head.weight")

    def __init__(self, cost_model: CostModel) -> None:
        config = cost_model.config
        check_measured(config.execution.name, ("transformers",))
        page = PageReference(config.runtime.dtype, config.runtime.attention, **sizes_of(cost_model))
        super().__init__(cost_model, page)

    def inputs(self, layout: PatchGrid) -> Any:
        """What the processor makes of such pages."""
        return self.page.inputs(
            pages=self.cost_model.batch_size,
            columns=layout.columns,
            rows=layout.rows,
            prompt_tokens=self.cost_model.prompt_tokens,
        )

    def place(self, path: str, run: int, layout: PatchGrid) -> str:
        """By the checkpoint's name, without the decoder's part in front."""
        for name in FUNCTIONS:
            path = path.removesuffix(name)
        return path.removeprefix(DECODER).removeprefix(".")


def sizes_of(cost_model: CostModel) -> dict[str, Any]:
    """The sizes of a configuration as the library's configurations have them."""
    config, workload = cost_model.config, cost_model.workload
    vision = asdict(config.vision)
    vision |= {
        "head_dim": vision["hidden_size"] // vision["num_attention_heads"],
        "patch_size": workload.patch_size,
        "image_size": workload.longest_edge,
    }
    return {
        "text": asdict(config.decoder),
        "vision": vision,
        "spatial_merge_size": workload.spatial_merge_size,
    }
