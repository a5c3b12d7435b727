"""The models, a folder each, and what they share; `model_package` finds one by its name.

A further model is one more line in `MODELS`: its name and the package that keeps `ModelPackage`'s promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

from modelmeter.errors import ModelMeterError, near

if TYPE_CHECKING:
    from modelmeter.models import deepseek_ocr, lighton_ocr, qwen2_5_vl, unlimited_ocr
    from modelmeter.models.common.contract import ModelPackage

    _DEEPSEEK_OCR_KEEPS_ITS_PROMISES: ModelPackage = deepseek_ocr
    _LIGHTON_OCR_KEEPS_ITS_PROMISES: ModelPackage = lighton_ocr
    _QWEN2_5_VL_KEEPS_ITS_PROMISES: ModelPackage = qwen2_5_vl
    _UNLIMITED_OCR_KEEPS_ITS_PROMISES: ModelPackage = unlimited_ocr

#: the package of each model, by the name that users give it
MODELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "deepseek_ocr": "modelmeter.models.deepseek_ocr",
        "lighton_ocr": "modelmeter.models.lighton_ocr",
        "qwen2_5_vl": "modelmeter.models.qwen2_5_vl",
        "unlimited_ocr": "modelmeter.models.unlimited_ocr",
    }
)

DEFAULT_MODEL: Final = "deepseek_ocr"


def model_package(name: str = DEFAULT_MODEL) -> ModelPackage:
    """The package of a model, imported now; raises `ModelMeterError` for a name that is not in `MODELS`."""
    if name not in MODELS:
        if "," in name:
            raise ModelMeterError(f"model={name} names several models; a cost is one model's, so give one.")
        raise ModelMeterError(f"model {name} does not exist; {near(name, MODELS)}")
    return cast("ModelPackage", import_module(MODELS[name]))


def module_of(package: ModelPackage, below: str) -> str | None:
    """The name of a module below a model's package; None where the model has none such."""
    name = f"{package.__name__}.{below}"
    try:
        return None if find_spec(name) is None else name
    except ModuleNotFoundError:  # not even the package that it would stand in
        return None
