"""How transformers' image processor of Unlimited-OCR cuts a page: its own size function, and its published limits.

The processor's module imports torchvision, which the size function never asks: it is loaded with a stand-in for that.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock, patch

_TORCHVISION = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.v2",
    "torchvision.transforms.v2.functional",
)
_PROCESSOR = "transformers.models.unlimited_ocr.image_processing_unlimited_ocr"


def image_processor_module() -> ModuleType:
    """The module of the image processor, which no import of the library sees afterwards."""
    stand_ins = {name: MagicMock(name=name) for name in _TORCHVISION}
    for name, module in stand_ins.items():
        module.__spec__, module.__path__ = ModuleSpec(name, None), []
    with patch.dict(sys.modules, stand_ins):
        return importlib.import_module(_PROCESSOR)


def grid_of(module: Any, canvas: Callable[..., tuple[int, int]], width: int, height: int) -> tuple[int, int, int]:
    """(tiles, columns, rows) as `_preprocess` of the processor decides them, with its own limits.

    canvas: `get_optimal_tiled_canvas`, of this model or of another that has a copy.
    """
    processor = module.UnlimitedOcrImageProcessor
    tile = processor.tile_size
    if not processor.crop_to_patches or max(height, width) <= tile:
        return 0, 1, 1
    columns, rows = canvas((height, width), (tile, tile), processor.min_patches, processor.max_patches)
    return columns * rows, columns, rows
