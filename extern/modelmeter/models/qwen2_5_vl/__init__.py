"""Qwen2.5-VL and the OCR models trained from it: from a page's size to what the model computes, moves and holds."""

from typing import Any, Final

from modelmeter.models.common.contract import WholeModel
from modelmeter.models.qwen2_5_vl.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.qwen2_5_vl.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.qwen2_5_vl.executions import EXECUTIONS
from modelmeter.models.qwen2_5_vl.model import Qwen2_5VLModel
from modelmeter.models.qwen2_5_vl.workload import MODES, Workload

TITLE: Final = "Qwen2.5-VL"
SOURCES: Final = ("huggingface.co/allenai/olmOCR-2-7B-1025", "transformers 5.23: qwen2_5_vl")
TOKENIZER: Final[str | None] = "qwen3"
"""The vocabulary that its tokens are of."""

IMAGE_RULE: Final = "one grid of 28-pixel tokens at the page's own size, within 3,136 and 12,845,056 pixels"
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
    "Qwen2_5VLModel",
    "Workload",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]


def whole_model(cost_model: CostModel) -> WholeModel:
    """transformers' modules of this configuration; needs torch."""
    from modelmeter.models.qwen2_5_vl.reference.whole import Qwen2_5VLWhole

    return Qwen2_5VLWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.qwen2_5_vl.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.qwen2_5_vl.reference.real_page import real_page

    return real_page(cost_model, page, device)
