"""A toy model: the smallest package that keeps a model's promises, and the example of CONTRIBUTING.md.

A page becomes one grid of patches, a windowed tower of two blocks makes a token of each, and a dense decoder of two
blocks reads them. Nobody trained it; its sizes are small and unequal, so that what is swapped shows.
"""

from typing import Any, Final, NoReturn

from modelmeter.errors import ModelMeterError
from tests.toy_model.config import CHECKPOINTS, CONFIGURATION
from tests.toy_model.cost_model import CostModel
from tests.toy_model.executions import EXECUTIONS
from tests.toy_model.workload import MODES

TITLE: Final = "Toy"
SOURCES: Final = ("invented for the tests",)
TOKENIZER: Final[str | None] = None

IMAGE_RULE: Final = "one grid of whole patches, 4 to 64 a side"
PROVEN: Final = "laws against walks"

load_cost_model = CostModel.load
restore_cost_model = CostModel.restore


def whole_model(cost_model: Any) -> NoReturn:
    """There is none."""
    raise ModelMeterError("verify: model toy has no real modules: it is invented, so there is nothing to measure.")


def layer_verification() -> NoReturn:
    """There is none."""
    raise ModelMeterError("verify: model toy has no real modules: it is invented, so there is nothing to measure.")


def real_page(cost_model: Any, page: Any, device: str) -> NoReturn:
    """There is none."""
    raise ModelMeterError("validate: model toy has no real model here that computes: it is invented.")


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
    "layer_verification",
    "load_cost_model",
    "real_page",
    "restore_cost_model",
    "whole_model",
]
