"""Idefics3 (ibm-granite/granite-docling-258M): from a page's size to what the model computes, moves and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.idefics3.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.idefics3.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.idefics3.executions import EXECUTIONS
from modelmeter.models.idefics3.model import Idefics3Model
from modelmeter.models.idefics3.workload import MODES, Workload

if TYPE_CHECKING:
    from modelmeter.models.common.contract import WholeModel

TITLE: Final = "Granite-Docling 258M (Idefics3)"
SOURCES: Final = (
    "arXiv:2408.12637",
    "arXiv:2503.11576",
    "huggingface.co/ibm-granite/granite-docling-258M",
    "transformers 5.23: idefics3, llama",
)
TOKENIZER: Final[str | None] = None
"""Nobody counted tokens of its vocabulary."""

IMAGE_RULE: Final = (
    "the longer side made 2048 pixels, each side whole tiles of 512, and all of the page as one tile more"
)
PROVEN: Final = "transformers: FLOPs, traffic, peaks, KV cache equal those of the real modules"

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
    "Idefics3Model",
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
    from modelmeter.models.idefics3.reference.whole import Idefics3Whole

    return Idefics3Whole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.idefics3.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.idefics3.reference.real_page import real_page

    return real_page(cost_model, page, device)
