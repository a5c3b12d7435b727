"""Qwen3-VL and the OCR models trained from it: from a page's size to what the model computes, moves and holds."""

from typing import Any, Final

from modelmeter.models.common.contract import WholeModel
from modelmeter.models.qwen3_vl.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.qwen3_vl.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.qwen3_vl.executions import EXECUTIONS
from modelmeter.models.qwen3_vl.model import Qwen3VLModel
from modelmeter.models.qwen3_vl.workload import MODES, Workload

TITLE: Final = "Qwen3-VL"
SOURCES: Final = ("huggingface.co/Qwen/Qwen3-VL-2B-Instruct", "transformers 5.23: qwen3_vl")
TOKENIZER: Final[str | None] = "qwen3"
IMAGE_RULE: Final = "one grid of 32-pixel tokens at the page's own size, within 65,536 and 16,777,216 pixels"
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
    "Qwen3VLModel",
    "Workload",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]


def whole_model(cost_model: CostModel) -> WholeModel:
    """transformers' modules of this configuration; needs torch."""
    from modelmeter.models.qwen3_vl.reference.whole import Qwen3VLWhole

    return Qwen3VLWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.qwen3_vl.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.qwen3_vl.reference.real_page import real_page

    return real_page(cost_model, page, device)
