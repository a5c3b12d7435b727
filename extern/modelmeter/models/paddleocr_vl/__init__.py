"""PaddleOCR-VL: from a page's size, or its regions', to what the model computes, moves and holds."""

from typing import Any, Final

from modelmeter.models.common.contract import WholeModel
from modelmeter.models.common.regions import check_one_pass
from modelmeter.models.paddleocr_vl.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.paddleocr_vl.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.paddleocr_vl.executions import EXECUTIONS
from modelmeter.models.paddleocr_vl.model import PaddleOCRVLModel
from modelmeter.models.paddleocr_vl.workload import MODES, Workload

TITLE: Final = "PaddleOCR-VL"
SOURCES: Final = (
    "arXiv:2510.14528",
    "huggingface.co/PaddlePaddle/PaddleOCR-VL",
    "transformers 5.23: paddleocr_vl",
)
TOKENIZER: Final[str | None] = None
"""Nobody counted tokens of its vocabulary."""

IMAGE_RULE: Final = (
    "one grid of 28-pixel tokens, 147,384 to 2,822,400 pixels: of the whole page, or of each declared region"
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
    "PaddleOCRVLModel",
    "Workload",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]

_A_REGION: Final = "take each region as a page of its own"


def whole_model(cost_model: CostModel) -> WholeModel:
    """transformers' modules of this configuration; needs torch."""
    from modelmeter.models.paddleocr_vl.reference.whole import PaddleOCRVLWhole

    check_one_pass("verify", cost_model.workload, _A_REGION)
    return PaddleOCRVLWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.paddleocr_vl.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.paddleocr_vl.reference.real_page import real_page

    check_one_pass("validate", cost_model.workload, _A_REGION)
    return real_page(cost_model, page, device)
