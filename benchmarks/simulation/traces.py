"""The simulated scheduler beside traces that vLLM served, with the steps' kernels as they were measured on that card.

Of a checkout of casys-kaist/LLMServingSim (MIT; read at 5daddb21): `profiler/perf`, kernels of one decoder layer by
tokens, sequences and contexts; `bench/examples`, 300 requests each as vLLM 0.19 served them. No constant is fitted:
steps are sums of those kernels, interpolated between the sizes that were measured, `GAP_S` between two kernels, what
`UNEVEN` says of attention, and between two cards the messages that vLLM sends, over the link of `bench/examples`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelmeter.devices import load_device
from modelmeter.devices.collectives import all_gather_seconds, all_reduce_seconds
from modelmeter.kernel_classes import COLLECTIVES
from modelmeter.memory import GIB
from modelmeter.simulation.arrivals import Arrivals, Job
from modelmeter.simulation.scheduler import Chunk, Decoding, Engine, Limits, Served

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

#: Contexts that differ take attention longer than as many of their mean: `UNEVEN` of the way to as many of the longest,
#: in steps of decoding alone with more than `EVEN` requests. Measured on this card for Llama-3.1-8B with 128 requests,
#: a quarter of which have four times the context of the others: 0.036 to 0.045 at contexts of 128 to 16,384, mean 0.042
#: (profiler/perf/RTXPRO6000/meta-llama/Llama-3.1-8B/bf16/tp1/skew.csv of that repository at b9c6fb8e). With 8 to 64
#: requests its fit for half of the heads has -0.01 to 0.02 (tp2/skew_fit.csv at 72c16bac, the same share, longest up to
#: 4,096), and beside a prompt of 16 to 1,024 tokens 128 requests have -0.04 to 0.01 at these contexts: 0 here.
UNEVEN: Final = 0.042
EVEN: Final = 64

#: of an activation
BYTES: Final = 2


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A trace: card, its name, the profile's model, and of the model what messages between cards go by."""

    card: str
    name: str
    model: str
    layers: int
    cards: int
    hidden_size: int
    vocab_size: int


TRACES: Final = (
    Trace(
        card="RTXPRO6000",
        name="Llama-3.1-8B",
        model="meta-llama/Llama-3.1-8B",
        layers=32,
        cards=1,
        hidden_size=4096,
        vocab_size=128_256,
    ),
    Trace(
        card="RTXPRO6000",
        name="Qwen3-32B",
        model="Qwen/Qwen3-32B",
        layers=64,
        cards=2,
        hidden_size=5120,
        vocab_size=151_936,
    ),
)


@dataclass(frozen=True)
class Link:
    """Messages between two cards. all_reduce_s, all_gather_s: seconds of one, by its bytes on a card. source: of it."""

    name: str
    source: str
    all_reduce_s: Callable[[float], float]
    all_gather_s: Callable[[float], float]


def ring(name: str, source: str, latency_s: float, bytes_per_s: float) -> Link:
    """An all-reduce of two cards as a ring has it: half of the message there, and half of the sum back."""
    return Link(
        name,
        source,
        lambda size: 2 * (latency_s + size / 2 / bytes_per_s),
        lambda size: latency_s + size / bytes_per_s,
    )


def between(name: str, source: str, reduced: Sequence[tuple[float, float]]) -> Link:
    """All-reduces that were measured, bytes and microseconds, with logarithms that are linear between them. A gather
    takes half of one, which has two ways."""
    sizes, times = (np.log([pair[each] for pair in reduced]) for each in range(2))

    def all_reduce_s(size: float) -> float:
        return float(1e-6 * np.exp(np.interp(np.log(size), sizes, times)))

    return Link(name, source, all_reduce_s, lambda size: all_reduce_s(2 * size) / 2)


def given_link(folder: Path, trace: Trace) -> Link:
    """As the trace's own configuration has it: its simulator counts GiB/s and nanoseconds."""
    config = json.loads((folder / "bench/examples" / trace.card / trace.name / "config.json").read_text())
    words = f"{config['link_bw']} GiB/s, {config['link_latency'] / 1000:g} µs a way"
    return ring(words, "bench/examples", 1e-9 * config["link_latency"], config["link_bw"] * GIB)


def predicted_link() -> Link:
    """As ModelMeter predicts for the card, whose constants are carried from L40S's."""
    device = load_device("RTX-PRO-6000-Server")
    reduced, gathered = (device.kernels[name].values for name in COLLECTIVES)
    link = device.linked()
    return Link(
        "ModelMeter",
        f"its times for this card over {link.name}, carried from other cards (reports/timing/collectives.md)",
        lambda size: float(all_reduce_seconds(reduced, link, message_bytes=size, ranks=2)),
        lambda size: float(all_gather_seconds(gathered, link, message_bytes=2 * size, ranks=2)),
    )


#: what the same laboratory measured later: bytes and microseconds of an all-reduce
LATER: Final = between(
    "later",
    "NCCL on two of these cards in the same laboratory five months later, with ACS and IOMMU off (LLMServingSim "
    "1b2cc02d, hardware.yaml)",
    (
        (4096, 12.7),
        (65_536, 14.8),
        (262_144, 21.7),
        (1_048_576, 41.0),
        (2_097_152, 67.3),
        (8_388_608, 240.6),
        (20_971_520, 587.1),
    ),
)


