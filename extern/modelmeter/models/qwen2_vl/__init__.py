"""Qwen2-VL and MinerU2.5, which is trained from it: from a page's size to what the model computes, moves and holds."""

from typing import Any, Final

from modelmeter.models.common.contract import WholeModel
from modelmeter.models.common.regions import check_one_pass
from modelmeter.models.qwen2_vl.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.qwen2_vl.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.qwen2_vl.executions import EXECUTIONS
from modelmeter.models.qwen2_vl.model import Qwen2VLModel
from modelmeter.models.qwen2_vl.workload import MODES, Workload

TITLE: Final = "Qwen2-VL"
SOURCES: Final = (
    "arXiv:2509.22186",
    "huggingface.co/opendatalab/MinerU2.5-2509-1.2B",
    "transformers 5.23: qwen2_vl",
)
TOKENIZER: Final[str | None] = "qwen3"
"""The vocabulary that its tokens are of."""

IMAGE_RULE: Final = (
    "one grid of 28-pixel tokens: of a square of 1,036 pixels and then of each declared region, or of the whole page"
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
    "Qwen2VLModel",
    "Workload",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]


def whole_model(cost_model: CostModel) -> WholeModel:
    """transformers' modules of this configuration; needs torch."""
    from modelmeter.models.qwen2_vl.reference.whole import Qwen2VLWhole

    check_one_pass(
        "verify",
        cost_model.workload,
        "verify the layout pass without them, and each region as a page with workload=region",
    )
    return Qwen2VLWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.qwen2_vl.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.qwen2_vl.reference.real_page import real_page

    check_one_pass("validate", cost_model.workload, "run a region as a page with workload=region")
    return real_page(cost_model, page, device)
