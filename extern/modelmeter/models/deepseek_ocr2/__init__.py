"""DeepSeek-OCR-2 (deepseek-ai/DeepSeek-OCR-2): from a page's size to what the model computes, moves and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.common.patches_grid import ImageTokens, PatchesGrid
from modelmeter.models.deepseek_ocr2.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.deepseek_ocr2.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.deepseek_ocr2.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr2.workload import MODES, Workload

if TYPE_CHECKING:
    from modelmeter.models.common.contract import WholeModel

TITLE: Final = "DeepSeek-OCR-2"
SOURCES: Final = (
    "arXiv:2601.20552",
    "huggingface.co/deepseek-ai/DeepSeek-OCR-2",
    "transformers 5.23: deepseek_ocr2",
)
TOKENIZER: Final[str | None] = "deepseek"
"""The vocabulary that its tokens are of."""

IMAGE_RULE: Final = (
    "one square view of the page, and if a side is above a tile's, 2 to 6 square tiles in a grid near the page's ratio"
)
PROVEN: Final = (
    "transformers: FLOPs, traffic, peaks, KV cache equal those of the real modules; vllm, serving: by hand, no code of "
    "theirs runs here"
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
    "PatchesGrid",
    "Workload",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]


def whole_model(cost_model: CostModel) -> WholeModel:
    """transformers' modules of this configuration; needs torch."""
    from modelmeter.models.deepseek_ocr2.reference.whole import DeepseekOcr2Whole

    return DeepseekOcr2Whole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.deepseek_ocr2.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.deepseek_ocr2.reference.real_page import real_page

    return real_page(cost_model, page, device)
