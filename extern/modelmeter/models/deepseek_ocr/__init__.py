"""DeepSeek-OCR: from a page's size to what the model computes, moves and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.deepseek_ocr.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost, load_cost_model, restore_cost_model
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.layers.vision.image_encoder_vit import ImageEncoderViT
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import MlpProjector
from modelmeter.models.deepseek_ocr.layers.vision.vit_model import VitModel
from modelmeter.models.deepseek_ocr.vision_workload import (
    MODES,
    ViewLayout,
    VisionTokens,
    VisionWorkload,
    build_vision_cfg_from_workload,
    compute_view_layout,
    compute_view_layouts,
    compute_vision_tokens,
)

if TYPE_CHECKING:
    from modelmeter.models.common.contract import WholeModel

TITLE: Final = "DeepSeek-OCR"
SOURCES: Final = (
    "arXiv:2510.18234",
    "huggingface.co/deepseek-ai/DeepSeek-OCR",
    "transformers 5.23: unlimited_ocr",
)
TOKENIZER: Final[str | None] = "deepseek"
"""The vocabulary that its tokens are of."""

IMAGE_RULE: Final = "one square view of the page, and in crop mode 2 to 9 square crops in a grid near the page's ratio"
PROVEN: Final = (
    "transformers: FLOPs, traffic, peaks, KV cache equal those of the real modules; published: of a replica of that "
    "code, and where you have the files, of these; vllm, sglang, serving: by hand, no code of theirs runs here"
)

__all__ = [
    "CHECKPOINTS",
    "CONFIGURATION",
    "EXECUTIONS",
    "IMAGE_RULE",
    "MODES",
    "PROVEN",
    "SOURCES",
    "TITLE",
    "TOKENIZER",
    "CostModel",
    "DeepseekOCRModel",
    "ImageEncoderViT",
    "MlpProjector",
    "PageCost",
    "ViewLayout",
    "VisionTokens",
    "VisionWorkload",
    "VitModel",
    "build_vision_cfg_from_workload",
    "compute_view_layout",
    "compute_view_layouts",
    "compute_vision_tokens",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]


def whole_model(cost_model: CostModel) -> WholeModel:
    """The real modules of this configuration: transformers', or a replica of the published code; needs torch."""
    from modelmeter.models.deepseek_ocr.reference.whole import DeepseekOcrWhole

    return DeepseekOcrWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.deepseek_ocr.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: PageCost, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.deepseek_ocr.reference.real_page import real_page

    return real_page(cost_model, page, device)
