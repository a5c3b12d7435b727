"""The fuzz driver: `make fuzz N=100000`, or ``python -m tests.fuzz.driver --cases 1000 --workers 2``.

It runs the command on good, strange and damaged input of every kind and counts what comes of it. A case follows from
its class and its number alone: ``python -m tests.fuzz.driver --case "images:123"`` runs one again, and says why.

Every case is a command line with its files in an empty folder. `modelmeter.cli.main.main` runs in a worker process
that runs thousands of cases, with the descriptors of a process: what is printed there is what a shell would see. Only
streams and signals need a process each, so they are one case of 500. For speed a worker keeps the cost models that it
loads with overrides of a single line (`_keep_models`), but in the class of overrides.

What is counted:

right         status 0, and the answer holds: JSON is JSON, no figure is negative, infinite or not a number, nothing is
              printed that a terminal would act on, files are whole; and where the class knows better, the layout and
              tokens of a page by the published rules written anew, totals that are the sums of their parts, pages of a
              table by what was written into it, deltas of a result with itself, a resumed run by a whole one, the same
              answer the second time.
refused well  status 1 or 2; nothing on standard output; at most three lines and 1,000 characters, each "error: …", on
              standard error, all of them printable; within the time.
crashed       a traceback, status 3 ("ModelMeter itself failed"), any other status, an exception out of main, the end
              of the process, or more memory than 6 GiB.
hung          more than 10 s of processor time or 60 s in all; the process is then killed.
wrong         status 0 and an answer that does not hold, or where the class knows that the input must be refused; a
              refusal where it knows that nothing is wrong, or one that is not as above.
half-written  an input that changed, a file that a refusal left or changed, an output that is not whole, a temporary
              file that stayed.
security      a trap was touched: a module on the path that no code names (evilmod), programs on PATH (gs and others),
              a secret in the environment that appears in what is printed or written, any process or connection that is
              started, any file written outside of the case's folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

from tests.fuzz import streams
from tests.fuzz.judge import ASKED, CRASHED, GOOD, HUNG, VERDICTS, Bench, Verdict

#: cases that a worker is given at a time
CHUNK: Final = 100
#: failures of each class and verdict that are told
TOLD: Final = 5

#: folder of a worker's bench, in its own
BENCH: Final = "bench"

Chunk = tuple[str, int, int]
"""A class, its first number, and how many."""

_KEPT_FOR: Final = frozenset({"overrides"})
_LIBRARIES: Final = (
    "modelmeter",
    "click",
    "hydra-core",
    "omegaconf",
    "pillow",
    "pyyaml",
    "rich",
    "pyarrow",
    "pypdfium2",
)


def case_generator(name: str, number: int) -> random.Random:
    """What a case follows from."""
    return random.Random(f"{name}:{number}")


# -- a worker --------------------------------------------------------------------------------------------------------


def _keep_models() -> Any:
    """Have cost models of a few overrides loaded once in this process; the function that switches it off and on."""
    from functools import lru_cache

    from modelmeter.models import deepseek_ocr

    load = deepseek_ocr.load_cost_model
    kept = lru_cache(maxsize=12)(lambda overrides: load(overrides))
    on = True

    def load_cost_model(overrides: Any = ()) -> Any:
        return kept(tuple(overrides)) if on and len(overrides) < 2 else load(overrides)

    def switch(to: bool) -> None:
        nonlocal on
        on = to

    deepseek_ocr.load_cost_model = load_cost_model
    return switch


def _work(connection: Connection, folder: str) -> None:
    """Judge chunks until there is no more; each verdict goes out as it comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends us
    from tests.fuzz import classes

    place = Path(folder)
    bench, keep = _bench(place)
    connection.send(None)  # ready
    while (chunk := connection.recv()) is not None:
        name, first, count = chunk
        for number in range(first, first + count):
            chance = case_generator(name, number)
            if name == streams.NAME:
                case_folder = place / "process" / "case"
                shutil.rmtree(case_folder, ignore_errors=True)
                case_folder.mkdir(parents=True)
                verdict = streams.judge(chance, case_folder)
            else:
                keep(name not in _KEPT_FOR)
                make, _ = classes.CLASSES[name]
                verdict = bench.judge(make, chance)
            connection.send(verdict)
        connection.send(None)


