"""A closed loop by hand where it can be, and what must hold of every one."""

import pytest

from modelmeter.devices.closed_loop import ClosedLoop, Loop
from modelmeter.devices.host import comparisons, step_comparisons


def solved(in_flight: int, *, workers: int = 2, page_s: float = 0.2, prefill_s: float = 0.05, steps: int = 600) -> Loop:
    return ClosedLoop(
        in_flight=in_flight,
        workers=workers,
        page_s=page_s,
        prefill_s=prefill_s,
        steps_s=lambda batch: steps * (1.2e-3 + 0.2e-3 * batch),
        steps=steps,
    ).solve()


def test_one_request_waits_for_nobody() -> None:
    loop = solved(1)
    assert (loop.ttft_s, loop.decode_s) == (pytest.approx(0.25), pytest.approx(0.84))
    assert loop.requests_per_s == pytest.approx(1 / 1.09)


def test_two_requests_by_hand() -> None:
    # without a host and with prefills of nothing: one other, half of it in the load that a request meets
    loop = ClosedLoop(
        in_flight=2, workers=1, page_s=0.0, prefill_s=0.0, steps_s=lambda batch: 10.0 * batch, steps=10
    ).solve()
    # D = 10 b, X = (b - 1) / (D / 2), and a step of D / 10 is waited for by half: X (D + D / 20) = 2 (b - 1) 1.05 = 2
    assert loop.batch == pytest.approx(1 + 1 / 1.05)
    assert loop.decode_s == pytest.approx(10 * loop.batch)
    assert loop.requests_per_s == pytest.approx(2 / (1.05 * loop.decode_s))


@pytest.mark.parametrize("in_flight", [1, 2, 3, 4, 16, 100])
def test_littles_law_and_the_capacities_hold(in_flight: int) -> None:
    for workers, page_s in ((1, 0.2), (2, 0.2), (4, 0.0), (1, 2.0)):
        loop = solved(in_flight, workers=workers, page_s=page_s)
        assert loop.requests_per_s * loop.latency_s == pytest.approx(in_flight)
        device = 1 / (0.05 + 600 * (1.2e-3 / in_flight + 0.2e-3))
        assert loop.requests_per_s <= device * (1 + 1e-9)
        assert not page_s or loop.requests_per_s <= workers / page_s * in_flight
        assert loop.ttft_s >= page_s + 0.05 - 1e-9


def test_more_in_flight_never_means_fewer_a_second() -> None:
    loops = [solved(in_flight) for in_flight in range(1, 40)]
    rates = [loop.requests_per_s for loop in loops]
    assert rates == sorted(rates)
    assert [loop.decode_s for loop in loops] == sorted(loop.decode_s for loop in loops)


def test_a_slow_host_decides() -> None:
    loop = solved(64, workers=1, page_s=1.0)
    assert loop.requests_per_s == pytest.approx(1.0, rel=0.03)
    assert loop.ttft_s > 50  # all but a few wait to be prepared
    assert loop.batch < 3


def test_requests_without_steps() -> None:
    loop = ClosedLoop(in_flight=8, workers=1, page_s=0.0, prefill_s=0.5, steps_s=lambda batch: 0.0, steps=0).solve()
    assert (loop.requests_per_s, loop.ttft_s, loop.decode_s) == (pytest.approx(2.0), pytest.approx(4.0), 0.0)


@pytest.mark.parametrize(
    "ngram_size, window, steps", [(30, 90, 100), (5, 3, 20), (3, 7, 0), (3, 7, 2), (3, 7, 3), (7, 7, 9)]
)
def test_comparisons_of_all_steps_are_those_of_each(ngram_size: int, window: int, steps: int) -> None:
    def by_hand(outputs: int) -> int:
        """The n-grams that begin in the window and end before the last token does."""
        first = max(0, outputs - window)
        return len(range(first, outputs - ngram_size + 1)) if outputs >= ngram_size else 0

    each = [by_hand(step + 1) for step in range(steps)]
    assert [comparisons(ngram_size, window, step + 1) for step in range(steps)] == each
    assert step_comparisons(ngram_size, window, steps) == sum(each)
