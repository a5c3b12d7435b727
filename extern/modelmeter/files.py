"""Every output of the library: written whole or not at all, behind its links, and never over what was read.

A file is written under the name `.NAME.unfinished` beside its place, flushed to the disk, and renamed: whatever moment
a run is killed at, the old file or the new one is there. What such a run leaves is written over by the next one. A link
stays a link, and what it names is written; the mode and, where the system allows it, the owner of the old file stay.
Into what is no file (a pipe, `/dev/null`, a terminal, `/dev/stdout`) the whole is poured when it is done.

Text is UTF-8; what UTF-8 cannot hold is escaped, by `encodable`.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelmeter.errors import ModelMeterError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: ends the name of a file that is being written
UNFINISHED: Final = "unfinished"

#: links that are followed, as many as Linux follows
_MAX_LINKS: Final = 40

#: bytes of a name that leaves room for what is put around it, of the 255 that file systems allow
_LONG_NAME: Final = 200

#: seconds that a named pipe is given to find a reader
READER_WAIT_S: Final = 5.0

_STDOUT: Final = 1
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY


# -- text ------------------------------------------------------------------------------------------------------------


def encodable(text: str) -> str:
    r"""Text that every file and every stream of UTF-8 takes: a lone surrogate is written as its escape.

    Python reads such surrogates from file names that are no UTF-8, and from JSON.

    >>> encodable("scan-\udcff.png")
    'scan-\\udcff.png'
    """
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


# -- writing ---------------------------------------------------------------------------------------------------------


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path`; the old file stays until the new one is whole."""
    with replacing(path) as temporary, writing(path):
        temporary.write_bytes(content if isinstance(content, bytes) else encodable(content).encode())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file for the caller to write, that takes the place of `path` at the end.

    If the caller fails, it is removed, and what was there stays. Where `path` is a pipe or a device, what was written
    goes into it at the end.
    """
    with writing(path):
        target = _behind_links(path)
        before = None if isinstance(target, int) else _status(target)
        if before is not None:
            _check_kind(path, target, before)
    if isinstance(target, int) or (before is not None and not stat.S_ISREG(before.st_mode)):
        import tempfile

        with tempfile.TemporaryDirectory(prefix="modelmeter-") as folder:
            whole = Path(folder) / "whole"
            whole.touch()
            yield whole
            with writing(path):
                _pour(whole, target)
        return
    with writing(path):
        if target == path:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not target.parent.is_dir():
            raise ModelMeterError(
                f"{path}: is a link to {target}, whose folder does not exist; make that folder, or name another file."
            )
        temporary, descriptor = _unfinished(path, target, 0o666 if before is None else 0o600)
    try:
        yield temporary
        with writing(path):
            if before is not None:
                _take_over(temporary, before)
            os.fsync(descriptor)
            os.replace(temporary, target)
            _flush_folder(target.parent)
    finally:
        if _is_at(descriptor, temporary):  # else it is in place, and another process may be writing under this name
            temporary.unlink()
        os.close(descriptor)  # and with it the lock that says that someone is at work


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write `path` into the error that a user is meant to read."""
    try:
        yield
    except OSError as error:
        raise ModelMeterError(
            f"{path}: cannot be written ({error.strerror or error}); choose another folder."
        ) from error


def write_all(descriptor: int, data: ReadableBuffer) -> None:
    """Write all of `data`; one call of the operating system may write less."""
    left = memoryview(data).cast("B")
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # another program has set the pipe so
            select.select([], [descriptor], [])


def _behind_links(path: Path) -> Path | int:
    """The place that `path` stands for, which need not exist; or the number of an open descriptor (`/dev/stdout`)."""
    place = path
    for _ in range(_MAX_LINKS):
        number = _descriptor(place)
        if number is not None:
            return number
        if not os.path.islink(place):
            return place
        place = place.parent / os.readlink(place)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _descriptor(place: Path) -> int | None:
    """N of `/dev/fd/N`: what it is a link to may have no name, or one that another file has taken since."""
    if not place.name.isdecimal() or not os.path.isabs(place):
        return None
    folders = {os.path.realpath(folder) for folder in ("/proc/self/fd", "/dev/fd")}
    return int(place.name) if os.path.realpath(place.parent) in folders else None


def _status(place: Path) -> os.stat_result | None:
    try:
        return os.stat(place)
    except FileNotFoundError:
        return None


