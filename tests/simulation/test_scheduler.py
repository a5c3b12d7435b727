"""The scheduler's jumps beside a plain loop over steps, and what every scenario must come to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.simulation.arrivals import Arrivals, ClosedLoop, Job, poisson
from modelmeter.simulation.scheduler import Chunk, Decoding, Engine, Limits, Request, Source
from tests.simulation import plain


@dataclass(frozen=True)
class Linear:
    """Steps of a launch, seconds a sequence, a token of context, of the longest and of a prompt: linear in contexts."""

    launch: float = 0.01
    sequence: float = 0.001
    context: float = 1e-6
    longest: float = 1e-6
    token: float = 1e-4

    def step(self, chunks: Sequence[Chunk], decoding: Decoding) -> float:
        prompts = sum(self.token * each.new * (1 + each.kind) for each in chunks)
        return self.run(decoding, 1) + prompts

    def run(self, decoding: Decoding, steps: int) -> float:
        grown = decoding.context * steps + decoding.requests * steps * (steps - 1) // 2
        longest = decoding.longest * steps + bool(decoding.requests) * steps * (steps - 1) // 2
        return steps * (self.launch + self.sequence * decoding.requests) + self.context * grown + self.longest * longest


Scenario = tuple[Limits, Callable[[], Source]]


def scenario(seed: int) -> Scenario:
    """Limits, and requests that arrive in one of three ways, of sizes that make pools run full."""
    source = random.Random(seed)
    block_size = source.choice((1, 2, 4, 16))
    seqs = source.randint(1, 12)
    tokens = source.randint(seqs, 80)
    jobs = [
        Job(
            prompt=source.randint(1, 100),
            outputs=source.choice((1, 2, source.randint(1, 120))),
            images=source.choice((0, 0, source.randint(1, 60))),
            host_s=source.choice((0.0, 0.05)),
            kind=source.randint(0, 1),
        )
        for _ in range(source.randint(1, 25))
    ]
    longest = max(-(-(job.prompt + job.outputs) // block_size) for job in jobs)
    limits = Limits(
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        blocks=longest + source.choice((0, 1, longest, 20 * longest)),
        block_size=block_size,
        encoder_tokens=source.choice((None, 30, 60)),
        async_scheduling=source.choice((False, True)),
        prompts_first=source.choice((False, True)),
    )
    workers, way = source.randint(1, 3), source.randint(0, 2)
    if way == 0:
        return limits, lambda: ClosedLoop(jobs, in_flight=1 + seed % 7, workers=workers)
    if way == 1:
        return limits, lambda: Arrivals(jobs, [0.0] * len(jobs), workers)
    times = poisson(source.choice((0.3, 3, 30)), len(jobs), seed)
    return limits, lambda: Arrivals(jobs, times, workers)


def marks(requests: Sequence[Request]) -> list[tuple[float | None, ...]]:
    return [(each.scheduled_s, each.first_token_s, each.done_s) for each in requests]


@pytest.mark.parametrize("part", range(4))
def test_jumps_are_the_plain_loop(part: int) -> None:
    """Every time of every request to 1e-9, and who was put back how often."""
    preempted = 0
    for seed in range(part * 150, part * 150 + 150):
        limits, source = scenario(seed)
        served = Engine(limits, Linear(), source()).serve()
        steps = plain.serve(limits, Linear(), source())
        assert [each.number for each in served.requests] == [each.number for each in steps]
        assert [each.preemptions for each in served.requests] == [each.preemptions for each in steps], seed
        for ours, theirs in zip(marks(served.requests), marks(steps), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-9), seed
        preempted += served.preemptions
    assert preempted > 10


def test_ten_thousand_scenarios_end_with_every_page_out_once() -> None:
    """Each request yields its tokens, in order of time, within the pool."""
    for seed in range(10_000):
        limits, source = scenario(seed)
        served = Engine(limits, Linear(), source()).serve()
        numbers = [each.number for each in served.requests]
        assert numbers == list(range(len(numbers)))
        assert 0 < served.peak_blocks <= limits.blocks and served.most_running <= limits.max_num_seqs
        for each in served.requests:
            assert each.yielded == each.outputs
            assert each.ready_s is not None and each.scheduled_s is not None and each.first_token_s is not None
            assert each.arrival_s <= each.ready_s <= each.scheduled_s < each.first_token_s
            assert each.done_s is not None and each.first_token_s <= each.done_s <= served.seconds


def test_one_request_by_hand() -> None:
    """100 positions in steps of 64, and 3 tokens: two steps of the prompt, then two of decoding."""
    limits = Limits(max_num_seqs=1, max_num_batched_tokens=64, blocks=100)
    times = Linear()
    (only,) = Engine(limits, times, Arrivals([Job(prompt=100, outputs=3, host_s=0.5)], [2.0])).serve().requests
    assert only.scheduled_s == 2.5
    prefill = (0.01 + 64e-4) + (0.01 + 36e-4)
    assert only.first_token_s == pytest.approx(2.5 + prefill)
    decode = 2 * (0.011 + 1e-6 * (100 + 101))
    assert only.done_s == pytest.approx(2.5 + prefill + decode)
    assert only.ttft_s == pytest.approx(0.5 + prefill) and only.tpot_s == pytest.approx(decode / 2)


@pytest.mark.parametrize(
    ("outputs", "arrivals", "places", "planned_then", "planned_before"),
    [
        # the second arrives during the first step
        ((5, 1), (0.0, 0.5), 2, 2, 3),
        # the first ends with the second step, and the third has its place
        ((2, 5, 1), (0.0, 0.0, 0.0), 2, 3, 4),
        # the same with nothing that runs on: the place is free at once
        ((2, 1), (0.0, 0.0), 1, 3, 3),
    ],
    ids=["arrival", "place", "idle"],
)
def test_a_step_is_planned_when_the_one_before_begins(
    outputs: tuple[int, ...], arrivals: tuple[float, ...], places: int, planned_then: int, planned_before: int
) -> None:
    """Steps of a second: what comes during one is in the next, or with asynchronous scheduling in the one after."""
    times = Linear(launch=1.0, sequence=0.0, context=0.0, longest=0.0, token=0.0)
    jobs = [Job(prompt=10, outputs=each) for each in outputs]
    for asynchronous, second in ((False, planned_then), (True, planned_before)):
        limits = Limits(max_num_seqs=places, max_num_batched_tokens=64, blocks=100, async_scheduling=asynchronous)
        served = Engine(limits, times, Arrivals(jobs, arrivals)).serve().requests
        assert served[-1].first_token_s == second


@pytest.mark.parametrize(("prompts_first", "done"), [(False, 5), (True, 6)])
def test_prompts_go_beside_those_that_decode_or_before_them(prompts_first: bool, done: int) -> None:
    """Steps of a second. The second request's prompt is in the second step, with the first request or without it."""
    limits = Limits(max_num_seqs=2, max_num_batched_tokens=64, blocks=100, prompts_first=prompts_first)
    times = Linear(launch=1.0, sequence=0.0, context=0.0, longest=0.0, token=0.0)
    jobs = [Job(prompt=10, outputs=5), Job(prompt=10, outputs=1)]
    first, second = Engine(limits, times, Arrivals(jobs, [0.0, 0.5])).serve().requests
    assert second.first_token_s == 2 and first.done_s == done


