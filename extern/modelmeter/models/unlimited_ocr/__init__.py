"""Unlimited-OCR (baidu/Unlimited-OCR): from a page's size to what the model computes, moves and holds."""

from modelmeter.models.unlimited_ocr.config import CONFIGURATION
from modelmeter.models.unlimited_ocr.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.unlimited_ocr.model import UnlimitedOcrModel
from modelmeter.models.unlimited_ocr.workload import MODES, ImageTokens, PatchesGrid, Workload

__all__ = [
    "CONFIGURATION",
    "MODES",
    "CostModel",
    "ImageTokens",
    "PatchesGrid",
    "UnlimitedOcrModel",
    "Workload",
    "load_cost_model",
    "restore_cost_model",
]
