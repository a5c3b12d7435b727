"""The simulated scheduler beside a trace that vLLM served, with the steps' kernels as they were measured on that card.

    python -m benchmarks.serving_traces FOLDER

FOLDER is a checkout of casys-kaist/LLMServingSim (MIT; read at 5daddb21): `profiler/perf`, kernels of one decoder layer
by tokens, sequences and contexts; `bench/examples`, 300 requests each as vLLM 0.19 served them. No constant is fitted:
steps are sums of those kernels, interpolated between the sizes that were measured, and `GAP_S` between two kernels.
Writes reports/simulation.md.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelmeter.simulation.arrivals import Arrivals, Job
from modelmeter.simulation.scheduler import Chunk, Engine, Limits

REPORT: Final = Path(__file__).parents[1] / "reports" / "simulation.md"

#: seconds from the end of a kernel to the beginning of the next one in a CUDA graph, as docs/times.md has it elsewhere
GAP_S: Final = 1e-6

#: kernels of a decoder layer, and how often each runs
LAYER: Final = {
    "layernorm": 2,
    "qkv_proj": 1,
    "qk_norm": 1,
    "rotary_emb": 1,
    "o_proj": 1,
    "gate_up_proj": 1,
    "act_fn": 1,
    "down_proj": 1,
}
PERCENTILES: Final = (50, 90, 95, 99)

#: a trace: card, its name, the profile's model, layers of the decoder, cards that share them
TRACES: Final = (("RTXPRO6000", "Llama-3.1-8B", "meta-llama/Llama-3.1-8B", 32, 1),)


class Measured:
    """Seconds of steps, of kernels that were measured one by one."""

    def __init__(self, folder: Path, layers: int) -> None:
        self.layers = layers
        self.dense = _tables(folder / "dense.csv", "tokens")
        self.sequences = _tables(folder / "per_sequence.csv", "sequences")
        with (folder / "attention.csv").open(newline="") as file:
            rows = [[float(each) for each in row] for row in list(csv.reader(file))[1:]]
        self.attention = {tuple(row[:4]): row[4] for row in rows}
        self.axes = [sorted({row[axis] for row in rows}) for axis in range(4)]
        self.kernels = sum(LAYER.get(name, 0) for name in self.dense) + 1

    def step(self, chunks: Sequence[Chunk], batch: int, context: int) -> float:
        """One step; see `StepTimes`."""
        tokens, sequences = sum(each.new for each in chunks) + batch, len(chunks) + batch
        prompt = sum(each.new for each in chunks)
        before = max((each.computed for each in chunks), default=0)
        layer = sum(count * _at(self.dense[name], tokens) for name, count in LAYER.items() if name in self.dense)
        layer += self._attention(prompt, before, batch, context / batch if batch else 0)
        once = _at(self.dense["embedding"], tokens) + _at(self.dense["final_layernorm"], tokens)
        once += sum(_at(table, sequences) for table in self.sequences.values())
        return 1e-6 * (self.layers * layer + once) + GAP_S * self.layers * self.kernels

    def run(self, batch: int, context: int, steps: int) -> float:
        """A run of steps; see `StepTimes`."""
        return sum(self.step((), batch, context + batch * step) for step in range(steps))

    def _attention(self, *sizes: float) -> float:
        """Microseconds of a prompt's part and of `batch` requests at their mean context, between measured sizes."""
        total = weight = 0.0
        for corner in product(*map(_around, self.axes, sizes)):
            share = float(np.prod([each for _, each in corner]))
            prompt, before, batch, context = (size for size, _ in corner)
            found = self.attention.get((prompt, before * (prompt > 0), batch, context * (batch > 0)))
            if found is not None:
                total, weight = total + share * found, weight + share
        return total / weight if weight else 0.0


