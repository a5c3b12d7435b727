"""DeepSeek-OCR-2's real modules beside a cost model: whole pages of any layout."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from modelmeter.models.common.deep_encoder_config import SamSchema
from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.common.reference.deep_encoder_names import WITHIN, published_path
from modelmeter.models.deepseek_ocr2.cost_model import CostModel
from modelmeter.models.deepseek_ocr2.reference.page import PageReference
from modelmeter.reference.comparison import check_measured
from modelmeter.reference.whole_page import Whole

TOWER: Final = "vision_tower"
ENCODER: Final = "vision_tower.vision_encoder"

#: our names of SAM's sizes, and the library's
SAM_NAMES: Final = {
    "embed_dim": "hidden_size",
    "out_chans": "output_channels",
    "depth": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "in_chans": "num_channels",
    "pretrain_img_size": "image_size",
}


class DeepseekOcr2Whole(Whole):
    """transformers' whole model of a cost model's configuration."""

    def __init__(self, cost_model: CostModel) -> None:
        config = cost_model.config
        check_measured(config.execution.name, ("transformers",))
        page = PageReference(
            config.runtime.dtype,
            config.runtime.attention,
            text=text_values(asdict(config.decoder)),
            sam=sam_values(config.vision.sam),
            encoder={**asdict(config.vision.encoder), "vocab_size": 1},
        )
        super().__init__(cost_model, page)

    def inputs(self, layout: PatchesGrid) -> Any:
        """What the processor makes of such pages."""
        workload = self.cost_model.workload
        return self.page.inputs(
            pages=self.cost_model.batch_size,
            tiles=layout.num_local_patches,
            prompt_tokens=self.cost_model.prompt_tokens,
            size=workload.size,
            tile=workload.tile_size,
        )

    def place(self, path: str, run: int, layout: PatchesGrid) -> str:
        """By the published name; the tiles run after the global view."""
        outer, _, name = path.rpartition(".")
        if name in WITHIN:
            path = outer
        branches = ("global", "local") if layout.num_local_patches else ("global",)
        branch = branches[run % len(branches)]
        if path == TOWER:
            return f"{branch}.qwen2_model"
        if path == ENCODER or path.startswith(f"{ENCODER}."):
            return f"{branch}.qwen2_model.model{path.removeprefix(ENCODER)}"
        if path == "multi_modal_projector":
            return f"{branch}.projector"
        path = published_path(path)
        return f"{branch}.{path}" if path.partition(".")[0] == "sam_model" else path


def text_values(decoder: dict[str, Any]) -> dict[str, Any]:
    """The decoder's sizes as the library's text configuration takes them."""
    dense = decoder.pop("first_k_dense_replace")
    layers = decoder["num_hidden_layers"]
    return {**decoder, "mlp_layer_types": (["dense"] * dense + ["sparse"] * layers)[:layers]}


def sam_values(sam: SamSchema) -> dict[str, Any]:
    """SAM's sizes by the names that the library has for them."""
    return {SAM_NAMES.get(name, name): value for name, value in asdict(sam).items()}
