"""DeepSeek-OCR: from a page's size to what the model computes, moves and holds."""

from modelmeter.models.deepseek_ocr.config import CONFIGURATION
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost, load_cost_model, restore_cost_model
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

__all__ = [
    "CONFIGURATION",
    "MODES",
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
    "load_cost_model",
    "restore_cost_model",
]
