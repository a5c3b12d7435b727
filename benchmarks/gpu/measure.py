"""Everything that is measured on one GPU, in a bounded time: shapes of kernels, stages of the real modules, memory.

    python -m benchmarks.gpu.measure --out FOLDER --budget 480

Needs torch, and `shapes.json`, which `make gpu-wheels` wrote where no GPU is; for the stages of the real modules also
transformers 5.23 and this repository's `extern` on the path. README.md here has the whole command.

Each part runs as a process of its own, the most useful first, writes what it finds as it comes, and is stopped when
its seconds are over; so neither an error of the device nor a short budget costs what was measured before. At the end,
or when this program is run again with `--parts ''`, the parts' files become

- `kernels.parquet` (`kernels.csv` where pyarrow is missing): a row a shape,
- `results.json`: machine, stages, memory, what was predicted,
- `report.md` and `device.yaml`, if the package and what it needs can be imported; else `benchmarks.gpu.report FOLDER`
  writes them later, where it can.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, strftime
from typing import Any, Final

from benchmarks.gpu.kernels import NOT_HERE
from benchmarks.gpu.machine import CARD, STATE, queried
from modelmeter.reference.kernel_table import COLUMNS

#: parts in the order in which they run: the program's arguments, and the seconds that it gets at most
PARTS: Final[dict[str, tuple[tuple[str, ...], float]]] = {
    "page": (("benchmarks.gpu.kernels", "page"), 200.0),
    "stages": (("benchmarks.gpu.stages",), 200.0),
    "sweep": (("benchmarks.gpu.kernels", "sweep"), 300.0),
}
#: seconds that a part may take beyond its own before it is stopped, and those kept for writing
GRACE_S: Final = 20.0
WRITING_S: Final = 15.0
#: seconds under which no part is begun
LEAST_S: Final = 15.0
#: times that a part whose process broke is begun again
RESTARTS: Final = 6


def say(text: str) -> None:
    """One line of progress."""
    print(f"[{strftime('%H:%M:%S')}] {text}", flush=True)


def run_part(name: str, out: Path, arguments: Sequence[str], seconds: float) -> str:
    """Run a part; how it ended in words. A process that breaks is begun again and goes on behind what broke it."""
    program, *own = PARTS[name][0]
    deadline = monotonic() + seconds
    ended = ""
    for attempt in range(1 + RESTARTS):
        left = deadline - monotonic()
        if left < 1:
            break
        command = [sys.executable, "-m", program, *own, "--out", str(out), "--seconds", f"{left:.0f}", *arguments]
        with subprocess.Popen(command) as process:
            try:
                status = process.wait(timeout=left + GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                return f"{ended}stopped after {seconds + GRACE_S:.0f} s"
            except BaseException:
                process.kill()
                raise
        if status == 0:
            return f"{ended}done"
        ended += f"attempt {attempt + 1} ended with status {status}; "
        if name == "stages" or status == NOT_HERE:  # it cannot go on from where it was, or not begin
            break
    return ended


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a part; a shape that was begun and has no row ended its process. A cut last line is left out."""
    rows: list[dict[str, Any]] = []
    if not path.exists():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "begun" not in row:
            rows.append(row)
    return rows


