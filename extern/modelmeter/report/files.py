"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from modelmeter.errors import ModelMeterError


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path` through a temporary file beside it; what was there stays until the new text is whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ModelMeterError(f"{path}: cannot be written ({error.strerror}); choose another folder.") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise ModelMeterError(f"{path}: cannot be written ({error.strerror}); choose another folder.") from error
