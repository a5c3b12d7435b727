"""The models, a folder each, and what they share; `find` reads what is asked for, `model_package` is a model's package.

A further model is one more line in `MODELS`: its name and the package that keeps `ModelPackage`'s promises. A further
checkpoint is a file in its `configs/checkpoint/`, and a name in its `CHECKPOINTS`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from modelmeter.checks import check_overrides
from modelmeter.errors import ModelMeterError, near, shown, type_of

if TYPE_CHECKING:
    from modelmeter.models import (
        deepseek_ocr,
        deepseek_ocr2,
        glm_ocr,
        granite_docling,
        hunyuan_vl,
        idefics3,
        lighton_ocr,
        paddleocr_vl,
        qianfan_ocr,
        qwen2_5_vl,
        qwen2_vl,
        qwen3_vl,
        unlimited_ocr,
    )
    from modelmeter.models.common.contract import ModelPackage

    _DEEPSEEK_OCR_KEEPS_ITS_PROMISES: ModelPackage = deepseek_ocr
    _DEEPSEEK_OCR2_KEEPS_ITS_PROMISES: ModelPackage = deepseek_ocr2
    _GLM_OCR_KEEPS_ITS_PROMISES: ModelPackage = glm_ocr
    _HUNYUAN_VL_KEEPS_ITS_PROMISES: ModelPackage = hunyuan_vl
    _GRANITE_DOCLING_KEEPS_ITS_PROMISES: ModelPackage = granite_docling
    _IDEFICS3_KEEPS_ITS_PROMISES: ModelPackage = idefics3
    _LIGHTON_OCR_KEEPS_ITS_PROMISES: ModelPackage = lighton_ocr
    _QIANFAN_OCR_KEEPS_ITS_PROMISES: ModelPackage = qianfan_ocr
    _PADDLEOCR_VL_KEEPS_ITS_PROMISES: ModelPackage = paddleocr_vl
    _QWEN2_5_VL_KEEPS_ITS_PROMISES: ModelPackage = qwen2_5_vl
    _QWEN2_VL_KEEPS_ITS_PROMISES: ModelPackage = qwen2_vl
    _QWEN3_VL_KEEPS_ITS_PROMISES: ModelPackage = qwen3_vl
    _UNLIMITED_OCR_KEEPS_ITS_PROMISES: ModelPackage = unlimited_ocr

#: the package of each model, by the name that users give it
MODELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "deepseek_ocr": "modelmeter.models.deepseek_ocr",
        "deepseek_ocr2": "modelmeter.models.deepseek_ocr2",
        "glm_ocr": "modelmeter.models.glm_ocr",
        "hunyuan_vl": "modelmeter.models.hunyuan_vl",
        "granite_docling": "modelmeter.models.granite_docling",
        "idefics3": "modelmeter.models.idefics3",
        "lighton_ocr": "modelmeter.models.lighton_ocr",
        "qianfan_ocr": "modelmeter.models.qianfan_ocr",
        "paddleocr_vl": "modelmeter.models.paddleocr_vl",
        "qwen2_5_vl": "modelmeter.models.qwen2_5_vl",
        "qwen2_vl": "modelmeter.models.qwen2_vl",
        "qwen3_vl": "modelmeter.models.qwen3_vl",
        "unlimited_ocr": "modelmeter.models.unlimited_ocr",
    }
)

#: what people ask for by name and no package has, with the reason
NOT_MODELLED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "chandra_2": (
            "it is of Qwen3.5's class, and 24 of its decoder's 32 layers are gated delta rules: their prefill solves "
            "triangular systems (linalg_solve_triangular), for whose FLOPs there is no formula here that was held "
            "against a real run. Its forerunner is modelled: chandra."
        ),
        "got_ocr2": (
            "it is the oldest of its kind (one view of 1024 x 1024, stretched, 256 tokens), and no package was written "
            "for it. Its encoder is modelled in DeepSeek-OCR, its decoder's class in Qwen2-VL; CONTRIBUTING.md says "
            "how a package of its own comes of them."
        ),
        "dots_ocr": (
            "its modules are published as code beside the weights, not in transformers, so there is nothing here to "
            "hold a figure against."
        ),
    }
)

#: its published name, and others that people give it
_ALSO_CALLED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "chandra_ocr_2": "chandra_2",
        "chandra2": "chandra_2",
        "got_ocr": "got_ocr2",
        "got_ocr_2.0": "got_ocr2",
        "got_ocr_2.0_hf": "got_ocr2",
        "got_ocr2_0": "got_ocr2",
        "dots.ocr": "dots_ocr",
    }
)

#: which of these the class of a `config.json` stands for
_CLASSES_NOT_MODELLED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Qwen3_5ForConditionalGeneration": "chandra_2",
        "GotOcr2ForConditionalGeneration": "got_ocr2",
        "DotsOCRForCausalLM": "dots_ocr",
    }
)

DEFAULT_MODEL: Final = "deepseek_ocr"


class Found(NamedTuple):
    """What was asked for: a model, and the overrides of its configuration, with that of the checkpoint among them."""

    model: str
    overrides: list[str]


def model_package(name: str = DEFAULT_MODEL) -> ModelPackage:
    """The package of a model, imported now; raises `ModelMeterError` for a name that is not in `MODELS`."""
    if name not in MODELS:
        raise ModelMeterError(f"model {name} does not exist; {near(name, MODELS)}")
    return cast("ModelPackage", import_module(MODELS[name]))


def checkpoints() -> dict[str, str]:
    """The model of each checkpoint, by the checkpoint's name; no model is imported for it."""
    return {
        file.stem: model
        for model, package in MODELS.items()
        for file in sorted(_folder(package).joinpath("configs", "checkpoint").glob("*.yaml"))
    }