def write_table(rows: Sequence[dict[str, Any]], out: Path) -> Path:
    """The table of kernels as Parquet, or as CSV where pyarrow is missing."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        path = out / "kernels.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(COLUMNS))
            writer.writeheader()
            writer.writerows(rows)
        return path
    types = {str: pyarrow.string(), int: pyarrow.int64(), type(None): pyarrow.float64()}
    schema = pyarrow.schema([(name, types[type(value)]) for name, value in COLUMNS.items()])
    path = out / "kernels.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=schema), path)
    return path


def read_table(folder: Path) -> list[dict[str, Any]]:
    """The table of kernels that lies in a folder, Parquet or CSV; no rows where there is none."""
    parquet = folder / "kernels.parquet"
    if parquet.exists():
        from pyarrow import parquet as reader

        rows: list[dict[str, Any]] = reader.read_table(parquet).to_pylist()
        return rows
    path = folder / "kernels.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: _typed(name, value) for name, value in row.items()} for row in csv.DictReader(file)]


def _typed(name: str, text: str) -> Any:
    default = COLUMNS[name]
    if default is None:
        return float(text) if text else None
    return type(default)(text)


def read_json(path: Path) -> Any:
    """A part's file; nothing where it was not written."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def collect(out: Path, shapes: Path, run: dict[str, Any]) -> None:
    """Put the parts' files together, and drop them. What was measured before and is not measured anew is kept."""
    groups = [out / f"{name}.jsonl" for name in ("page", "sweep")]
    new = [row for path in groups for row in read_lines(path)]
    if new:
        measured = {row["group"] for row in new}
        rows = [row for row in read_table(out) if row["group"] not in measured] + new
        say(f"{len(rows)} shapes in {write_table(rows, out)}")
    before = read_json(out / "results.json")
    run["parts"] = before.get("run", {}).get("parts", {}) | run["parts"]
    found = read_json(out / "stages.json")
    content = {
        **(before if not found else {}),
        "run": run,
        "machine": read_json(out / "machine.json") or before.get("machine", {}),
        "predicted": read_json(shapes).get("predicted", {}),
        **found,
    }
    (out / "results.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    for path in (*groups, out / "machine.json", out / "stages.json"):
        path.unlink(missing_ok=True)


def default_folder(device: str) -> Path:
    """reports/calibration/<device>, by the name that the card bears."""
    name = queried(CARD).get("name", device) if device == "cuda" else device
    return Path("reports/calibration") / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts and write their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder to write to  [default: reports/calibration/DEVICE]")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds in all  [default: 480]")
    parser.add_argument("--shapes", type=Path, default=Path("outputs/gpu/shapes.json"), help="what shapes wrote")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="few shapes, one repetition: for a CPU")
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS) + "; '' only collects")
    chosen = parser.parse_args(arguments)
    names = [name for name in chosen.parts.split(",") if name]
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        parser.error(f"--parts: {unknown[0]} is none of {', '.join(PARTS)}")
    if not chosen.shapes.is_file():
        parser.error(f"--shapes: {chosen.shapes} is not there; `make gpu-wheels` writes it, on a machine with a .venv")
    deadline = monotonic() + chosen.budget
    out = chosen.out or default_folder(chosen.device)
    out.mkdir(parents=True, exist_ok=True)
    if names:  # what an earlier run left would be taken for this one's
        for stale in ("page.jsonl", "sweep.jsonl", "stages.json", "machine.json"):
            (out / stale).unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is there is put together
    passed = ["--shapes", str(chosen.shapes), "--device", chosen.device, *(["--small"] if chosen.small else [])]
    run: dict[str, Any] = {"date": strftime("%Y-%m-%d"), "budget_s": chosen.budget, "parts": {}}
    try:
        for name in names:
            left = deadline - monotonic() - WRITING_S
            if left < LEAST_S:
                run["parts"][name] = {"ended": "not begun: out of time"}
                continue
            seconds = min(PARTS[name][1], left)
            state, start = queried(STATE) if chosen.device == "cuda" else {}, monotonic()
            say(f"{name}: at most {seconds:.0f} s; {state}")
            ended = run_part(name, out, passed, seconds)
            after = queried(STATE) if chosen.device == "cuda" else {}
            run["parts"][name] = {"ended": ended, "seconds": monotonic() - start, "before": state, "after": after}
            say(f"{name}: {ended}, {monotonic() - start:.0f} s; {after}")
    finally:
        collect(out, chosen.shapes, run)
    if not read_json(out / "results.json")["machine"]:
        say("nothing was measured")
        return 1
    report = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.report", str(out)], capture_output=True, text=True, check=False
    )
    last = (report.stdout if report.returncode == 0 else report.stderr).strip().splitlines()
    say(last[-1] if last else "no report")
    return 0


if __name__ == "__main__":
    sys.exit(main())
