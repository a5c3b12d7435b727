"""How long a call takes on the device: eager, and replayed as a CUDA graph, over operands that no cache holds.

Calls come in sets with operands of their own, enough of them that a round moves more than twice the L2 cache (or
`MOST_SETS`, for tiny ones: `footprint_bytes` says how much a round moved). A time is a round's, divided by its calls;
results are kept until the round ends, so that they lie in memory of their own too. The median counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from time import perf_counter
from typing import Any, Final

import torch

Call = Callable[[], Any]

#: calls with operands of their own in a round, at most
MOST_SETS: Final = 256
#: bytes that a round may leave behind as results
MOST_RESULT_BYTES: Final = 2 * 2**30
#: of the L2 cache: a round moves more than this many times as much
ROUNDS_OF_L2: Final = 2.5
#: seconds that the repetitions of one kind of measurement may take, about
MOST_SECONDS: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class KernelTimes:
    """Milliseconds of one call. host_ms: until the host had issued it. graph_ms: None where no graph could be made."""

    eager_ms: float
    eager_spread: float
    host_ms: float
    graph_ms: float | None
    graph_spread: float | None
    graph_error: str
    repeats: int
    calls: int


def sets_needed(nbytes: int, written: int, l2_bytes: int) -> int:
    """Calls in a round for calls that move `nbytes` bytes each, `written` of them as results."""
    wanted = ceil(ROUNDS_OF_L2 * l2_bytes / max(nbytes, 1)) + 1
    return max(1, min(wanted, MOST_SETS, MOST_RESULT_BYTES // max(written, 1)))


def time_calls(calls: Sequence[Call], device: str, *, repeats: int = 5, graph: bool = True) -> KernelTimes:
    """Time a round of calls, without gradients."""
    with torch.no_grad():
        _round(calls)
        first, _ = _timed_rounds(calls, device, 1)
        rounds = max(1, min(16, int(1e-3 / max(first, 1e-7))))
        repeats = max(2, min(repeats, int(MOST_SECONDS / max(first * rounds, 1e-7))))
        eager = [_timed_rounds(calls, device, rounds) for _ in range(repeats)]
        seconds, host = [each for each, _ in eager], [each for _, each in eager]
        count = len(calls)
        graph_ms: float | None = None
        spread: float | None = None
        error = ""
        if graph and device == "cuda":
            try:
                replayed = _timed_graph(calls, repeats + 2)
                graph_ms, spread = median(replayed) / count * 1e3, _spread(replayed)
            except Exception as caught:  # whatever capture does not take
                error = short(caught)
                torch.cuda.synchronize()
        return KernelTimes(
            eager_ms=median(seconds) / count * 1e3,
            eager_spread=_spread(seconds),
            host_ms=median(host) / count * 1e3,
            graph_ms=graph_ms,
            graph_spread=spread,
            graph_error=error,
            repeats=repeats,
            calls=count * rounds,
        )


def short(error: BaseException) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _spread(seconds: Sequence[float]) -> float:
    return (max(seconds) - min(seconds)) / median(seconds)


def _round(calls: Sequence[Call]) -> list[Any]:
    return [call() for call in calls]


def _timed_rounds(calls: Sequence[Call], device: str, rounds: int) -> tuple[float, float]:
    """Seconds of a round, and of the host's share of it, as the mean of `rounds`."""
    kept: list[Any] = []
    if device != "cuda":
        start = perf_counter()
        for _ in range(rounds):
            kept = _round(calls)
        seconds = (perf_counter() - start) / rounds
        return seconds, seconds
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start = perf_counter()
    begin.record()
    for _ in range(rounds):
        kept = _round(calls)
    end.record()
    host = (perf_counter() - start) / rounds
    end.synchronize()
    del kept
    return float(begin.elapsed_time(end)) / 1e3 / rounds, host


def capture(call: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    """A call as a CUDA graph, after a warm-up on the stream that it is captured on."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        kept = call()
    del kept
    return graph


def time_graph(graph: torch.cuda.CUDAGraph, repeats: int, *, least_s: float = 2e-3) -> list[float]:
    """Seconds of one replay, once a repetition; short ones are replayed back to back until `least_s` are full."""

    def replays(count: int) -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begin.record()
        for _ in range(count):
            graph.replay()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3 / count

    replays(1)
    count = max(1, min(32, ceil(least_s / max(replays(1), 1e-7))))
    return [replays(count) for _ in range(repeats)]


def _timed_graph(calls: Sequence[Call], repeats: int) -> list[float]:
    graph = capture(lambda: _round(calls))
    try:
        return time_graph(graph, repeats)
    finally:
        del graph
