"""Results as JSON: a schema version, and no integer that a reader could round."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from modelmeter.files import encodable
from modelmeter.models.common.stage_cost import json_number

#: raised when a key is renamed, removed or changes its meaning; new keys leave it
SCHEMA_VERSION: Final = 1


def json_text(command: str, content: Mapping[str, Any]) -> str:
    """A JSON document of a command: schema version, command, then `content`; integers beyond 2^53 as text.

    It is ASCII, so that nothing in it is a terminal's to obey; a lone surrogate, which not every reader takes, is
    written by `encodable`.
    """
    document = {"schema_version": SCHEMA_VERSION, "command": command} | _exact(content)
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _exact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {encodable(str(key)): _exact(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(each) for each in value]
    return encodable(value) if isinstance(value, str) else json_number(value)
