"""Unlimited-OCR (baidu/Unlimited-OCR): from a page's size to what the model computes, moves and holds."""

from typing import Final

from modelmeter.models.unlimited_ocr.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.unlimited_ocr.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.unlimited_ocr.executions import EXECUTIONS
from modelmeter.models.unlimited_ocr.model import UnlimitedOcrModel
from modelmeter.models.unlimited_ocr.workload import MODES, ImageTokens, PatchesGrid, Workload

TITLE: Final = "Unlimited-OCR"
SOURCES: Final = ("huggingface.co/baidu/Unlimited-OCR", "transformers 5.23: unlimited_ocr")
IMAGE_RULE: Final = (
    "one square view of the page, and if a side is above a tile's, 2 to 32 square tiles in a grid near the page's ratio"
)
PROVEN: Final = (
    "transformers: FLOPs, traffic, peaks, KV cache equal those of the real modules; vllm, sglang, serving: by hand, no "
    "code of theirs runs here"
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
    "ImageTokens",
    "PatchesGrid",
    "UnlimitedOcrModel",
    "Workload",
    "load_cost_model",
    "restore_cost_model",
]
