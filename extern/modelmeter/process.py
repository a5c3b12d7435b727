"""What a program of ours is to the system: streams that are written whole or told, signals that end it cleanly.

The command and the Hydra programs run within `as_program`. There

- standard output is written whole, whatever PYTHONUNBUFFERED says; where its reader has gone away (`| head`) the
  program ends with `READER_GONE`, and where it is closed or full, with an error in words. What its encoding lacks is
  escaped;
- standard error is written if that is possible. It never turns into standard output;
- SIGTERM and SIGHUP raise SystemExit, so that unfinished files go; the status is 128 + the signal's number;
- warnings of Python's are not shown, unless they are asked for (-W, PYTHONWARNINGS);
- cycles of objects are looked for less often.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TextIO

from modelmeter.errors import MAX_CHARACTERS, ModelMeterError, printable
from modelmeter.files import write_all

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: Exit status of a program that a closed pipe ends: 128 + SIGPIPE.
READER_GONE: Final = 141

#: signals that ask a program to end; Windows has the first alone
_ENDING: Final = ("SIGTERM", "SIGHUP")

#: objects made, less those that went, until cycles are looked for: Python's 700 are reached again and again while
#: modules are imported, whose objects stay
_OBJECTS_UNTIL_CYCLES: Final = 100_000


def tell(line: str) -> None:
    """Say something on standard error, in one line that a terminal prints as it is."""
    if sys.stderr is not None:  # else print would write to standard output
        print(printable(line, MAX_CHARACTERS), file=sys.stderr)


def tell_error(error: ModelMeterError) -> None:
    """Say on standard error, a line each, what went wrong."""
    for line in error.lines:
        tell(f"error: {line}")


@contextmanager
def as_program() -> Iterator[None]:
    """Run what is within as a program of ours; afterwards all is as it was."""
    with ExitStack() as stack:
        stack.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(_OBJECTS_UNTIL_CYCLES)
        stack.enter_context(_streams())
        stack.enter_context(_signals())
        if not sys.warnoptions:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        yield


# -- streams ---------------------------------------------------------------------------------------------------------


@contextmanager
def _streams() -> Iterator[None]:
    """Put our streams in the places of the process's own; those that a caller has put there stay."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _occupy_closed()
    before = sys.stdin, sys.stdout, sys.stderr
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_Closed("standard input")), "utf-8")
    if sys.stdout is None:
        sys.stdout = _text(_Closed("standard output"), None)
    elif _is_own(sys.stdout, sys.__stdout__):
        sys.stdout.flush()
        sys.stdout = _text(_Output(sys.stdout.fileno()), sys.stdout)
    if sys.stderr is None:
        sys.stderr = _text(_Messages(None), None)
    elif _is_own(sys.stderr, sys.__stderr__):
        sys.stderr = _text(_Messages(sys.stderr.fileno()), sys.stderr)
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def _text(raw: io.RawIOBase, like: TextIO | None) -> TextIO:
    encoding = "utf-8" if like is None else like.encoding
    # without a buffer: nothing is pending when the interpreter ends, so nothing can fail there
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", write_through=True)  # type: ignore[type-var]


def _is_own(stream: TextIO, own: TextIO | None) -> bool:
    """Whether a stream is the process's own, and a file of the system's."""
    try:
        return stream is own and stream.fileno() >= 0
    except (OSError, ValueError):
        return False


def _occupy_closed() -> None:
    """Open the descriptors 0, 1 and 2 if they are closed: a file that got one would take in what libraries print."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


class _Output(io.RawIOBase):
    """Standard output: whole, or an error."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            write_all(self.descriptor, data)
        except BrokenPipeError:
            raise SystemExit(READER_GONE) from None
        except OSError as error:
            raise ModelMeterError(
                f"standard output cannot be written ({error.strerror}); send it elsewhere."
            ) from error
        return memoryview(data).nbytes


class _Messages(_Output):
    """Standard error, of which it cannot be told that it fails; None: it is closed."""

    def __init__(self, descriptor: int | None) -> None:
        self.known = descriptor is not None
        super().__init__(-1 if descriptor is None else descriptor)

    def fileno(self) -> int:
        if not self.known:
            raise io.UnsupportedOperation("standard error is closed")
        return self.descriptor

    def isatty(self) -> bool:
        return self.known and super().isatty()

    def write(self, data: ReadableBuffer, /) -> int:
        if self.known:
            try:
                write_all(self.descriptor, data)
            except OSError:
                self.known = False
        return memoryview(data).nbytes


class _Closed(io.RawIOBase):
    """A stream that was closed before the program began."""

    def __init__(self, name: str) -> None:
        self.who = name

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        raise ModelMeterError(f"{self.who} is closed; open it, or name a file.")

    def write(self, data: ReadableBuffer, /) -> int:
        raise ModelMeterError(f"{self.who} is closed; open it, or send it to a file.")


# -- signals ---------------------------------------------------------------------------------------------------------


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the signals that end a program into SystemExit; one that is ignored (nohup) stays so."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere Python sets no handler
        wanted = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
        before = {each: signal.getsignal(each) for each in wanted if signal.getsignal(each) == signal.SIG_DFL}

    def end(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # what follows is the cleaning
        raise SystemExit(128 + number)

    for each in before:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
