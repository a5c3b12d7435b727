"""A load on one replica of a served model: pages that arrive at a rate, by a trace, or as many at once, simulated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final, NamedTuple

import numpy as np

from modelmeter.devices.decode import yields_several
from modelmeter.devices.device import Device
from modelmeter.devices.engine import Pool
from modelmeter.devices.page_memory import LONGEST, Memory
from modelmeter.devices.pages import PageKind, Prepared, ServedModel, prepared, share_of
from modelmeter.devices.service import Service
from modelmeter.devices.throughput import Rates, compute_throughput, service_of, stage_times
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.engines import OVERLAPPED
from modelmeter.simulation.arrivals import Arrivals, ClosedLoop, Job, poisson
from modelmeter.simulation.scheduler import Engine, Limits, Served
from modelmeter.simulation.steps import ModelSteps


class Scheduler(NamedTuple):
    """An engine's scheduler as it is by default. rules: where they were read."""

    rules: str
    async_scheduling: bool
    prompts_first: bool


#: engines whose scheduler is modelled
SCHEDULERS: Final = {
    "vllm": Scheduler("vllm/v1/core/sched/scheduler.py, vLLM 0.19", async_scheduling=True, prompts_first=False),
    "sglang": Scheduler(
        "python/sglang/srt/managers/scheduler.py, SGLang at 0003215c", async_scheduling=True, prompts_first=True
    ),
}

#: the shares of requests whose time is told: the median, and the tails
PERCENTILES: Final = (50, 90, 95, 99)

#: requests that a simulation serves unless it is told
REQUESTS: Final = 2_000

