"""Granite-Docling (ibm-granite/granite-for-docling-500m): from a page's size to what it computes, moves and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.granite_docling.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.granite_docling.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.granite_docling.executions import EXECUTIONS
from modelmeter.models.granite_docling.model import GraniteDoclingModel
from modelmeter.models.granite_docling.workload import MODES, Workload

if TYPE_CHECKING:
    from modelmeter.models.common.contract import WholeModel

TITLE: Final = "Granite-Docling 500M"
SOURCES: Final = (
    "huggingface.co/ibm-granite/granite-for-docling-500m",
    "transformers 5.23: granite_docling",
)
TOKENIZER: Final[str | None] = None
"""Nobody counted tokens of its vocabulary."""

IMAGE_RULE: Final = (
    "1 to 32 tiles of 512 in a grid near the page's ratio, 16 a side at most; behind several, a thumbnail"
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
    "GraniteDoclingModel",
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
    from modelmeter.models.granite_docling.reference.whole import GraniteDoclingWhole

    return GraniteDoclingWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.granite_docling.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.granite_docling.reference.real_page import real_page

    return real_page(cost_model, page, device)