def _bench(place: Path) -> tuple[Bench, Any]:
    from modelmeter.cli.main import main
    from tests.fuzz import good

    keep = _keep_models()
    good.result_texts()
    place.mkdir(parents=True, exist_ok=True)
    return Bench(place / BENCH, main), keep


class Worker:
    """A process that judges, and what it is at."""

    def __init__(self, number: int, folder: Path) -> None:
        self.folder = folder / f"{number}"
        self.start()

    def start(self) -> None:
        """A new process, in an empty folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, str(self.folder)), daemon=True)
        self.process.start()
        theirs.close()
        self.connection.recv()  # EOFError: it cannot even begin
        self.chunk: Chunk | None = None

    def give(self, chunk: Chunk) -> None:
        """Have a chunk judged."""
        self.chunk = chunk
        self.connection.send(chunk)

    def verdicts(self) -> Iterator[tuple[str, int, Verdict]]:
        """What has come in; of a process that has died, what it died of. `chunk` becomes what is left."""
        assert self.chunk is not None
        while self.chunk is not None and self.connection.poll():
            name, number, count = self.chunk
            try:
                verdict = self.connection.recv()
            except EOFError:
                self.process.join()
                asked = self.folder / BENCH / ASKED
                told = asked.read_text()[:1500] if name != streams.NAME and asked.exists() else ""
                yield name, number, died(self.process.exitcode or 0, told)
                self.start()
                if count > 1:
                    self.give((name, number + 1, count - 1))
                return
            if verdict is None:
                self.chunk = None
            else:
                self.chunk = (name, number + 1, count - 1)
                yield name, number, verdict

    def stop(self) -> None:
        """End the process."""
        if self.chunk is None:
            self.connection.send(None)
            self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def died(exit_code: int, asked: str = "") -> Verdict:
    """What a process died of while it judged a case."""
    if -exit_code in (signal.SIGPROF, signal.SIGALRM):
        return Verdict(HUNG, f"killed by {signal.Signals(-exit_code).name} {asked}")
    return Verdict(CRASHED, f"the process ended with {exit_code} {asked}")


# -- the driver ------------------------------------------------------------------------------------------------------


def shares(cases: int, only: str | None = None) -> dict[str, int]:
    """How many cases of each class there are among some; all of one class, if `only` it is asked for."""
    from tests.fuzz.classes import CLASSES

    if only is not None:
        return {only: cases}
    weights = sum(weight for _, weight in CLASSES.values())
    counts = {name: max(1, cases * weight // weights) for name, (_, weight) in CLASSES.items()}
    return counts | {streams.NAME: max(1, round(cases * streams.SHARE))}


def _chunks(counts: dict[str, int], first: int) -> deque[Chunk]:
    """All chunks, of all classes in turn."""
    waiting = [
        (at / count, (name, first + at, min(size, count - at)))
        for name, count in counts.items()
        for size in (CHUNK if name != streams.NAME else 5,)
        for at in range(0, count, size)
    ]
    return deque(chunk for _, chunk in sorted(waiting, key=lambda each: each[0]))


def fuzz(
    cases: int, workers: int, first: int = 0, only: str | None = None, progress: bool = False
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Run cases; the counts by (class, verdict), and a line for each failure, but no more than a few of a kind."""
    counts: Counter[tuple[str, str]] = Counter()
    failures: list[str] = []
    waiting = _chunks(shares(cases, only), first)
    began = told = time.monotonic()
    memory = Path("/dev/shm")  # where files cost nothing
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None, prefix="fuzz-") as folder:
        pool = [Worker(number, Path(folder)) for number in range(workers)]
        try:
            while True:
                for worker in pool:
                    if worker.chunk is None and waiting:
                        worker.give(waiting.popleft())
                busy = [worker for worker in pool if worker.chunk is not None]
                if not busy:
                    break
                ready = wait([worker.connection for worker in busy], timeout=30)
                for worker in busy:
                    if worker.connection not in ready:
                        continue
                    for name, number, verdict in worker.verdicts():
                        counts[name, verdict.verdict] += 1
                        if verdict.verdict not in GOOD and counts[name, verdict.verdict] <= TOLD:
                            failures.append(f"{name}:{number} {verdict.verdict}: {verdict.why}")
                            print(failures[-1].encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)
                if progress and time.monotonic() - told > 30:
                    told = time.monotonic()
                    print(f"{sum(counts.values()):,} cases in {told - began:,.0f} s", file=sys.stderr, flush=True)
        finally:
            for worker in pool:
                worker.stop()
    return counts, failures


