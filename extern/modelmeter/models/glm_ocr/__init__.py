"""GLM-OCR: from a page's size to what the model computes, moves and holds."""

from typing import Any, Final

from modelmeter.models.common.contract import WholeModel
from modelmeter.models.glm_ocr.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.glm_ocr.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.glm_ocr.executions import EXECUTIONS
from modelmeter.models.glm_ocr.model import GlmOcrModel
from modelmeter.models.glm_ocr.workload import MODES, Workload

TITLE: Final = "GLM-OCR"
SOURCES: Final = (
    "arXiv:2603.10910",
    "huggingface.co/zai-org/GLM-OCR",
    "transformers 5.23: glm_ocr",
)
TOKENIZER: Final[str | None] = None
"""Nobody counted tokens of its vocabulary."""

IMAGE_RULE: Final = "one grid of 28-pixel tokens: of the whole page, or of each region that its pipeline cuts out"
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
    "GlmOcrModel",
    "Workload",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]


def whole_model(cost_model: CostModel) -> WholeModel:
    """transformers' modules of this configuration; needs torch."""
    from modelmeter.models.common.regions import check_one_pass
    from modelmeter.models.glm_ocr.reference.whole import GlmOcrWhole

    check_one_pass("verify", cost_model.workload, "verify a region as a page")
    return GlmOcrWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.glm_ocr.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.common.regions import check_one_pass
    from modelmeter.models.glm_ocr.reference.real_page import real_page

    check_one_pass("validate", cost_model.workload, "run a region as a page")
    return real_page(cost_model, page, device)