def _check_kind(path: Path, target: Path | int, status: os.stat_result) -> None:
    """Refuse what is neither a file, a pipe nor a device of characters, and what may not be written."""
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISBLK(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        raise ModelMeterError(f"{path}: is a disk or a socket, over which nothing is written; name a file.")
    if not os.access(target, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _unfinished(path: Path, target: Path, mode: int) -> tuple[Path, int]:
    """A new file beside `target`, and its locked descriptor; what a killed process left there goes."""
    name = target.name
    if len(os.fsencode(name)) > _LONG_NAME:
        import hashlib  # OpenSSL takes 2 ms to load

        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    temporary = target.parent / f".{name}.{UNFINISHED}"
    try:
        descriptor = _new_file(temporary, mode)
        if descriptor is None and _remove_left_behind(temporary):
            descriptor = _new_file(temporary, mode)
        if descriptor is None:  # another process writes the same file: the last one to end wins, with a whole file
            import secrets

            temporary = target.parent / f".{name}.{secrets.token_hex(8)}.{UNFINISHED}"
            descriptor = os.open(temporary, _NEW, mode)
    except PermissionError as error:
        raise ModelMeterError(
            f"{path}: cannot be written: no file can be made beside it ({error.strerror}), and a file is replaced only "
            "when the new one is whole; choose another folder."
        ) from error
    return temporary, descriptor


def _new_file(place: Path, mode: int) -> int | None:
    """The descriptor of a file that was not there, locked; None if it was there."""
    try:
        descriptor = os.open(place, _NEW, mode)
    except FileExistsError:
        return None
    if _lock(descriptor) and _is_at(descriptor, place):
        return descriptor
    os.close(descriptor)
    return None


def _remove_left_behind(place: Path) -> bool:
    """Remove a file that is no longer being written: the lock of a process ends with it."""
    try:
        descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not _lock(descriptor) or not _is_at(descriptor, place):
            return False
        place.unlink()
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether no other process holds the file; a file system without locks, and Windows, says so of every file."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


def _is_at(descriptor: int, place: Path) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(place))
    except FileNotFoundError:
        return False


def _take_over(temporary: Path, before: os.stat_result) -> None:
    """Give a file the owner, where that is allowed, and the mode of the one that it replaces."""
    mode = stat.S_IMODE(before.st_mode)
    now = os.stat(temporary)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.chown(temporary, before.st_uid, before.st_gid)
        except OSError:
            mode &= 0o777  # its right to run as its owner was the old owner's to give
    os.chmod(temporary, mode)


def _flush_folder(folder: Path) -> None:
    """Have the folder's names on the disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _pour(whole: Path, target: Path | int) -> None:
    """Write a file that is whole into a pipe, a device or an open descriptor."""
    if isinstance(target, int):
        if target == _STDOUT and sys.stdout is not None:
            sys.stdout.flush()
        descriptor = os.dup(target)
    else:
        descriptor = _opened(target)
    try:
        with whole.open("rb") as file:
            while data := file.read(1 << 20):
                write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _opened(special: Path) -> int:
    """A pipe or a device, open; a pipe that finds no reader within `READER_WAIT_S` is refused."""
    until = time.monotonic() + READER_WAIT_S
    while True:
        try:
            descriptor = os.open(special, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(special).st_mode):
                raise
            if time.monotonic() > until:
                raise ModelMeterError(
                    f"{special}: nobody reads this pipe; start its reader first, or name a file."
                ) from None
            time.sleep(0.02)
        else:
            os.set_blocking(descriptor, True)
            return descriptor


# -- before anything is written ------------------------------------------------------------------------------------


def is_standard_output(path: Path) -> bool:
    """Whether `path` is another name of standard output, such as `/dev/stdout`."""
    try:
        return _behind_links(path) == _STDOUT
    except OSError:
        return False


def check_output(
    who: str, path: Path, inputs: Iterable[str | os.PathLike[str]] = (), resume: Path | None = None
) -> None:
    """Refuse an output that is a directory, one of the inputs, in the folder of a resumed run, or standard output.

    inputs: files that are read, which need not exist; two names of one file are one file. Ask before anything is
    computed: an input is never written over.
    """
    if os.path.isdir(path):
        raise ModelMeterError(f"{who}: {path} is a directory; give the name of a file.")
    if is_standard_output(path):
        raise ModelMeterError(f"{who}: {path} is standard output, where the result goes; give the name of a file.")
    if resume is not None and is_within(path, resume):
        raise ModelMeterError(
            f"{who}: {path} is in {resume}, which remembers how far the run came; choose another folder."
        )
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(status.st_mode):
        return
    for each in inputs:
        if _is_same(status, each):
            raise ModelMeterError(f"{who}: {path} is one of the inputs; give the output another name.")
    if resume is not None and os.path.isdir(resume) and any(_is_same(status, each) for each in os.scandir(resume)):
        raise ModelMeterError(f"{who}: {path} is a file of {resume} under another name; give the output another name.")
    if sys.__stdout__ is not None and _is_same(status, _STDOUT):
        raise ModelMeterError(f"{who}: {path} is where standard output goes; give the output another name.")


def is_within(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Whether `path` is `folder` or below it, whatever links lead there; neither need exist."""
    places = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if places[0].is_relative_to(places[1]):
        return True
    try:
        status = os.stat(places[1])
    except OSError:
        return False
    return any(_is_same(status, each) for each in (places[0], *places[0].parents))


def _is_same(status: os.stat_result, other: str | os.PathLike[str] | int) -> bool:
    try:
        return os.path.samestat(status, os.stat(other))
    except (OSError, ValueError):
        return False
