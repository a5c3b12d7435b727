"""Long runs of what `make test` does shortly: `make endurance`, which adds what came of them to reports/robustness.md.

Kills of a resumed corpus and threads are tests/corpus/test_kill.py with larger numbers; streams are every command of
`tests.fuzz.streams` with every kind of stream, with Python's buffer and without it; the full disk is one of 64 KiB in
memory, which only root may mount (elsewhere it is said not to have been run).
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.fuzz import streams
from tests.fuzz.judge import GOOD, Answer, refusal_fault

ROOT: Final = Path(__file__).parents[2]
HEADING: Final = "\n## Endurance\n"
KILLS: Final = 21
PAGES: Final = 1000
DISK_KIB: Final = 64

Outcome = tuple[str, str, bool]
"""What was done, what came of it, and whether that is well."""


def killed_and_threaded() -> Iterator[Outcome]:
    """The two tests of tests/corpus/test_kill.py."""
    variables = {**os.environ, "MODELMETER_KILLS": f"{KILLS}", "MODELMETER_PAGES": f"{PAGES}"}
    for test, what in (
        ("test_random_kills_change_nothing", f"{KILLS} random `kill -9` of a resumed corpus, then the same figures"),
        ("test_threads_share_a_cost_model", f"32 threads × {PAGES:,} pages of one cost model, each as computed alone"),
    ):
        command = [sys.executable, "-m", "pytest", "-n", "0", f"tests/corpus/test_kill.py::{test}"]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
        print(done.stdout[-2000:] if done.returncode else "", end="", file=sys.stderr)
        yield what, done.stdout.strip().splitlines()[-1].split(" in ")[0], done.returncode == 0


def streamed() -> Iterator[Outcome]:
    """Every command with every kind of stream."""
    kinds = {
        "gone": "standard output is a pipe whose reader is gone",
        "leaves": "standard output is a pipe whose reader leaves after 50 bytes",
        "full": "standard output is a full device",
        "closed": "standard output is closed",
        "errors closed": "standard error is closed",
        "input closed": "standard input is closed",
        "whole": "nothing is in the way",
    }
    for kind, what in kinds.items():
        for variables in streams.VARIABLES[:2]:
            faults = []
            for command in streams.COMMANDS:
                with tempfile.TemporaryDirectory(prefix="endurance-") as folder:
                    place = Path(folder) / "case"
                    place.mkdir()
                    case = streams.StreamCase(command=command, kind=kind, variables=variables)
                    verdict = streams.judge_case(case, place)
                if verdict.verdict not in GOOD:
                    faults.append(f"{verdict.verdict}: {verdict.why}")
            print(*faults, sep="\n", end="\n" * bool(faults), file=sys.stderr)
            of = len(streams.COMMANDS)
            buffered = "PYTHONUNBUFFERED=1" if variables else "buffered"
            yield f"{of} commands, {buffered}: {what}", f"{of - len(faults)} of {of} end as they should", not faults


@contextmanager
def _small_disk() -> Iterator[Path | None]:
    with tempfile.TemporaryDirectory(prefix="endurance-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k", "none", folder]
        try:
            mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        except OSError:
            mounted = False
        try:
            yield Path(folder) if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", folder], check=True)


def full_disk() -> Iterator[Outcome]:
    """Outputs onto a disk that is too small for them: refused, the old file there as it was, nothing beside it."""
    for name, command in (
        ("r.json", ["report", "1275x1650", "-o"]),
        ("r.html", ["report", "1275x1650", "-o"]),
        ("r.parquet", ["corpus", "t.csv", "--rows"]),
    ):
        what = f"`{' '.join(command)} {name}` onto a full disk of {DISK_KIB} KiB"
        with _small_disk() as disk, tempfile.TemporaryDirectory(prefix="endurance-") as folder:
            if disk is None:
                yield what, "not run: nobody but root may mount a disk", True
                continue
            rows = "".join(f"{n % 1999 + 1},{n * 7919 % 4001 + 1}\n" for n in range(40_000))
            Path(folder, "t.csv").write_text(f"width,height\n{rows}")
            (disk / name).write_text("the old file")
            arguments = [sys.executable, "-m", "modelmeter", *command, str(disk / name)]
            done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
            answer = Answer(status=done.returncode, out=done.stdout, err=done.stderr, folder=Path(folder))
            fault = refusal_fault(answer) if done.returncode in (1, 2) else f"status {done.returncode}"
            kept = os.listdir(disk) == [name] and (disk / name).read_text() == "the old file"
            told = "refused, the old file kept" if not fault and kept else f"{fault or ''} {os.listdir(disk)}"
            yield what, told, not fault and kept


def main(report: Path) -> int:
    """Run all of it, and write the section; exit status 1 if anything is not as it should be."""
    began = time.monotonic()
    outcomes = []
    for each in (killed_and_threaded, streamed, full_disk):
        for outcome in each():
            print(f"{'ok ' if outcome[2] else 'BAD'} {outcome[0]}: {outcome[1]}", flush=True)
            outcomes.append(outcome)
    rows = "".join(f"| {what} | {came} | {'yes' if well else 'NO'} |\n" for what, came, well in outcomes)
    text = (
        f"{HEADING}\n`make endurance`; {time.strftime('%Y-%m-%d', time.gmtime())}; Python {platform.python_version()}; "
        f"{time.monotonic() - began:,.0f} s.\n\n| what | what came of it | well |\n| --- | --- | --- |\n{rows}"
    )
    before, _, _ = (report.read_text() if report.exists() else "").partition(HEADING)
    report.write_text(before + text)
    return 0 if all(well for *_, well in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
