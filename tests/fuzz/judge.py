"""One run of the command on one case, in this process, and what is to be thought of it.

A process that judges is prepared once (`Bench`): the descriptors 1 and 2 go into files in memory, so that what
libraries in C print is seen too; traps are set; the operating system ends the process, by SIGPROF after 10 s of
processor time in one case and by SIGALRM after 60 s, whatever the process is doing.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
import resource
import shutil
import signal
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.fuzz.mutations import EVIL_MODULE, SECRET_VARIABLE

RIGHT: Final = "right"
REFUSED: Final = "refused well"
CRASHED: Final = "crashed"
HUNG: Final = "hung"
WRONG: Final = "wrong"
HALF_WRITTEN: Final = "half-written"
SECURITY: Final = "security"
VERDICTS: Final = (RIGHT, REFUSED, CRASHED, HUNG, WRONG, HALF_WRITTEN, SECURITY)
GOOD: Final = (RIGHT, REFUSED)

CPU_SECONDS: Final = 10
WALL_SECONDS: Final = 60
MEMORY_BYTES: Final = 6 * 2**30
MOST_LINES: Final = 3
MOST_CHARACTERS: Final = 1000

#: file of a bench that says what its last case was
ASKED: Final = "asked"

SECRET: Final = "tell-nobody-5b1f7c"
#: programs that a decoder might start
PROGRAMS: Final = ("gs", "gswin64c", "magick", "convert", "sh", "xdg-open", "djpeg", "dwebp")
#: what no decoder and no reader has to do
_FORBIDDEN_EVENTS: Final = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.getaddrinfo"}
)
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the command did. out, err: what it printed, as text."""

    status: int
    out: str
    err: str
    folder: Path

    def json(self) -> Any:
        """Standard output as JSON; raises ValueError for what is none, for infinities and for NaN."""
        return json.loads(self.out, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} in JSON")


Check = Callable[[Answer], str | None]
"""What is wrong with an answer of status 0; None: nothing."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command line, the files for it being written in the working directory already.

    expected: REFUSED or RIGHT where the class knows which it must be. check: of an answer. outputs: files that the
    command may write, or folders, whose names end in "/". repeat: whether it must say the same a second time.
    """

    arguments: list[str]
    stdin: bytes = b""
    expected: str | None = None
    check: Check = lambda _: None
    outputs: tuple[str, ...] = ()
    repeat: bool = False


Maker = Callable[[random.Random], Case]
"""Writes the files of a case into the working directory; the case."""


@dataclass(frozen=True)
class Verdict:
    """What is thought of one case; why, where it is not good."""

    verdict: str
    why: str = ""


