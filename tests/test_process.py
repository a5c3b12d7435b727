"""Streams that are written whole or told, signals that end a program cleanly: mostly the command, in this process."""

import gc
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from modelmeter.errors import ModelMeterError
from modelmeter.process import READER_GONE, as_program, tell
from modelmeter.programs.hydra_program import ended

pytestmark = pytest.mark.slow  # whole answers, one after another

Given = Callable[..., None]

#: more output than a pipe holds
MANY = [f"{side}x1650" for side in range(500, 560)]
COMMANDS = (["page", "5x5"], ["page", "5x5", "--json"], ["--help"], ["page", "--help"], ["--version"], ["devices"])


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    """Give this process a descriptor as its standard output, buffered as Python does or as PYTHONUNBUFFERED asks."""
    opened: list[io.TextIOWrapper] = []

    def give(descriptor: int, *, unbuffered: bool = False, encoding: str = "utf-8") -> None:
        raw: Any = io.FileIO(descriptor, "w", closefd=False)
        stream = io.TextIOWrapper(raw if unbuffered else io.BufferedWriter(raw), encoding, write_through=unbuffered)
        opened.append(stream)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)

    yield give
    for stream in opened:
        stream.close()


# -- standard output -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_reader_that_leaves_half_way(unbuffered: bool, stdout: Given, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    stdout(writer, unbuffered=unbuffered)

    def read_a_line() -> None:
        os.read(reader, 100)
        os.close(reader)

    thread = threading.Thread(target=read_a_line)
    thread.start()
    assert main(["page", *MANY, "--json"]) == READER_GONE == 141
    thread.join()
    os.close(writer)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_pipe_gets_all(unbuffered: bool, stdout: Given) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # as a shell's other programs may leave it
    stdout(writer, unbuffered=unbuffered)
    read: list[bytes] = []

    def read_all() -> None:
        while data := os.read(reader, 1000):
            read.append(data)

    thread = threading.Thread(target=read_all)
    thread.start()
    assert main(["page", *MANY, "--json"]) == 0
    os.close(writer)
    thread.join()
    os.close(reader)
    assert len(json.loads(b"".join(read))["pages"]) == len(MANY)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_is_gone(arguments: list[str], stdout: Given, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stdout(writer)
    assert main(arguments) == READER_GONE
    os.close(writer)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk(arguments: list[str], stdout: Given, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w") as full:
        stdout(full.fileno())
        assert main(arguments) == 2
    message = "error: standard output cannot be written (No space left on device); send it elsewhere.\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_standard_output_is_closed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(arguments) == 2
    assert capsys.readouterr().err == "error: standard output is closed; open it, or send it to a file.\n"


@pytest.mark.parametrize("arguments", [["page", "5x5"], ["report", "5x5", "-o", "-"]])
def test_a_terminal_that_speaks_ascii(arguments: list[str], stdout: Given, tmp_path: Path) -> None:
    """What it lacks is escaped; a document is UTF-8, as its file would be."""
    with (tmp_path / "out").open("wb") as out:
        stdout(out.fileno(), encoding="ascii")
        assert main(arguments) == 0
    assert (tmp_path / "out").read_bytes().isascii() == (arguments[0] == "page")


def test_what_a_program_prints_itself_is_escaped(stdout: Given, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        stdout(out.fileno(), encoding="ascii")
        with as_program():
            print("\u00e9\udcff")
    assert (tmp_path / "out").read_bytes() == b"\\xe9\\udcff\n"


def test_a_stream_of_the_caller_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    from contextlib import redirect_stdout

    with redirect_stdout(io.StringIO()) as out:
        assert main(["report", "5x5", "-o", "-", "--format", "markdown"]) == 0
        assert main(["page", "5x5"]) == 0
    assert "# ModelMeter report" in out.getvalue() and "5x5: 5 x 5 pixels" in out.getvalue()
    assert capsys.readouterr() == ("", "")


# -- the other streams ---------------------------------------------------------------------------------------------


def test_standard_error_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["page", "0x5"]) == 2
    assert main(["page", "--nothing"]) == 2
    assert ended(lambda: refuse()) == 2
    tell("a line")
    assert capsys.readouterr().out == ""
    assert main(["page", "5x5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["command"] == "page"


def refuse() -> int:
    raise ModelMeterError("refused")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_standard_error_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        monkeypatch.setattr(sys, "__stderr__", full)
        assert main(["page", "0x5"]) == 2


def test_standard_input_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["corpus", "-"]) == 2
    assert capsys.readouterr() == ("", "error: standard input is closed; open it, or name a file.\n")
    assert main(["page", "5x5"]) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are POSIX's")
def test_no_file_becomes_a_closed_stream(tmp_path: Path) -> None:
    """A report that got the number of a closed standard error would take in what libraries print there."""
    code = f"""
import os, sys
from modelmeter.process import as_program
with as_program():
    file = open({str(tmp_path / "file")!r}, "w")
    assert file.fileno() > 2, file.fileno()
    os.write(2, b"of a library in C")
"""
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code], check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""


# -- signals -------------------------------------------------------------------------------------------------------

ENDING = [
    pytest.param(name, status, marks=pytest.mark.skipif(not hasattr(signal, name), reason="no such signal here"))
    for name, status in (("SIGTERM", 143), ("SIGHUP", 129))
]


@pytest.mark.parametrize("name, status", ENDING)
def test_a_signal_leaves_nothing_behind(
    name: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(signal, name)
    found = signal.signal(number, signal.SIG_DFL)  # as a program finds it; Ray leaves a handler of its own

    def signalled(*_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)  # Python looks for signals here

    monkeypatch.setattr(os, "replace", signalled)  # the file is written, not yet in place
    try:
        assert main(["report", "5x5", "-o", str(tmp_path / "r.json")]) == status
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, found)
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr() == ("", "")


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with as_program():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_thread_is_a_program_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where Python sets no handlers."""
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(main(["--version"])))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_an_interrupt_while_importing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "modelmeter.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "modelmeter.cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    assert main(["page", "5x5"]) == 130
    assert capsys.readouterr() == ("", "")


# -- what is said --------------------------------------------------------------------------------------------------


def test_warnings_of_python_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with as_program():
            warnings.warn("of a library", DeprecationWarning, stacklevel=1)
        assert shown == []
        monkeypatch.setattr(sys, "warnoptions", ["default"])  # asked for
        with as_program():
            warnings.warn("of a library", DeprecationWarning, stacklevel=1)
        assert len(shown) == 1


def test_cycles_are_looked_for_less_often_while_a_program_runs() -> None:
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), as_program():
        assert gc.isenabled()
        assert gc.get_threshold()[0] > 10 * before[0]
        raise ZeroDivisionError
    assert gc.get_threshold() == before


def test_a_line_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell("a\x1b[31mb\nc\u202e\udcff" + "n" * 100_000)
    err = capsys.readouterr().err
    assert err.startswith(r"a\x1b[31mb\nc\u202e\udcffnn") and len(err) == 901
