"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from modelmeter.errors import ModelMeterError


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) through a temporary file beside `path`; the old file stays until it is whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.fchmod(handle, 0o666 & ~_umask())  # as any new file: mkstemp lets nobody else read it
    except OSError as error:
        raise ModelMeterError(f"{path}: cannot be written ({error.strerror}); choose another folder.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise ModelMeterError(f"{path}: cannot be written ({error.strerror}); choose another folder.") from error
