"""A load on one replica of a served model: pages that arrive at a rate, by a trace, or as many at once, simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any, Final

import numpy as np

from modelmeter.devices.device import Device
from modelmeter.devices.engine import Pool
from modelmeter.devices.page_memory import LONGEST, Memory
from modelmeter.devices.pages import PageKind, Prepared, ServedModel, prepared
from modelmeter.devices.service import Service
from modelmeter.devices.throughput import service_of, stage_times
from modelmeter.errors import ModelMeterError
from modelmeter.simulation.arrivals import Arrivals, ClosedLoop, Job, poisson
from modelmeter.simulation.scheduler import Engine, Limits, Served
from modelmeter.simulation.steps import ModelSteps

#: engines whose scheduler is modelled, and where its rules were read
SCHEDULERS: Final = {"vllm": "vllm/v1/core/sched/scheduler.py, vLLM 0.19"}

#: the shares of requests whose time is told: the median, and the tails
PERCENTILES: Final = (50, 90, 95, 99)

#: requests that a simulation serves unless it is told
REQUESTS: Final = 2_000

#: of the rate that the replica can serve, from which the queue is taken to grow
FULL: Final = 0.995


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of all requests: the mean, and what `PERCENTILES` of them stay within, by percentile."""

    mean: float
    percentiles: dict[int, float]

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """Of these requests."""
        within = np.percentile(np.asarray(seconds), PERCENTILES).tolist()
        return cls(mean=float(np.mean(seconds)), percentiles=dict(zip(PERCENTILES, within, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What a load comes to on a replica.

    rate: arrivals a second, None of a closed loop. capacity: requests a second that the replica serves when there are
    always some waiting. served: all requests; None where the rate is above the capacity, so that the queue grows by
    `growth` requests a second and nothing settles. limits: of the engine's scheduler, whose rules are `scheduler`.
    host_busy: share of the workers' time.
    """

    rate: float | None
    in_flight: int | None
    capacity: float
    limits: Limits
    scheduler: str
    served: Served | None
    host_busy: float | None

    @property
    def growth(self) -> float | None:
        """Requests a second by which the queue grows, None where it settles."""
        return None if self.served is not None or self.rate is None else self.rate - self.capacity

    @property
    def requests_per_s(self) -> float:
        """Requests that were served a second, over all of the time."""
        assert self.served is not None
        return len(self.served.requests) / self.served.seconds

    @property
    def busy(self) -> float:
        """Share of the time in which the device computes."""
        assert self.served is not None
        return self.served.busy_s / self.served.seconds

    @property
    def latency(self) -> Times:
        """From a request's arrival to its last token."""
        return self._times(lambda each: each.latency_s)

    @property
    def ttft(self) -> Times:
        """From a request's arrival to its first token."""
        return self._times(lambda each: each.ttft_s)

    @property
    def tpot(self) -> Times:
        """Between two tokens of a request, on average."""
        return self._times(lambda each: each.tpot_s)

    def _times(self, seconds: Callable[[Any], float]) -> Times:
        assert self.served is not None
        return Times.of([seconds(each) for each in self.served.requests])


def simulate(
    model: ServedModel[Any],
    device: Device,
    kinds: Iterable[PageKind[Any]],
    *,
    rate: float | None = None,
    in_flight: int | None = None,
    arrivals: Sequence[float] | None = None,
    requests: int = REQUESTS,
    seed: int = 0,
) -> Simulation:
    """Serve `requests` pages of these kinds, drawn by their counts, on one replica of `model` on `device`.

    One of: rate, arrivals a second at random (Poisson); in_flight, a closed loop; arrivals, seconds of each request,
    as many as there are. Raises `ModelMeterError` for an engine whose scheduler is not modelled, and for loads that are
    none.
    """
    if sum(each is not None for each in (rate, in_flight, arrivals)) != 1:
        raise ModelMeterError("simulation: give one of a rate, a number of requests in flight, or a trace's arrivals.")
    if model.engine.name not in SCHEDULERS:
        raise ModelMeterError(
            f"simulation: the scheduler of engine={model.engine.name} is not modelled; that of "
            f"{', '.join(SCHEDULERS)} is."
        )
    if requests < 1:
        raise ModelMeterError(f"simulation: {requests} requests; give 1 or more.")
    pages = prepared(tuple(kinds), model, Fraction(0))
    if len({each.number for each in pages}) < len(pages):
        raise ModelMeterError("simulation: pages of several passes (workload.regions) are not simulated.")
    memory = Memory(model, pages, LONGEST)
    memory.checked_batch(device, None, pages, "fp32", "batch_size")
    found = memory.limits(device)
    pool = Pool.of(found, device.memory_bytes, memory.weight_bytes, memory.token_bytes)
    limits = Limits(
        max_num_seqs=found.max_num_seqs or 1,
        max_num_batched_tokens=found.max_num_batched_tokens or found.max_model_len,
        blocks=pool.tokens // pool.block_size,
        block_size=pool.block_size,
        max_model_len=found.max_model_len,
    )
    service = service_of(model, stage_times(model, device, "fp32"), found)
    steps = _steps(service, pages, limits)
    drawn = _jobs(service, pages)
    jobs = Random(seed).choices(drawn.jobs, drawn.weights, k=len(arrivals) if arrivals is not None else requests)
    workers = model.host.workers

    def served(source: Arrivals | ClosedLoop) -> tuple[Served, float]:
        done = Engine(limits, steps, source).serve()
        return done, source.host.busy_s / (workers * done.seconds)

    full, _ = served(ClosedLoop(jobs, min(len(jobs), 2 * limits.max_num_seqs), workers))
    capacity = _middle_rate(full)
    result: Served | None = None
    busy: float | None = None
    if rate is None or rate < FULL * capacity:
        if in_flight is not None:
            result, busy = served(ClosedLoop(jobs, in_flight, workers))
        else:
            times = arrivals if arrivals is not None else poisson(float(rate or 0), len(jobs), seed)
            result, busy = served(Arrivals(jobs, times, workers))
    return Simulation(
        rate=rate,
        in_flight=in_flight,
        capacity=capacity,
        limits=limits,
        scheduler=SCHEDULERS[model.engine.name],
        served=result,
        host_busy=busy,
    )


def _middle_rate(served: Served) -> float:
    """Requests a second, without the beginning and the end, when fewer than all are under way."""
    ends = sorted(each.done_s for each in served.requests if each.done_s is not None)
    first, last = len(ends) // 4, 3 * len(ends) // 4
    if last - first < 2 or ends[last] <= ends[first]:
        return len(ends) / served.seconds
    return (last - first) / (ends[last] - ends[first])


@dataclass(frozen=True)
class _Drawn:
    """Every kind of request, and its share."""

    jobs: list[Job]
    weights: list[float]


def _jobs(service: Service, pages: Sequence[Prepared[Any]]) -> _Drawn:
    """A job for each number of output tokens of each kind of page."""
    host_s = float(service.page_s(1, 0)[0]), float(service.page_s(0, 1)[0])
    drawn = _Drawn([], [])
    for kind, each in enumerate(pages):
        images = each.page.tokens.total if getattr(each.page, "layout", None) is not None else 0
        for output in each.outputs:
            drawn.jobs.append(
                Job(
                    prompt=each.page.seq_len,
                    outputs=output.output_tokens + 1,
                    images=images,
                    host_s=host_s[0] if images else host_s[1],
                    kind=kind,
                )
            )
            drawn.weights.append(float(output.share))
    return drawn


def _steps(service: Service, pages: Sequence[Prepared[Any]], limits: Limits) -> ModelSteps:
    """What the engine's steps take with these pages."""
    layouts = [getattr(each.page, "layout", None) for each in pages]
    seq_lens = [each.page.seq_len for each in pages]
    prefills = service.prefills(layouts, seq_lens).cases[0].tolist()
    longest = max(each.page.seq_len + max(output.output_tokens for output in each.outputs) for each in pages)

    mean = sum(output.output_tokens * output.share for each in pages for output in each.outputs)

    def decode_s(batch: int, contexts: Sequence[int]) -> Sequence[float]:
        found: list[float] = service.steps(contexts, batch, max(1, round(mean))).cases[0].tolist()
        return found

    return ModelSteps(
        list(zip(seq_lens, prefills, strict=True)),
        decode_s,
        shortest=min(seq_lens),
        longest=longest,
        most=limits.max_num_seqs,
    )
