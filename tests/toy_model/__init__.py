"""A toy model: the smallest package that keeps a model's promises, and the example of CONTRIBUTING.md.

A page becomes one grid of patches, a windowed tower of two blocks makes a token of each, and a dense decoder of two
blocks reads them. Nobody trained it; its sizes are small and unequal, so that what is swapped shows.
"""

from typing import Final

from tests.toy_model.config import CHECKPOINTS, CONFIGURATION
from tests.toy_model.cost_model import CostModel
from tests.toy_model.executions import EXECUTIONS
from tests.toy_model.workload import MODES

TITLE: Final = "Toy"
SOURCES: Final = ("invented for the tests",)
IMAGE_RULE: Final = "one grid of whole patches, 4 to 64 a side"
PROVEN: Final = "laws against walks"

load_cost_model = CostModel.load
restore_cost_model = CostModel.restore

__all__ = [
    "CHECKPOINTS",
    "CONFIGURATION",
    "EXECUTIONS",
    "IMAGE_RULE",
    "MODES",
    "PROVEN",
    "SOURCES",
    "TITLE",
    "CostModel",
    "load_cost_model",
    "restore_cost_model",
]
