"""Signs of life: a bar on a terminal, lines elsewhere, nothing on standard output."""

import io
import re
import threading
import time

import pytest

from modelmeter import progress as module
from modelmeter.progress import progress


def test_lines_come_while_one_piece_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LINE_S", 0.01)
    with progress("verify", "pages", 2) as told:
        told(1)
        time.sleep(0.2)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) > 2
    assert set(lines) == {"verify: 1 of 2 pages done, 0 min"}


def test_nothing_is_said_within_a_minute_and_nothing_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert module.LINE_S == 60
    before = threading.active_count()
    with pytest.raises(ValueError, match="broken"), progress("verify", "pages", 2) as told:
        told(1)
        raise ValueError("broken")
    assert capsys.readouterr() == ("", "")
    assert threading.active_count() == before


def test_a_terminal_gets_a_bar_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("calibrate", "products", 40) as told:
        told(3)
    assert re.search("products .* 3/40", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()))
    assert terminal.getvalue().rstrip().endswith("\x1b[2K")  # it leaves nothing behind
