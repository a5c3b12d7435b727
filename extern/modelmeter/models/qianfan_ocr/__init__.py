"""Qianfan-OCR (baidu/Qianfan-OCR): from a page's size to what the model computes, moves and holds."""

from typing import Any, Final

from modelmeter.models.common.contract import WholeModel
from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.qianfan_ocr.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.qianfan_ocr.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.qianfan_ocr.executions import EXECUTIONS
from modelmeter.models.qianfan_ocr.model import QianfanOcrModel
from modelmeter.models.qianfan_ocr.workload import MODES, Workload

TITLE: Final = "Qianfan-OCR"
SOURCES: Final = (
    "arXiv:2603.13398",
    "huggingface.co/baidu/Qianfan-OCR",
    "transformers 5.23: qianfan_ocr, got_ocr2, qwen3",
)
TOKENIZER: Final[str | None] = "qwen3"
IMAGE_RULE: Final = "1 to 12 square tiles in a grid near the page's ratio, and behind several one view of all of it"
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
    "PatchesGrid",
    "QianfanOcrModel",
    "Workload",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]


def whole_model(cost_model: CostModel) -> WholeModel:
    """transformers' modules of this configuration; needs torch."""
    from modelmeter.models.qianfan_ocr.reference.whole import QianfanOcrWhole

    return QianfanOcrWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.qianfan_ocr.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.qianfan_ocr.reference.real_page import real_page

    return real_page(cost_model, page, device)
