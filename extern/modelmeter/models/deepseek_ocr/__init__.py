"""DeepSeek-OCR: from a page's size to what the model computes, moves and holds."""

from typing import Final

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

TITLE: Final = "DeepSeek-OCR"
SOURCES: Final = (
    "arXiv:2510.18234",
    "huggingface.co/deepseek-ai/DeepSeek-OCR",
    "transformers 5.23: unlimited_ocr",
)
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