def find(model: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()) -> Found:
    """Which model is asked for, and the overrides of its configuration.

    model: the name of a model or of a checkpoint, or the folder of a user's own checkpoint; the same as `model=` among
    the overrides. `checkpoint=` there says which model it is, too. Without either it is the default model. Raises
    `ModelMeterError` for what does not exist, for several of them, and for a checkpoint that is not the model's.

    >>> find("unlimited_ocr", ["runtime.batch_size=2"])
    Found(model='unlimited_ocr', overrides=['runtime.batch_size=2'])
    """
    check_overrides(overrides)
    named = [("model", _text(model))] if model is not None else []
    others: list[str] = []
    for override in overrides:
        key, equals, value = (part.strip() for part in override.partition("="))
        if equals and key in ("model", "checkpoint"):
            named.append((key, value))
        else:
            others.append(override)
    asked = list(dict.fromkeys(_Asked(f"{key}={value}", *_one(key, value)) for key, value in named))
    first = asked[0] if asked else _Asked("", DEFAULT_MODEL, None)
    for each in asked:
        if each.model != first.model:
            one, other = (each, first) if each.checkpoint is not None else (first, each)
            raise ModelMeterError(
                f"{one.words} is {'a checkpoint of' if one.checkpoint else 'the model'} {one.model}, "
                f"{other.words} asks for {other.model}; give one of the two."
            )
    several = [each for each in asked if each.checkpoint is not None]
    if len({each.checkpoint for each in several}) > 1:
        raise ModelMeterError(f"{' and '.join(each.words for each in several)} are several checkpoints; give one.")
    return Found(first.model, [*(f"checkpoint={each.checkpoint}" for each in several[:1]), *others])


def _text(model: object) -> str:
    """A model's name, or its folder as a text."""
    if not isinstance(model, str | os.PathLike):
        raise ModelMeterError(
            f"load_cost_model: model={shown(model)} is {type_of(model)}; give the name of a model or a "
            f'checkpoint, as in model="{DEFAULT_MODEL}", or the folder of a checkpoint.'
        )
    return str(os.fspath(model))


class _Asked(NamedTuple):
    """What one name asks for. words: as it was given. checkpoint: None where it is the model alone."""

    words: str
    model: str
    checkpoint: str | None


def _one(key: str, name: str) -> tuple[str, str | None]:
    """(model, checkpoint or None) of a name or a folder that was given as `key`."""
    if key == "model" and name in MODELS:
        return name, None
    known = checkpoints()
    if name in known:
        return known[name], name
    from modelmeter.models.common.checkpoint_files import is_folder

    called = name.rpartition("/")[2].lower().replace("-", "_")  # as datalab-to/chandra-ocr-2
    known_as = _ALSO_CALLED.get(called, called)
    if known_as in NOT_MODELLED:
        raise ModelMeterError(f"{key} {name} is not modelled: {NOT_MODELLED[known_as]}")
    if "," in name and not is_folder(name):
        raise ModelMeterError(f"{key}={name} names several {key}s; a cost is one {key}'s, so give one.")
    if is_folder(name):
        return _model_of(name), name
    options = known if key == "checkpoint" else [*MODELS, *(each for each in known if each not in MODELS)]
    raise ModelMeterError(f"{key} {name} does not exist; {near(name, options)}")


def _model_of(folder: str) -> str:
    """The model that a user's own checkpoint is of, as its config.json says."""
    from modelmeter.models.common.checkpoint_files import class_words, read_config

    config = read_config(folder)
    files = {name: model_package(name).CONFIGURATION.files for name in MODELS}
    for name, each in files.items():
        if each.class_of(config) is not None:
            return name
    words = class_words(config)
    known = _CLASSES_NOT_MODELLED.get(words.partition(" ")[0])
    if known is not None:
        raise ModelMeterError(f"checkpoint {folder}: {words} is not modelled, as {known} is not: {NOT_MODELLED[known]}")
    classes = (f"{kind} ({name})" for name, each in files.items() for kind in each.classes)
    raise ModelMeterError(
        f"checkpoint {folder}: config.json is of {words}, which is not modelled; these are: {', '.join(classes)}."
    )


def _folder(package: str) -> Path:
    """Where a model's package lies."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent
