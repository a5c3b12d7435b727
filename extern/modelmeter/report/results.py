"""Result files read back: the JSON that `modelmeter page --json` printed, and the configuration that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.report.json_document import SCHEMA_VERSION

_STAGES: Final = ("vision", "prefill", "decode", "total")
_MEANT: Final = "give what `modelmeter page --json` printed."


def read_result(path: Path) -> dict[str, Any]:
    """A result with pages; raises `ModelMeterError` for a file that is none, or of another schema version."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelMeterError(f"result {path} cannot be read ({error.strerror}); check the path.") from error
    except ValueError as error:
        raise ModelMeterError(f"result {path} is no JSON ({error}); {_MEANT}") from error
    if not isinstance(document, dict) or "schema_version" not in document:
        raise ModelMeterError(f"result {path} has no schema_version, so it is no result of modelmeter; {_MEANT}")
    if document["schema_version"] != SCHEMA_VERSION:
        raise ModelMeterError(
            f"result {path} has schema version {document['schema_version']}, this ModelMeter reads {SCHEMA_VERSION}; "
            "make it again with this version."
        )
    if document.get("command") != "page":
        raise ModelMeterError(f"result {path} is one of `modelmeter {document.get('command')}`; {_MEANT}")
    if not _whole(document):
        raise ModelMeterError(
            f"result {path} is not whole: keys of a result of `modelmeter page` are missing; {_MEANT}"
        )
    return document


def _whole(document: Mapping[str, Any]) -> bool:
    pages = document.get("pages")
    return (
        isinstance(pages, list)
        and bool(pages)
        and all(key in document for key in ("model", "configuration", "output_tokens"))
        and all(
            isinstance(page, dict)
            and all(key in page for key in ("width", "height", "layout", "tokens", "prefill_tokens", "stages"))
            and all(isinstance(page["stages"].get(stage), dict) for stage in _STAGES)
            for page in pages
        )
    )


def overrides_of(configuration: Mapping[str, Any], path: str = "") -> list[str]:
    """The overrides that make a configuration, every key of it.

    >>> overrides_of({"runtime": {"head": None, "prompt": "Free OCR."}, "vision": {"sam": {"qkv_bias": True}}})
    ['runtime.head=null', "runtime.prompt='Free OCR.'", 'vision.sam.qkv_bias=true']
    """
    overrides: list[str] = []
    for key, value in configuration.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            overrides += overrides_of(value, name)
        else:
            overrides.append(f"{name}={_hydra(value)}")
    return overrides


def _hydra(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, Sequence):
        return f"[{','.join(map(_hydra, value))}]"
    return str(value)