class Measured:
    """Seconds of steps, of kernels that were measured one by one."""

    def __init__(self, folder: Path, trace: Trace, link: Link | None, uneven: float = UNEVEN) -> None:
        self.trace = trace
        self.link = link
        self.uneven = uneven
        self.dense = _tables(folder / "dense.csv", "tokens")
        self.sequences = _tables(folder / "per_sequence.csv", "sequences")
        with (folder / "attention.csv").open(newline="") as file:
            rows = [[float(each) for each in row] for row in list(csv.reader(file))[1:]]
        self.attention = {tuple(row[:4]): row[4] for row in rows}
        self.axes = [sorted({row[axis] for row in rows}) for axis in range(4)]
        self.kernels = sum(LAYER.get(name, 0) for name in self.dense) + 1

    def step(self, chunks: Sequence[Chunk], decoding: Decoding) -> float:
        """One step; see `StepTimes`."""
        prompt, sequences = sum(each.new for each in chunks), len(chunks) + decoding.requests
        tokens, layers = prompt + decoding.requests, self.trace.layers
        layer = sum(count * _at(self.dense[name], tokens) for name, count in LAYER.items() if name in self.dense)
        layer += self._attention(prompt, max((each.computed for each in chunks), default=0), decoding)
        once = _at(self.dense["embedding"], tokens) + _at(self.dense["final_layernorm"], tokens)
        once += sum(_at(table, sequences) for table in self.sequences.values())
        return 1e-6 * (layers * layer + once) + GAP_S * layers * self.kernels + self._messages(tokens, sequences)

    def run(self, decoding: Decoding, steps: int) -> float:
        """A run of steps; see `StepTimes`."""
        return sum(self.step((), decoding.further(each)) for each in range(steps))

    def _attention(self, prompt: int, before: int, decoding: Decoding) -> float:
        """Microseconds of a layer's attention."""
        requests = decoding.requests
        mean = self._even(prompt, before, requests, decoding.context / requests if requests else 0)
        if prompt or requests <= EVEN:
            return mean
        return mean + self.uneven * (self._even(prompt, before, requests, decoding.longest) - mean)

    def _even(self, *sizes: float) -> float:
        """Microseconds of a prompt's part and of requests that all have one context, between measured sizes."""
        total = weight = 0.0
        for corner in product(*map(_around, self.axes, sizes)):
            share = float(np.prod([each for _, each in corner]))
            prompt, before, batch, context = (size for size, _ in corner)
            found = self.attention.get((prompt, before * (prompt > 0), batch, context * (batch > 0)))
            if found is not None:
                total, weight = total + share * found, weight + share
        return total / weight if weight else 0.0

    def _messages(self, tokens: int, sequences: int) -> float:
        """Seconds of what two cards send: all-reduces after the embedding and twice a layer, and the logits' gather."""
        if self.link is None:
            return 0.0
        reduces = 2 * self.trace.layers + 1
        logits = BYTES * sequences * self.trace.vocab_size / self.trace.cards
        reduced = self.link.all_reduce_s(BYTES * tokens * self.trace.hidden_size)
        return reduces * reduced + self.link.all_gather_s(logits)


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

    def off(self, of: Callable[[Any], Any]) -> float:
        """Ours beside theirs, as a share."""
        return float(of(self.ours) / of(self.theirs) - 1)


def beside(folder: Path, trace: Trace, link: Link | None, uneven: float = UNEVEN) -> list[Beside]:
    """A trace, served and simulated."""
    where = folder / "bench/examples" / trace.card / trace.name / "vllm"
    requests = [json.loads(line) for line in (where / "requests.jsonl").read_text().splitlines()]
    requests.sort(key=lambda each: each["queued_ts"])
    settings = json.loads((where / "meta.json").read_text())["engine_kwargs"]
    profile = folder / "profiler/perf" / trace.card / trace.model / "bf16" / f"tp{trace.cards}"
    steps = Measured(profile, trace, link, uneven)
    served = simulated(requests, settings, steps).requests
    first, last = "first_token_ts", "last_token_ts"
    return [
        Beside(
            "latency",
            np.array([each.latency_s for each in served]),
            np.array([each[last] - each["queued_ts"] for each in requests]),
        ),
        Beside(
            "time to the first token",
            np.array([each.ttft_s for each in served]),
            np.array([each[first] - each["queued_ts"] for each in requests]),
        ),
        Beside(
            "time between tokens",
            np.array([each.tpot_s for each in served]),
            np.array([(each[last] - each[first]) / max(1, each["output_toks"] - 1) for each in requests]),
        ),
    ]


def simulated(requests: Sequence[dict[str, Any]], settings: dict[str, Any], steps: Measured) -> Served:
    """The requests of a trace, through vLLM's scheduler as it was set."""
    limits = Limits(
        max_num_seqs=settings["max_num_seqs"],
        max_num_batched_tokens=settings["max_num_batched_tokens"],
        async_scheduling=True,
        blocks=10**6,  # the pool was never near its end: timeseries.csv
    )
    jobs = [Job(prompt=each["input_toks"], outputs=each["output_toks"]) for each in requests]
    first = requests[0]["queued_ts"]
    return Engine(limits, steps, Arrivals(jobs, [each["queued_ts"] - first for each in requests])).serve()


#: of a small all-reduce between two of these cards: hardware.yaml of that repository at 1b2cc02d, 4 KiB
SMALL_S: Final = 12.7e-6


def fitted_link(folder: Path, trace: Trace, first: int) -> Link:
    """A ring whose small messages take `SMALL_S`, and whose rate gives the mean time to the first token of the trace's
    first requests, so many; the others may judge it."""
    slow, fast = 1.0, 100.0  # GiB/s
    while fast - slow > 0.01:
        middle = (slow + fast) / 2
        found = beside(folder, trace, ring("", "", SMALL_S / 2, middle * GIB))[1]
        if found.ours[:first].mean() > found.theirs[:first].mean():
            slow = middle
        else:
            fast = middle
    return ring(f"{fast:.1f} GiB/s", "read from the trace", SMALL_S / 2, fast * GIB)
