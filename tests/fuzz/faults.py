"""Commands with faults, and what the judge must call each: ``python -m tests.fuzz.faults NAME`` prints its verdict."""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.fuzz import mutations
from tests.fuzz.judge import (
    CRASHED,
    HALF_WRITTEN,
    HUNG,
    REFUSED,
    RIGHT,
    SECURITY,
    WRONG,
    Bench,
    Case,
)

Command = Callable[[list[str]], int]


def _refuse(
    _: object = None, *, lines: str = "error: page x does not exist; check the path.\n", status: int = 2
) -> int:
    sys.stderr.write(lines)
    return status


def _answer(text: str) -> Command:
    def run(_: list[str]) -> int:
        print(text)
        return 0

    return run


def _crash(_: list[str]) -> int:
    raise RuntimeError("of its own")


def _traceback(_: list[str]) -> int:
    return _refuse(lines="Traceback (most recent call last):\nerror: a refusal all the same\n")


def _loop(_: list[str]) -> int:
    while True:
        pass


def _exit(_: list[str]) -> int:
    os._exit(0)


def _say_and_refuse(_: list[str]) -> int:
    print("half an answer")
    return _refuse()


def _writes(name: str, content: str) -> Command:
    def run(_: list[str]) -> int:
        Path(name).write_text(content)
        print("{}")
        return 0

    return run


def _spoil_and_refuse(_: list[str]) -> int:
    Path("in.csv").write_text("spoilt")
    return _refuse()


def _write_half_and_refuse(_: list[str]) -> int:
    Path("out.json").write_text("{")
    return _refuse()


def _leave_temporary(_: list[str]) -> int:
    descriptor, _name = tempfile.mkstemp()
    os.close(descriptor)
    return _refuse()


def _import_evil(_: list[str]) -> int:
    importlib.import_module(mutations.EVIL_MODULE)
    return _refuse()


def _tell_secret(_: list[str]) -> int:
    return _refuse(lines=f"error: {os.environ['HOME']} does not exist; check the path.\n")


def _start(_: list[str]) -> int:
    subprocess.run(["gs"], check=False)
    return _refuse()


def _write_elsewhere(_: list[str]) -> int:
    Path("/var/tmp/modelmeter-fuzz").touch()
    Path("/var/tmp/modelmeter-fuzz").unlink()
    return _refuse()


_counter = iter(range(9))

FAULTS: Final[Mapping[str, tuple[Command, str]]] = {
    "a good answer": (_answer('{"pages": 1}'), RIGHT),
    "a good refusal": (_refuse, REFUSED),
    "a good file": (_writes("out.json", "{}"), RIGHT),
    "an exception": (_crash, CRASHED),
    "an error of its own": (lambda _: _refuse(status=3), CRASHED),
    "a traceback": (_traceback, CRASHED),
    "the end of the process": (_exit, CRASHED),
    "no end": (_loop, HUNG),
    "not a number": (_answer('{"pages": NaN}'), WRONG),
    "infinity": (_answer('{"pages": 1e999}'), WRONG),
    "a negative figure": (_answer('{"pages": [{"flops": -1}]}'), WRONG),
    "half a document": (_answer('{"pages": '), WRONG),
    "another answer each time": (lambda _: _answer(f'{{"pages": {next(_counter)}}}')([]), WRONG),
    "an escape sequence": (_answer('"\x1b[31m"'), WRONG),
    "a refusal with an answer": (_say_and_refuse, WRONG),
    "a refusal of four lines": (lambda _: _refuse(lines="error: of many words\n" * 4), WRONG),
    "a refusal that is long": (lambda _: _refuse(lines=f"error: {'x' * 1000}\n"), WRONG),
    "a refusal without words": (lambda _: _refuse(lines=""), WRONG),
    "a refusal that does not print": (lambda _: _refuse(lines="error: of many words \x07\n"), WRONG),
    "half a file": (_writes("out.json", "{"), HALF_WRITTEN),
    "a spoilt input": (_spoil_and_refuse, HALF_WRITTEN),
    "a file of a refusal": (_write_half_and_refuse, HALF_WRITTEN),
    "a file that nobody asked for": (_writes("other.json", "{}"), HALF_WRITTEN),
    "a temporary file": (_leave_temporary, HALF_WRITTEN),
    "a module": (_import_evil, SECURITY),
    "the environment": (_tell_secret, SECURITY),
    "a program": (_start, SECURITY),
    "a file elsewhere": (_write_elsewhere, SECURITY),
}


def _case(_: object) -> Case:
    Path("in.csv").write_text("width,height\n")
    return Case(arguments=["page", "--json"], outputs=("out.json",), repeat=True)


def main(name: str) -> int:
    """Judge one; the verdict goes to the descriptor that was standard output."""
    told = os.dup(1)
    command, _ = FAULTS[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        bench = Bench(Path(folder), command, cpu_seconds=0.3)
        os.write(told, bench.judge(_case, random.Random(0)).verdict.encode())
        os.chdir("/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
