"""Times of kernel shapes, a JSON line each as it comes: the page's own, and others that a model of times is fitted on.

    python -m benchmarks.gpu.kernels page  --shapes shapes.json --out FOLDER --seconds 200
    python -m benchmarks.gpu.kernels sweep --shapes shapes.json --out FOLDER --seconds 150

A shape is named in the lines before it is run. Begun again in the same folder, the program goes on behind the last one
that was named: so one that ends the process costs no other its time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

from benchmarks.gpu.machine import machine, missing, part_options
from modelmeter.reference.kernel_shapes import peaks, sweep
from modelmeter.reference.kernel_table import answers, new_pool, timed, warm_up

#: the status with which the process asks to be begun again: its device answers no more
BROKEN: Final = 3
#: the status of a part that cannot run here at all, as of a program that was called wrongly
NOT_HERE: Final = 2


def records_of(group: str, shapes: Path, small: bool) -> Iterable[Any]:
    """The shapes of a group in the order in which they are run."""
    if group == "page":
        listed = json.loads(shapes.read_text(encoding="utf-8"))["kernels"]
        own = [*peaks(), *listed]
        return [*own[2:9:3], *own[12::23]] if small else own
    wanted = list(sweep())
    return wanted[::60] if small else wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a group of shapes until they are done or the seconds are over."""
    parser = part_options(__doc__)
    parser.add_argument("group", choices=["page", "sweep"])
    chosen = parser.parse_args(arguments)
    if reason := missing(chosen.device):
        print(f"{chosen.group}: {reason}", flush=True)
        return NOT_HERE
    deadline = monotonic() + chosen.seconds
    lines = chosen.out / f"{chosen.group}.jsonl"
    begun = 0
    if lines.exists():
        begun = sum('"begun"' in line for line in lines.read_text(encoding="utf-8").splitlines())
    pool, l2_bytes = new_pool(chosen.device)
    warm_up(chosen.device)
    described = chosen.out / "machine.json"
    if not described.exists():
        described.write_text(json.dumps(machine(chosen.device)), encoding="utf-8")
    records = list(records_of(chosen.group, chosen.shapes, chosen.small))
    start = monotonic()
    with lines.open("a", encoding="utf-8") as file:
        for number, record in enumerate(records):
            if number < begun:
                continue
            if monotonic() > deadline:
                print(f"{chosen.group}: out of time after {number} of {len(records)} shapes", flush=True)
                break
            file.write(json.dumps({"begun": number}) + "\n")
            file.flush()
            row = timed(record, pool, l2_bytes, repeats=2 if chosen.small else 5) | {"group": chosen.group}
            file.write(json.dumps(row) + "\n")
            file.flush()
            if row["error"] or number % 50 == 0:
                what = f"{row['name']} {row['inputs'][:80]}"
                took = row["error"] or f"eager {row['eager_ms']:.4f} ms, graph {row['graph_ms'] or 0:.4f} ms"
                print(f"{chosen.group} {number}/{len(records)} {monotonic() - start:.0f}s {what}: {took}", flush=True)
            if row["error"] and not answers(chosen.device):
                print(f"{chosen.group}: the device answers no more; beginning again behind this shape", flush=True)
                return BROKEN
    print(f"{chosen.group}: {len(records)} shapes in {monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