def test_what_no_engine_can_serve_is_refused() -> None:
    """By the request's number, with what it needs."""
    limits = Limits(max_num_seqs=4, max_num_batched_tokens=64, blocks=10, max_model_len=200)
    with pytest.raises(ModelMeterError, match="request 0 reaches 209 positions, and max_model_len is 200"):
        Engine(limits, Linear(), Arrivals([Job(prompt=200, outputs=10)], [0.0])).serve()
    with pytest.raises(ModelMeterError, match="request 0 needs 11 blocks of the KV cache, which has 10"):
        Engine(limits, Linear(), Arrivals([Job(prompt=170, outputs=1)], [0.0])).serve()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Arrivals([Job(prompt=1, outputs=1)] * 2, [1.0, 0.5]),
            "request 1 arrives at 0.5 s, and the one before",
        ),
        (lambda: Arrivals([Job(prompt=1, outputs=1)], []), "1 requests and 0 arrivals"),
        (lambda: Arrivals([Job(prompt=1, outputs=1)], [float("nan")]), "request 0 arrives at nan s"),
        (lambda: poisson(0, 1, 0), "0 requests a second is no rate"),
        (lambda: ClosedLoop([], 0), "0 requests in flight"),
        (lambda: ClosedLoop([], 1, workers=0), r"host\.workers=0 is less than 1"),
        (lambda: Job(prompt=0, outputs=1), "a request of 0 positions and 1 output tokens"),
        (lambda: Job(prompt=1, outputs=1, host_s=-1), "host_s=-1 is no time"),
        (lambda: Limits(max_num_seqs=0, max_num_batched_tokens=1, blocks=1), "max_num_seqs=0 is less than 1"),
        (lambda: Limits(max_num_seqs=9, max_num_batched_tokens=8, blocks=1), "a token at least for each request"),
    ],
)
def test_what_is_no_scenario(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ModelMeterError, match=said):
        make()
