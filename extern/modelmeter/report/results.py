"""Result files read back: the JSON that `modelmeter page --json` printed, held against what that may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from modelmeter.documents import read_json
from modelmeter.errors import ModelMeterError, shown
from modelmeter.kinds import Kind, ListOf, Record, Text, Whole
from modelmeter.models.common.stage_cost import FIGURE, PATH
from modelmeter.page_sizes import MAX_SIDE
from modelmeter.report.diff_tables import COMPARED
from modelmeter.report.json_document import SCHEMA_VERSION

_MEANT: Final = "give what `modelmeter page --json` printed"

#: some 2,500 pages
_MOST_BYTES: Final = 2**24

_COUNT: Final = Whole(0, 2**53)
_SIDE: Final = Whole(1, MAX_SIDE)


class _Mapping:
    """A mapping that the model's own package reads."""

    def read(self, name: str, value: object) -> dict[str, Any]:
        """The mapping as it is."""
        if not isinstance(value, dict):
            raise ModelMeterError(f"{name}={shown(value)} is no mapping; {_MEANT}.")
        return value


class _Counts:
    """Numbers by name, whichever a model has."""

    def read(self, name: str, value: object) -> dict[str, int]:
        """The numbers."""
        content = _Mapping().read(name, value)
        if len(content) > 100:
            raise ModelMeterError(f"{name} has {len(content):,} numbers; {_MEANT}.")
        return {str(key)[:100]: _COUNT.read(f"{name}.{str(key)[:100]}", each) for key, each in content.items()}


def _of_page(kinds: dict[str, Kind[Any]]) -> Record:
    return Record(kinds, "a result", others=True, missing=_MEANT)


_STAGES: Final = tuple(dict.fromkeys(stage for stages in COMPARED.values() for stage in stages))
_STAGE: Final = _of_page({**dict.fromkeys(COMPARED, FIGURE), "peak_path": PATH, "peak_operator": PATH})
_PAGE: Final = _of_page(
    {
        "width": _SIDE,
        "height": _SIDE,
        "layout": _Counts(),
        "tokens": _of_page({"total": _COUNT}),
        "prefill_tokens": _COUNT,
        "stages": _of_page(dict.fromkeys(_STAGES, _STAGE)),
    }
)
_RESULT: Final = _of_page(
    {"model": Text(200), "configuration": _Mapping(), "output_tokens": _COUNT, "pages": ListOf(_PAGE, 1, 10_000)}
)


def read_result(path: Path) -> dict[str, Any]:
    """A result with pages: `model`, `configuration`, `output_tokens`, and `pages` with what is compared of them.

    Raises `ModelMeterError` for a file that is none, or of another schema version, and for a value that no page has.
    Newer keys are left out. The configuration is for the model's package to read.
    """
    who = f"result {path}"
    document = read_json(who, path, _MOST_BYTES)
    if not isinstance(document, dict) or "schema_version" not in document:
        raise ModelMeterError(f"{who} has no schema_version, so it is no result of modelmeter; {_MEANT}.")
    version, command = document["schema_version"], document.get("command")
    if isinstance(version, bool) or version != SCHEMA_VERSION:
        raise ModelMeterError(
            f"{who} has schema version {shown(version)}, this ModelMeter reads {SCHEMA_VERSION}; "
            "make it again with this version."
        )
    if command != "page":
        made = f"one of `modelmeter {command}`" if isinstance(command, str) else f"of no command ({shown(command)})"
        raise ModelMeterError(f"{who} is {made}; {_MEANT}.")
    return _RESULT.read(f"{who}: ", document)