@dataclass
class Bench:
    """A process that is prepared to judge. folder: its own, all of which may be written. run: the command."""

    folder: Path
    run: Callable[[list[str]], int]
    cpu_seconds: float = CPU_SECONDS
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.case = self.folder / "case"
        self.mark = self.folder / "mark"
        traps = self.folder / "traps"
        (traps / EVIL_MODULE).mkdir(parents=True)
        (traps / EVIL_MODULE / "__init__.py").write_text(f"open({str(self.mark)!r}, 'a').write('imported')\n")
        for name in PROGRAMS:
            (traps / name).write_text(f"#!/bin/sh\necho started >> {self.mark}\n")
            (traps / name).chmod(0o755)
        sys.path.append(str(traps))
        os.environ["PATH"] = f"{traps}{os.pathsep}{os.environ['PATH']}"
        os.environ[SECRET_VARIABLE] = os.environ["HOME"] = f"/{SECRET}"
        os.environ["COLUMNS"] = "120"
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        tempfile.tempdir = str(self.temporary)
        self.streams = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        for number, descriptor in enumerate(self.streams):
            os.dup2(descriptor, number)
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True)
        sys.stderr = sys.__stderr__ = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True
        )
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.watching = False
        sys.addaudithook(self._watch)

    def _watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event in _FORBIDDEN_EVENTS:
            self.events.append(f"{event} {arguments[:1]!r}"[:200])
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
            name = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""
            if name.startswith("/") and not name.startswith((str(self.folder), "/dev/", "/proc/")):
                self.events.append(f"writes {name}"[:200])

    def judge(self, make: Maker, chance: random.Random) -> Verdict:
        """Make a case in an empty folder, run it, and judge."""
        self._empty()
        os.chdir(self.case)
        case = make(chance)
        before = _listing(self.case)
        (self.folder / ASKED).write_text(ascii(case.arguments))  # for whoever finds that this was the last case
        signal.setitimer(signal.ITIMER_PROF, self.cpu_seconds)
        signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
        self.watching = True
        try:
            answer = self._run(case)
            verdict = self._verdict(case, answer, before)
            if verdict.verdict == RIGHT and case.repeat and (again := self._run(case)) != answer:
                verdict = Verdict(WRONG, f"another answer the second time: {_first_difference(answer.out, again.out)}")
        except BaseException:
            verdict = Verdict(CRASHED, traceback.format_exc()[-1500:])
        finally:
            self.watching = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        if verdict.why:
            return Verdict(verdict.verdict, f"{verdict.why[:1500]}  [{' '.join(map(repr, case.arguments))[:1500]}]")
        return verdict

    def _empty(self) -> None:
        os.chdir(self.folder)
        for place in (self.case, self.temporary):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        self.mark.unlink(missing_ok=True)
        self.events.clear()

    def _run(self, case: Case) -> Answer:
        for descriptor in self.streams:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(0, case.stdin)
        os.lseek(0, 0, os.SEEK_SET)
        sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
        status = self.run(case.arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = (_content(descriptor) for descriptor in self.streams[1:])
        return Answer(status=status, out=out, err=err, folder=self.case)

    def _verdict(self, case: Case, answer: Answer, before: Mapping[str, Any]) -> Verdict:
        if fault := self._security(case, answer):
            return Verdict(SECURITY, fault)
        if fault := _crash(answer):
            return Verdict(CRASHED, fault)
        if fault := self._files(case, answer, before):
            return Verdict(HALF_WRITTEN, fault)
        if answer.status:
            fault = refusal_fault(answer)
            if not fault and case.expected == RIGHT:
                fault = f"refused, and nothing is wrong with it: {answer.err}"
            return Verdict(WRONG, fault) if fault else Verdict(REFUSED)
        if case.expected == REFUSED:
            return Verdict(WRONG, f"answered, where it must refuse: {answer.out[:200]}")
        try:
            fault = answer_fault(case, answer) or case.check(answer)
        except (ValueError, LookupError, TypeError) as error:
            fault = f"an answer of another form: {type(error).__name__}: {error}"
        return Verdict(WRONG, fault) if fault else Verdict(RIGHT)

    def _security(self, case: Case, answer: Answer) -> str | None:
        if self.mark.exists():
            return f"a trap was touched: {self.mark.read_text()}"
        if self.events:
            return f"events: {self.events}"
        if SECRET in answer.out + answer.err:
            return "the environment was printed"
        for place in self.case.rglob("*"):
            if place.is_file() and place.stat().st_size < 2**24 and SECRET.encode() in place.read_bytes():
                return f"the environment was written into {place.name}"
        return None

    def _files(self, case: Case, answer: Answer, before: Mapping[str, Any]) -> str | None:
        left = [place.name for place in self.temporary.iterdir()]
        if left:
            return f"left behind in the folder for temporary files: {left}"
        after = _listing(self.case)
        for name in sorted({*before, *after}):
            if before.get(name) == after.get(name):
                continue
            allowed = any(name == each or (each.endswith("/") and f"{name}/".startswith(each)) for each in case.outputs)
            if not allowed or ("unfinished" in name and name in after):
                return f"{name!r} was {'changed' if name in before and name in after else 'made or removed'}"
            if answer.status and not name.startswith("state"):  # how far a run came is kept when it is refused, too
                return f"{name!r} was written by a command that refused"
            if not answer.status and (fault := _output_fault(self.case / name)):
                return f"{name!r}: {fault}"
        return None


def _content(descriptor: int) -> str:
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        return file.read().decode(errors="surrogateescape")


def _listing(folder: Path) -> dict[str, Any]:
    """Every path below a folder, and what is there: its kind, its mode and its content."""
    found = {}
    for directory, folders, names in os.walk(folder):
        for name in (*folders, *names):
            place = os.path.join(directory, name)
            status = os.lstat(place)
            content: Any = None
            if stat.S_ISREG(status.st_mode):
                with open(place, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(place)
            found[os.path.relpath(place, folder)] = (status.st_mode, content)
    return found


def _output_fault(place: Path) -> str | None:
    """What is wrong with a file that the command wrote."""
    if not place.is_file():
        return None
    content = place.read_bytes()
    if place.suffix == ".json":
        try:
            json.loads(content, parse_constant=_no_constant)
        except ValueError as error:
            return f"no JSON: {error}"
    elif place.suffix == ".html":
        return None if content.rstrip().endswith(b"</html>") else "no end of HTML"
    elif place.suffix == ".parquet":
        return None if content[-4:] == b"PAR1" else "no end of Parquet"
    elif not content and place.name != "lock":
        return "empty"
    return None


def _crash(answer: Answer) -> str | None:
    if answer.status not in (0, 1, 2):
        return f"status {answer.status}: {answer.err[:1000]}"
    for sign in ("Traceback (most recent call last)", "itself failed", "memory that this process may have is used up"):
        if sign in answer.err:
            return answer.err[-1000:]
    return None


def _unprintable(text: str) -> str | None:
    for sign in text:
        if sign != "\n" and not sign.isprintable():
            return f"{sign!r} was printed"
    return None


def refusal_fault(answer: Answer) -> str | None:
    """What is wrong with a refusal."""
    lines = answer.err.splitlines()
    if answer.out:
        return f"refused, and printed {answer.out[:100]!r}"
    if not 1 <= len(lines) <= MOST_LINES or len(answer.err) > MOST_CHARACTERS:
        return f"a refusal of {len(lines)} lines and {len(answer.err)} characters: {answer.err[:300]}"
    if not all(line.startswith("error: ") and len(line) > 15 for line in lines):
        return f"a refusal that says little: {answer.err[:300]}"
    return _unprintable(answer.err)


def answer_fault(case: Case, answer: Answer) -> str | None:
    """What is wrong with any answer, whatever was asked."""
    if fault := _unprintable(answer.out) or _unprintable(answer.err):
        return fault
    if "--json" in case.arguments:
        return number_fault(answer.json(), signed=case.arguments[0] == "diff")
    return None if answer.out.strip() else "an answer of nothing"


def number_fault(document: Any, *, signed: bool = False) -> str | None:
    """A figure in a document that is no finite number, or negative (where no difference is meant)."""
    if isinstance(document, dict | list):
        each = document.items() if isinstance(document, dict) else enumerate(document)
        for key, inner in each:
            if fault := number_fault(inner, signed=signed):
                return f"{key}.{fault}"
    elif isinstance(document, int | float) and (not math.isfinite(document) or (document < 0 and not signed)):
        return f"={document}"
    return None


def _first_difference(one: str, other: str) -> str:
    at = next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return f"{one[max(0, at - 40) : at + 40]!r} and {other[max(0, at - 40) : at + 40]!r}"