def table(counts: Counter[tuple[str, str]]) -> str:
    """The counts in Markdown, a line a class."""
    names = sorted({name for name, _ in counts}, key=list(shares(1)).index)
    rows = [["class", "tried", *VERDICTS], ["---", *["---:"] * (len(VERDICTS) + 1)]]
    for name in (*names, None):
        of_name = [sum(counts[each, verdict] for each in names if name in (each, None)) for verdict in VERDICTS]
        rows.append([name or "all", *(f"{number:,}" for number in (sum(of_name), *of_name))])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def report(counts: Counter[tuple[str, str]], command: str, first: int, workers: int, seconds: float) -> str:
    """The section of reports/robustness.md."""
    assert __doc__ is not None
    definitions = __doc__[__doc__.index("Every case is") :].strip()
    what, _, meant = definitions.partition("What is counted:\n\n")
    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"# Robustness\n\n`{command}`, numbers from {first:,}; {time.strftime('%Y-%m-%d', time.gmtime())}; commit "
        f"{commit[:12]}; {workers} workers, {seconds:,.0f} s on a machine that did other work too; Python "
        f"{platform.python_version()}, {versions}.\n\n{table(counts)}\n{what}"
        f"What the columns mean:\n\n```\n{meant}\n```\n"
    )


def _one(case: str, workers_folder: Path) -> int:
    name, _, number = case.rpartition(":")
    worker = Worker(0, workers_folder)
    worker.give((name, int(number), 1))
    verdict = None
    while worker.chunk is not None:
        wait([worker.connection], timeout=1)
        for *_, verdict in worker.verdicts():
            print(f"{verdict.verdict}: {verdict.why}".encode(errors="backslashreplace").decode())
    worker.stop()
    return 0 if verdict is not None and verdict.verdict in GOOD else 1


def main() -> int:
    """Run what the command line says; exit status 1 if anything failed."""
    parser = argparse.ArgumentParser(description="Strange and damaged input of every kind, counted.")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each class")
    parser.add_argument(
        "--report", type=Path, help="Markdown file that gets the counts; what follows '## ' in it stays"
    )
    parser.add_argument("--only", metavar="CLASS", help="cases of one class alone")
    parser.add_argument("--case", help="one case, as CLASS:NUMBER")
    asked = parser.parse_args()
    if asked.case:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            return _one(asked.case, Path(folder))
    began = time.monotonic()
    counts, _ = fuzz(asked.cases, asked.workers, asked.first, asked.only, progress=True)
    print(table(counts))
    if asked.report:
        command = f"make fuzz N={asked.cases}"
        written = report(counts, command, asked.first, asked.workers, time.monotonic() - began)
        old = asked.report.read_text() if asked.report.exists() else ""
        kept = old.find("\n## ")
        asked.report.write_text(written + (old[kept:] if kept >= 0 else ""))
    bad = sum(number for (_, verdict), number in counts.items() if verdict not in GOOD)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
