"""This library beside other FLOP counters, on the same modules and the same machine, each count in its own process.

    python -m benchmarks.compare_tools            # installs the tools below outputs/, counts, writes the reports
    python -m benchmarks.compare_tools --rewrite  # writes the tables anew from reports/comparison.json

Writes reports/comparison.json (what was counted), reports/comparison.md, and the same table between the markers in
docs/other-tools.md. A tool that cannot count a pass has a row with its error. Times and memory are of one run each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from benchmarks.counters import BIASES, CALLS, REFERENCE
from benchmarks.workloads import WORKLOADS
from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.process import tell_error
from modelmeter.report.marked import refresh_marked

ROOT: Final = Path(__file__).parents[1]
ENVIRONMENTS: Final = ROOT / "outputs" / "benchmarks"

#: between which markers of docs/other-tools.md the table stands
BLOCK: Final = "comparison"

#: seconds after which a count is given up
PATIENCE_S: Final = 1200

#: operators that multiply and add, as tools name them; of what a tool says it left out, the table shows these
PRODUCTS: Final = ("grouped_mm", "scaled_dot_product", "conv", "matmul", "einsum", "aten.mm", "addmm", "bmm")

#: why a tool's count is no sum of whole parts, from its source
REASONS: Final = {
    "fvcore": "SAM attention, CLIP attention; adds layer_norm; rounds relative positions to the four digits that "
    "numpy prints (`fvcore/nn/jit_handles.py`)",
    "torchinfo": "takes the first dimension of a layer's output for all its rows (`torchinfo/layer_info.py`); no "
    "attention, no experts",
}

HEADER: Final = (
    "pass",
    "tool",
    "FLOPs",
    "error",
    "missed",
    "does it say so",
    "count, s",
    "process, s",
    "peak, MB",
    "runs on",
)

Row = Mapping[str, Any]


def main() -> int:
    """The program; its exit status."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rewrite", action="store_true", help="count nothing: write the tables from the JSON")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository's folder")
    arguments = parser.parse_args()
    file = arguments.root / "reports" / "comparison.json"
    try:
        if not arguments.rewrite:
            write_whole(file, json.dumps(compare(), indent=2) + "\n")
        write_tables(arguments.root, json.loads(file.read_text(encoding="utf-8")))
    except ModelMeterError as error:
        tell_error(error)
        return 2
    return 0


# -- counting ----------------------------------------------------------------------------------------------------------


def compare() -> dict[str, Any]:
    """Everything that the reports show: the exact parts of every pass, and a row for each pass and tool."""
    folders = {tool: environment(tool) for tool in CALLS}
    started = {"date": datetime.now(UTC).date().isoformat(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    exact: dict[str, Any] = {}
    versions: dict[str, str] = {}
    rows = []
    for name, workload in WORKLOADS.items():
        reference = count_apart(REFERENCE, name, None)
        if "error" in reference:
            raise ModelMeterError(f"compare_tools: the reference cannot measure {name}: {reference['error']}")
        exact[name] = {"title": workload.title, "parts": reference["parts"]}
        versions |= reference["versions"]
        for tool, folder in folders.items():
            row = count_apart(tool, name, folder)
            versions |= row.pop("versions", {})
            rows.append({"pass": name, "tool": tool} | row)
            print(f"{name} {tool}: {row.get('flops', row.get('error'))}", flush=True)
    return started | {"versions": versions, "exact": exact, "rows": rows}


def environment(tool: str) -> Path | None:
    """A folder with the tool at its pinned version; None for what the project's own environment has."""
    requirements = Path(__file__).with_name(f"requirements-{tool}.txt")
    if not requirements.exists():
        return None
    folder = ENVIRONMENTS / tool
    stamp = folder / requirements.name
    if not (stamp.exists() and stamp.read_bytes() == requirements.read_bytes()):
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*install, "--upgrade", "--target", str(folder), "--requirement", str(requirements)])
        if done.returncode:
            raise ModelMeterError(f"compare_tools: pip could not install {requirements.name}; see its message above.")
        write_whole(stamp, requirements.read_bytes())
    return folder


