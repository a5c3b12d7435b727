"""Files that are written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelmeter.errors import ModelMeterError


def write_whole(path: Path, content: str | bytes, *, suffix: str | None = None) -> None:
    """Write `content` (text as UTF-8) through a temporary file beside `path`; the old file stays until it is whole."""
    with replacing(path, suffix=suffix) as temporary, writing(path):
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, suffix: str | None = None) -> Iterator[Path]:
    """A temporary file beside `path`, for the caller to write, that takes the place of `path` at the end.

    If the caller fails, it is removed, and what was there stays. suffix: of its name, where no other process writes
    `path` meanwhile: what a killed process left is then written over; by default it is random.
    """
    temporary = path.with_name(f".{path.name}.{suffix or secrets.token_hex(8)}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.open("wb" if suffix else "xb").close()
    try:
        yield temporary
        with writing(path):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write `path` into the error that a user is meant to read."""
    try:
        yield
    except OSError as error:
        raise ModelMeterError(
            f"{path}: cannot be written ({error.strerror or error}); choose another folder."
        ) from error