#: steps and host as they are predicted, and at both ends of their interval
VALUE: Final = 0
FAST: Final = 1
SLOW: Final = 2

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
class Outcome:
    """What a load comes to, with steps and host as they are predicted, or at one end of their interval.

    capacity: requests a second that the replica serves at most, by device or host. served: all requests; None where
    the rate is above that, so that the queue grows by `growth` requests a second and nothing settles. host_busy: share
    of the workers' time.
    """

    capacity: float
    growth: float | None
    served: Served | None
    host_busy: float | None

    @property
    def requests_per_s(self) -> float:
        """Requests that were served a second, over all of the time."""
        return len(self._served.requests) / self._served.seconds

    @property
    def busy(self) -> float:
        """Share of the time in which the device computes."""
        return self._served.busy_s / self._served.seconds

    def times(self) -> dict[str, Times]:
        """Of all requests, from arrival to the last token and to the first one, and between two tokens."""
        requests = self._served.requests
        return {
            "latency_s": Times.of([each.latency_s for each in requests]),
            "ttft_s": Times.of([each.ttft_s for each in requests]),
            "tpot_s": Times.of([each.tpot_s for each in requests]),
        }

    @property
    def _served(self) -> Served:
        if self.served is None:
            raise ModelMeterError(f"simulation: the queue grows by {self.growth:.3g} requests/s, so no time settles.")
        return self.served


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A load on a replica: as predicted, and at both ends of the interval of steps and host.

    rate: arrivals a second, None of a closed loop and of a trace. limits: of the engine's scheduler, whose rules are
    `scheduler`'s.
    """

    rate: float | None
    in_flight: int | None
    requests: int
    limits: Limits
    scheduler: str
    value: Outcome
    fast: Outcome
    slow: Outcome


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
    runaway_share: float = 0.0,
) -> Simulation:
    """Serve `requests` pages of these kinds, drawn by their counts, on one replica of `model` on `device`.

    One of: rate, arrivals a second at random (Poisson); in_flight, a closed loop; arrivals, seconds of each request,
    as many as there are. runaway_share: of pages whose output runs to the model's last position. Raises
    `ModelMeterError` for an engine whose scheduler is not modelled, and for loads that are
    none.
    """
    if sum(each is not None for each in (rate, in_flight, arrivals)) != 1:
        raise ModelMeterError("simulation: give one of a rate, a number of requests in flight, or a trace's arrivals.")
    if requests < 1:
        raise ModelMeterError(f"simulation: {requests} requests; give 1 or more.")
    replica = Replica(model, device, kinds, runaway_share=runaway_share)
    count = requests if arrivals is None else len(arrivals)

    def outcome(case: int) -> Outcome:
        return replica.outcome(case, rate=rate, in_flight=in_flight, arrivals=arrivals, requests=requests, seed=seed)

    return Simulation(
        rate=rate,
        in_flight=in_flight,
        requests=count,
        limits=replica.limits,
        scheduler=SCHEDULERS[model.engine.name].rules,
        value=outcome(VALUE),
        fast=outcome(FAST),
        slow=outcome(SLOW),
    )


class Replica:
    """One replica of a served model on a device, which serves one load after another.

    workers: of its host. rates: what it serves at most, by case. host_s: seconds of a worker for the average page.
    Raises `ModelMeterError` for an engine whose scheduler is not modelled, and for pages that do not fit.
    """

    def __init__(
        self, model: ServedModel[Any], device: Device, kinds: Iterable[PageKind[Any]], *, runaway_share: float = 0.0
    ) -> None:
        if model.engine.name not in SCHEDULERS:
            raise ModelMeterError(
                f"simulation: the scheduler of engine={model.engine.name} is not modelled; that of "
                f"{', '.join(SCHEDULERS)} is."
            )
        if yields_several(model):
            raise ModelMeterError(
                "simulation: steps that yield several tokens (runtime.draft) are not simulated; leave it out."
            )
        if model.client.name != OVERLAPPED:
            raise ModelMeterError(
                f"simulation: client={model.client.name} sends no requests one by one, and only these are simulated; "
                "leave it out."
            )
        given = tuple(kinds)
        self._pages = prepared(given, model, share_of("runaway_share", runaway_share))
        if len({each.number for each in self._pages}) < len(self._pages):
            raise ModelMeterError("simulation: pages of several passes (workload.regions) are not simulated.")
        most = compute_throughput(model, device, given, runaway_share=runaway_share)
        self.workers = model.host.workers
        self.rates: Sequence[Rates] = (most, most.fast, most.slow)
        self.host_s = most.host_s
        memory = Memory(model, self._pages, LONGEST)
        pool = Pool.of(most.limits, device.memory_bytes, memory.weight_bytes, memory.token_bytes)
        self.limits = Limits(
            max_num_seqs=most.limits.max_num_seqs or 1,
            max_num_batched_tokens=most.limits.max_num_batched_tokens or most.limits.max_model_len,
            blocks=pool.tokens // pool.block_size,
            block_size=pool.block_size,
            max_model_len=most.limits.max_model_len,
            async_scheduling=SCHEDULERS[model.engine.name].async_scheduling,
            prompts_first=SCHEDULERS[model.engine.name].prompts_first,
        )
        self._service = service_of(model, stage_times(model, device, "fp32"), most.limits)
        self._decodes: dict[int, Any] = {}
        self._steps: dict[int, ModelSteps] = {}

    def with_workers(self, workers: int) -> Replica:
        """The same with so many workers of its host."""
        other = copy(self)
        other.workers = workers
        other.rates = [replace(each, workers=workers) for each in self.rates]
        return other

    def outcome(
        self,
        case: int,
        *,
        rate: float | None = None,
        in_flight: int | None = None,
        arrivals: Sequence[float] | None = None,
        requests: int = REQUESTS,
        seed: int = 0,
    ) -> Outcome:
        """What one load comes to in one case, with the arguments of `simulate`."""
        capacity = self.rates[case].requests_per_s
        if rate is not None and rate >= FULL * capacity:
            return Outcome(capacity=capacity, growth=rate - capacity, served=None, host_busy=None)
        drawn = _jobs(self._service, self._pages, case)
        times = arrivals if rate is None else poisson(rate, requests, seed)
        count = requests if times is None else len(times)
        jobs = Random(seed).choices(drawn.jobs, drawn.weights, k=count)
        source = (
            Arrivals(jobs, times, self.workers) if times is not None else ClosedLoop(jobs, in_flight or 0, self.workers)
        )
        if case not in self._steps:
            self._steps[case] = _steps(self._service, self._pages, self.limits, case, self._decodes)
        served = Engine(self.limits, self._steps[case], source).serve()
        busy = source.host.busy_s / (self.workers * served.seconds)
        return Outcome(capacity=capacity, growth=None, served=served, host_busy=busy)


@dataclass(frozen=True)
class _Drawn:
    """Every kind of request, and its share."""

    jobs: list[Job]
    weights: list[float]


def _jobs(service: Service, pages: Sequence[Prepared[Any]], case: int) -> _Drawn:
    """A job for each number of output tokens of each kind of page."""
    host_s = float(service.page_s(1, 0)[case]), float(service.page_s(0, 1)[case])
    drawn = _Drawn([], [])
    for kind, each in enumerate(pages):
        has_image = getattr(each.page, "layout", None) is not None
        images = service.request.pages * each.page.tokens.total if has_image else 0
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


def _steps(
    service: Service, pages: Sequence[Prepared[Any]], limits: Limits, case: int, known: dict[int, Any]
) -> ModelSteps:
    """What the engine's steps take with these pages. known: by batch, of all cases, kept for the next one."""
    layouts = [getattr(each.page, "layout", None) for each in pages]
    seq_lens = [each.page.seq_len for each in pages]
    prefills = service.prefills(layouts, seq_lens).cases[case].tolist()
    longest = max(each.page.seq_len + max(output.output_tokens for output in each.outputs) for each in pages)

    mean = sum(output.output_tokens * output.share for each in pages for output in each.outputs)

    def decode_s(batch: int, contexts: Sequence[int]) -> Sequence[float]:
        if batch not in known:
            known[batch] = service.steps(contexts, batch, max(1, round(mean))).cases
        found: list[float] = known[batch][case].tolist()
        return found

    return ModelSteps(
        list(zip(seq_lens, prefills, strict=True)),
        decode_s,
        shortest=min(seq_lens),
        longest=longest,
        most=limits.max_num_seqs,
    )
