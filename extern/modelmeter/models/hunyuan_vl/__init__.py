"""HunyuanOCR (tencent/HunyuanOCR): from a page's size to what the model computes, moves and holds."""

from typing import Any, Final

from modelmeter.models.common.contract import WholeModel
from modelmeter.models.hunyuan_vl.config import CHECKPOINTS, CONFIGURATION
from modelmeter.models.hunyuan_vl.cost_model import CostModel, load_cost_model, restore_cost_model
from modelmeter.models.hunyuan_vl.executions import EXECUTIONS
from modelmeter.models.hunyuan_vl.model import HunYuanVLModel
from modelmeter.models.hunyuan_vl.workload import MODES, Workload

TITLE: Final = "HunyuanOCR"
SOURCES: Final = (
    "arXiv:2511.19575",
    "huggingface.co/tencent/HunyuanOCR",
    "transformers 5.23: hunyuan_vl",
)
TOKENIZER: Final[str | None] = None
"""Nobody counted tokens of its vocabulary."""

IMAGE_RULE: Final = (
    "one grid of 32-pixel tokens and a newline a row: the page at its own size, from 262,144 to 4,194,304 pixels"
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
    "HunYuanVLModel",
    "Workload",
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]


def whole_model(cost_model: CostModel) -> WholeModel:
    """transformers' modules of this configuration; needs torch."""
    from modelmeter.models.hunyuan_vl.reference.whole import HunYuanWhole

    return HunYuanWhole(cost_model)


def layer_verification() -> Any:
    """Its layers beside the real modules that they describe; needs torch."""
    from modelmeter.models.hunyuan_vl.reference.layer_cases import verification

    return verification()


def real_page(cost_model: CostModel, page: Any, device: str) -> Any:
    """transformers' model with random weights, and a page's inputs, on a device that computes; needs torch."""
    from modelmeter.models.hunyuan_vl.reference.real_page import real_page

    return real_page(cost_model, page, device)
