"""Loads whose times queueing theory knows: arrivals at random at one server, and a closed loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log
from random import Random
from typing import Final

from modelmeter.simulation.arrivals import Arrivals, ClosedLoop, Job
from modelmeter.simulation.scheduler import Chunk, Decoding, Engine, Limits, Served


@dataclass(frozen=True)
class Alike:
    """Every step takes a second."""

    def step(self, chunks: Sequence[Chunk], decoding: Decoding) -> float:
        """One step; see `StepTimes`."""
        return 1.0

    def run(self, decoding: Decoding, steps: int) -> float:
        """A run of steps; see `StepTimes`."""
        return float(steps)


#: one request at a time, in one step
ALONE: Final = Limits(max_num_seqs=1, max_num_batched_tokens=16, blocks=1)


def one_by_one(load: float, requests: int, seed: int) -> Served:
    """One server. Gaps are the quantiles of an exponential distribution in random order: they scatter less than drawn
    ones."""
    gaps = [-log(1 - (number + 0.5) / requests) / load for number in range(requests)]
    Random(seed).shuffle(gaps)
    return Engine(ALONE, Alike(), Arrivals([Job(prompt=16, outputs=1)] * requests, list(accumulate(gaps)))).serve()


def mean_wait(load: float, requests: int, seeds: int) -> float:
    """Services that a request waits, simulated: the mean of so many samples."""
    waits = [each.latency_s - 1.0 for seed in range(seeds) for each in one_by_one(load, requests, seed).requests]
    return sum(waits) / len(waits)


def mean_wait_of_theory(load: float) -> float:
    """The same of M/D/1: load / (2 (1 - load)) (Pollaczek and Khinchine)."""
    return load / (2 * (1 - load))


#: seconds of a worker, and steps of a request, in the closed loop
HOST_S: Final = 2.0
OUTPUTS: Final = 8


def closed(in_flight: int, workers: int, requests: int) -> float:
    """Requests a second of a closed loop: `HOST_S` of a worker, then `OUTPUTS` steps, which all share."""
    limits = Limits(max_num_seqs=in_flight, max_num_batched_tokens=16 * in_flight, blocks=16 * in_flight)
    jobs = [Job(prompt=16, outputs=OUTPUTS, host_s=HOST_S)] * requests
    return requests / Engine(limits, Alike(), ClosedLoop(jobs, in_flight, workers)).serve().seconds


def closed_at_most(in_flight: int, workers: int) -> float:
    """What it cannot exceed: nobody waits, or the workers never rest."""
    return min(in_flight / (HOST_S + OUTPUTS), workers / HOST_S)
