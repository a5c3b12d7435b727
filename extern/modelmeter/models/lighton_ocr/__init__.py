"""LightOnOCR (lightonai/LightOnOCR-1B-1025): from a page's size to what the model computes, moves and holds."""

from typing import Any, Final

from modelmeter.models.common.contract import WholeModel
from modelmeter.models.lighton_ocr.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.lighton_ocr.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.lighton_ocr.executions import EXECUTIONS
from modelmeter.models.lighton_ocr.model import LightOnOcrModel
from modelmeter.models.lighton_ocr.workload import MODES, ImageTokens, PatchGrid, Workload

TITLE: Final = "LightOnOCR"
SOURCES: Final = (
    "arXiv:2601.14251",
    "huggingface.co/lightonai/LightOnOCR-1B-1025",
    "huggingface.co/lightonai/LightOnOCR-2-1B",
    "transformers 5.23: lighton_ocr, pixtral, qwen3",
)
TOKENIZER: Final[str | None] = "qwen3"
"""The vocabulary that its tokens are of."""

IMAGE_RULE: Final = (
    "one grid of patches: the longer side 1540 pixels at most, none made larger, then each side up to whole patches"
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
    "TOKENIZER",
    "CostModel",
    "ImageTokens",
    "LightOnOcrModel",
    "PatchGrid",
    "Workload",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]


def whole_model(cost_model: CostModel) -> WholeModel:
    """transformers' modules of this configuration; needs torch."""
    from modelmeter.models.lighton_ocr.reference.whole import LightOnOcrWhole

    return LightOnOcrWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.lighton_ocr.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.lighton_ocr.reference.real_page import real_page

    return real_page(cost_model, page, device)
