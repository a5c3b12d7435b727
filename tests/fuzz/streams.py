"""Streams and signals: the command as a process of its own, with the streams that a shell may give it, and signals."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.fuzz.judge import CRASHED, HALF_WRITTEN, HUNG, REFUSED, RIGHT, WRONG, Answer, Verdict, refusal_fault

#: share of all cases: a process takes a second
SHARE: Final = 1 / 500
NAME: Final = "streams and signals"

#: seconds after which a process counts as hung; it is one of several on a machine that has other work
PATIENCE_S: Final = 60.0

MANY: Final = [f"{side}x1650" for side in range(500, 560)]
COMMANDS: Final[Sequence[Sequence[str]]] = (
    ("page", "5x5"),
    ("page", "5x5", "--json"),
    ("page", *MANY, "--json"),
    ("page", "0x5"),
    ("devices",),
    ("corpus", "t.csv", "--json"),
    ("corpus", "-", "--json"),
    ("corpus", "\udcff.csv"),
    ("report", "5x5", "-o", "r.json"),
    ("report", "5x5", "-o", "-", "--format", "markdown"),
    ("--help",),
    ("nothing",),
)
#: what each command ends with where nothing is in its way
STATUS: Final = {("page", "0x5"): 2, ("nothing",): 2}
READER_GONE: Final = 141
OUTPUTS: Final = ("r.json",)


@dataclass(frozen=True, kw_only=True)
class StreamCase:
    """A command as a process. kind: what is done to its streams, or "signal"; number, delay: of the signal."""

    command: Sequence[str]
    kind: str
    variables: Mapping[str, str]
    number: signal.Signals = signal.SIGTERM
    delay: float = 0.0

    def __str__(self) -> str:
        after = f" {self.number.name} after {self.delay:.2f} s" if self.kind == "signal" else ""
        return f"{' '.join(self.command)[:100]} [{self.kind}{after} {' '.join(self.variables)}]"


KINDS: Final = ("gone", "leaves", "full", "closed", "errors closed", "input closed", "whole")
VARIABLES: Final[Sequence[Mapping[str, str]]] = (
    {},
    {"PYTHONUNBUFFERED": "1"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C"},
)


def judge(chance: random.Random, folder: Path) -> Verdict:
    """Judge a case drawn by chance in an empty folder."""
    case = StreamCase(
        command=chance.choice(COMMANDS),
        kind=chance.choice((*KINDS, *["signal"] * 5)),
        variables=chance.choice((*VARIABLES, {}, {})),
        number=chance.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)),
        delay=chance.choice((chance.uniform(0.05, 0.5), chance.uniform(0.2, 3.0))),
    )
    return judge_case(case, folder)


def judge_case(case: StreamCase, folder: Path) -> Verdict:
    """Judge a case in an empty folder."""
    command, kind, number = case.command, case.kind, case.number
    (folder / "t.csv").write_text("width,height\n1275,1650\n5,5\n")
    (folder / "\udcff.csv").write_text("width,height\n1275,1650\n5,5\n")
    before = {place.name: place.read_bytes() for place in folder.iterdir()}

    def verdict(name: str, why: str = "") -> Verdict:
        return Verdict(name, f"{case} {why}" if why else "")

    status, out, err, hung = _run(case, folder)
    if hung:
        return verdict(HUNG, "took too long")
    usual = STATUS.get(tuple(command), 0)
    allowed = {
        "gone": {READER_GONE, usual},
        "leaves": {READER_GONE, usual},
        "full": {2},
        "closed": {2},
        "errors closed": {usual},
        "input closed": {2 if "-" in command[:2] else usual},
        "whole": {usual},
        # before Python has set its handlers the signal itself ends it
        "signal": {usual, 128 + number, -number},
    }[kind]
    if command[0] == "report" and "r.json" in command:
        allowed |= {usual}  # little goes to standard output
    if "Traceback" in err and not (kind == "signal" and "modelmeter/" not in err):  # Python's own start is not ours
        return verdict(CRASHED, err[-800:])
    if status not in allowed:
        return verdict(CRASHED, f"status {status}, expected {sorted(allowed)}: {err[-300:]}")
    if fault := _files_fault(folder, before, status):
        return verdict(HALF_WRITTEN, fault)
    answer = Answer(status=status, out=out, err=err, folder=folder)
    if status == 2 and kind != "errors closed" and (fault := refusal_fault(answer)):
        return verdict(WRONG, fault)
    if status == 0 and "--json" in command and kind in ("whole", "errors closed", "signal"):
        json.loads(out)
    return verdict(REFUSED if status == 2 else RIGHT)


def _run(case: StreamCase, folder: Path) -> tuple[int, str, str, bool]:
    """(status, standard output, standard error, whether it hung)."""
    unset = ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "LC_ALL")
    variables = {name: value for name, value in os.environ.items() if name not in unset} | case.variables
    started: list[str] = [sys.executable, "-m", "modelmeter", *case.command]
    closing = {"closed": ">&-", "errors closed": "2>&-", "input closed": "<&-", "full": ">/dev/full"}.get(case.kind)
    if closing:
        started = ["/bin/sh", "-c", f'exec "$@" {closing}', "sh", *started]
    err_file = folder.parent / "err"
    with (
        err_file.open("wb") as err,
        subprocess.Popen(
            started,
            cwd=folder,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            preexec_fn=_default_signals,
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        out = b""
        try:
            process.stdin.write(b"width,height\n5,5\n")
            process.stdin.close()
        except BrokenPipeError:
            pass
        if case.kind == "gone":
            process.stdout.close()
        elif case.kind == "leaves":
            out = os.read(process.stdout.fileno(), 50)
            process.stdout.close()
        elif case.kind == "signal":
            time.sleep(case.delay)
            process.send_signal(case.number)
        try:
            if process.stdout.closed:
                process.wait(PATIENCE_S)
            else:
                process.stdin = None
                out, _ = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return 0, "", "", True
    text = err_file.read_bytes().decode(errors="surrogateescape")
    err_file.unlink()
    return process.returncode, out.decode(errors="surrogateescape"), text, False


def _default_signals() -> None:
    """A shell starts what runs in the background with SIGINT ignored, and nohup with SIGHUP."""
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL if each != signal.SIGINT else signal.default_int_handler)


def _files_fault(folder: Path, before: dict[str, Any], status: int) -> str | None:
    for place in folder.iterdir():
        if place.name in before:
            if place.read_bytes() != before[place.name]:
                return f"{place.name} was changed"
        elif place.name not in OUTPUTS:
            if status >= 0 or not place.name.endswith(".unfinished"):
                return f"{place.name} was left behind"
            place.unlink()  # Python had not set its handlers yet
        else:
            json.loads(place.read_bytes())
    return None