def count_apart(tool: str, name: str, folder: Path | None) -> dict[str, Any]:
    """One count in a process of its own, with its seconds; or the error that it ended with."""
    paths = [str(path) for path in (folder, ROOT, os.environ.get("PYTHONPATH")) if path]
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "result.json"
        command = [sys.executable, "-m", "benchmarks.counters", tool, name, str(file)]
        start = time.perf_counter()
        try:
            done = subprocess.run(
                command, env=surroundings, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no result within {PATIENCE_S} s"}
        seconds = time.perf_counter() - start
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
            return {"error": lines[-1], "process_seconds": seconds}
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return result | {"process_seconds": seconds}


# -- the tables --------------------------------------------------------------------------------------------------------


def exact_flops(parts: Mapping[str, int]) -> int:
    """FLOPs of a pass: its parts, without the additions of biases, which are no GEMMs."""
    return sum(flops for part, flops in parts.items() if part != BIASES)


def missed(row: Row, parts: Mapping[str, int]) -> str:
    """Which whole parts make the exact difference between a count and the measured FLOPs."""
    extras = [f"{name} ({flops:,})" for name, flops in row["extras"].items()]
    shortfall = exact_flops(parts) - row["flops"] + sum(row["extras"].values())
    names = [part for part, flops in parts.items() if flops and part != BIASES]
    for added in (0, parts[BIASES]):
        for count in range(len(names) + 1):
            for chosen in combinations(names, count):
                if sum(parts[part] for part in chosen) - added == shortfall:
                    told = [", ".join(chosen) or "nothing"]
                    counted_too = extras + ([BIASES] if added else [])
                    return "; ".join(told + ([f"adds {', '.join(counted_too)}"] if counted_too else []))
    return REASONS.get(row["tool"], "no sum of whole parts")


def said(row: Row) -> str:
    """Of the operators that a tool says it left out, those with GEMMs, and how many kinds in all."""
    products = [f"`{name}`" for name in row["left_out"] if any(product in name for product in PRODUCTS)]
    kinds = len(row["left_out"])
    return f"{', '.join(products)}, among {kinds} operators" if products else "no"


def relative(row: Row, exact: int) -> str:
    """The error of a count, as a share of the exact one; 0 is exact."""
    difference = row["flops"] - exact
    return f"{100 * difference / exact:+.2f} %" if difference else "0"


def cells(row: Row, entry: Mapping[str, Any]) -> list[str]:
    """A row of the table."""
    seconds = f"{row['process_seconds']:.1f}" if "process_seconds" in row else ""
    if "error" in row:
        text = row["error"].replace("|", "\\|")
        return [entry["title"], row["tool"], "none", "none", f"failed: {text}", "", "", seconds, "", "nothing"]
    exact = exact_flops(entry["parts"])
    left_out = missed(row, entry["parts"])
    return [
        entry["title"],
        row["tool"],
        f"{row['flops']:,}",
        relative(row, exact),
        left_out,
        "" if left_out == "nothing" else said(row),
        f"{row['count_seconds']:.2f}",
        seconds,
        f"{row['peak_bytes'] / 1e6:,.0f}",
        row["ran_on"],
    ]


def table(document: Mapping[str, Any]) -> str:
    """The comparison in Markdown, and what its columns are."""
    text = (
        "FLOPs of transformers' modules as each tool counts them, a multiply-add being 2; error against the FLOPs "
        "measured by `modelmeter.reference`. Missed: the parts of the pass whose FLOPs make up the whole "
        "difference; adds: what it counts beside GEMMs. Count: seconds from built modules (for modelmeter: from "
        "nothing) to the figure; process: the whole process, imports included; peak: its largest resident memory (MB: "
        "10⁶ bytes). Runs on: the meta device, without weights, or real tensors. One run each, on a machine with other "
        "work: the times are orders of magnitude."
    )
    rule = ["---", "---", "---:", "---:", "---", "---", "---:", "---:", "---:", "---"]
    body = [cells(row, document["exact"][row["pass"]]) for row in document["rows"]]
    return f"{text}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in (HEADER, rule, *body))


def report(document: Mapping[str, Any]) -> str:
    """reports/comparison.md."""
    calls = "".join(f"- {tool}: {call}\n" for tool, call in CALLS.items())
    failures = "".join(
        f"- {row['tool']}, {document['exact'][row['pass']]['title']}: {row['meta_error']}\n"
        for row in document["rows"]
        if "meta_error" in row
    )
    parts = "".join(
        f"| {entry['title']} | {part} | {flops:,} |\n"
        for entry in document["exact"].values()
        for part, flops in entry["parts"].items()
        if part != BIASES
    )
    return (
        "# Other FLOP counters on the same modules\n\n"
        f"Generated by `make bench` on {document['date']}, {document['cores']} cores, load {document['load']:.1f}. "
        f"{', '.join(f'{name} {version}' for name, version in sorted(document['versions'].items()))}.\n\n"
        f"{table(document)}\n"
        "## How each was called\n\n"
        "Each in a process of its own, on the same modules (`benchmarks/workloads.py`), as its documentation says, "
        f"without gradients; first on the meta device, then, where that failed, on real tensors.\n\n{calls}\n"
        f"## What failed on the meta device\n\n{failures or 'Nothing.' + chr(10)}\n"
        f"## The parts of each pass\n\nMeasured.\n\n| pass | part | FLOPs |\n| --- | --- | ---: |\n{parts}"
    )


def write_tables(root: Path, document: Mapping[str, Any]) -> None:
    """Write reports/comparison.md and refresh docs/other-tools.md below `root`."""
    page = root / "docs" / "other-tools.md"
    try:
        old = page.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelMeterError(f"{page}: cannot be read ({error.strerror}); name the repository's folder.") from error
    new = refresh_marked(str(page), old, BLOCK, table(document))
    write_whole(root / "reports" / "comparison.md", report(document))
    write_whole(page, new)


if __name__ == "__main__":
    raise SystemExit(main())