def _tables(path: Path, key: str) -> dict[str, tuple[Any, Any]]:
    """Microseconds by size, of each kernel."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = dict.fromkeys(row["layer"] for row in rows)
    sized = {
        name: sorted((int(row[key]), float(row["time_us"])) for row in rows if row["layer"] == name) for name in names
    }
    return {
        name: (np.array([each for each, _ in pairs]), np.array([each for _, each in pairs]))
        for name, pairs in sized.items()
    }


def _at(table: tuple[Any, Any], size: int) -> float:
    return float(np.interp(size, *table))


def _around(axis: Sequence[float], size: float) -> list[tuple[float, float]]:
    """The measured sizes around one, each with its share."""
    place = int(np.searchsorted(axis, size))
    if place == 0 or place == len(axis) or axis[place] == size:
        return [(axis[min(place, len(axis) - 1)], 1.0)]
    low, high = axis[place - 1], axis[place]
    share = (size - low) / (high - low)
    return [(low, 1 - share), (high, share)]


@dataclass(frozen=True)
class Beside:
    """Seconds of requests, simulated and as served."""

    name: str
    ours: Any
    theirs: Any

    def off(self, of: Any) -> float:
        """Ours beside theirs, as a share."""
        return float(of(self.ours) / of(self.theirs) - 1)


def beside(folder: Path, card: str, name: str, model: str, layers: int, cards: int) -> list[Beside]:
    """A trace, served and simulated."""
    where = folder / "bench/examples" / card / name / "vllm"
    requests = [json.loads(line) for line in (where / "requests.jsonl").read_text().splitlines()]
    requests.sort(key=lambda each: each["queued_ts"])
    settings = json.loads((where / "meta.json").read_text())["engine_kwargs"]
    limits = Limits(
        max_num_seqs=settings["max_num_seqs"],
        max_num_batched_tokens=settings["max_num_batched_tokens"],
        blocks=10**6,  # the pool was never near its end: timeseries.csv
    )
    jobs = [Job(prompt=each["input_toks"], outputs=each["output_toks"]) for each in requests]
    first = requests[0]["queued_ts"]
    steps = Measured(folder / "profiler/perf" / card / model / "bf16" / f"tp{cards}", layers)
    arrivals = Arrivals(jobs, [each["queued_ts"] - first for each in requests])
    served = Engine(limits, steps, arrivals).serve().requests
    return [
        Beside(
            "latency",
            np.array([each.latency_s for each in served]),
            np.array([each["last_token_ts"] - each["queued_ts"] for each in requests]),
        ),
        Beside(
            "time to the first token",
            np.array([each.ttft_s for each in served]),
            np.array([each["first_token_ts"] - each["queued_ts"] for each in requests]),
        ),
        Beside(
            "time between tokens",
            np.array([each.tpot_s for each in served]),
            np.array(
                [
                    (each["last_token_ts"] - each["first_token_ts"]) / max(1, each["output_toks"] - 1)
                    for each in requests
                ]
            ),
        ),
    ]


def report(folder: Path) -> str:
    """The report's text."""
    lines = [
        "# The simulated scheduler beside served requests",
        "",
        "Written by `python -m benchmarks.serving_traces FOLDER`, of traces and kernels that casys-kaist/LLMServingSim",
        "published (MIT, 5daddb21): 300 requests served by vLLM 0.19 on one card. Steps are the sums of the kernels",
        "measured there, and 1 µs between two kernels; nothing is fitted. Ours beside theirs, in per cent.",
        "",
        "| trace | time | mean, s | theirs | mean | " + " | ".join(f"p{each}" for each in PERCENTILES) + " |",
        "| --- | --- | ---: | ---: | ---: | " + " | ".join("---:" for _ in PERCENTILES) + " |",
    ]
    for trace in TRACES:
        for each in beside(folder, *trace):
            off = [each.off(np.mean), *(each.off(lambda of, at=at: np.percentile(of, at)) for at in PERCENTILES)]
            cells = " | ".join(f"{100 * share:+.1f}" for share in off)
            means = f"{each.ours.mean():.4g} | {each.theirs.mean():.4g}"
            lines.append(f"| {trace[1]} on {trace[0]} | {each.name} | {means} | {cells} |")
    lines += [
        "",
        "What is known to be missing: the host between two steps, and that requests of a step differ in their",
        "contexts, which takes attention longer than as many of the mean context. A second trace there, of two cards,",
        "has an all-reduce in every layer, for which this folder has no times, and is left out.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    REPORT.write_text(report(Path(sys.argv[1])), encoding="utf-8")
