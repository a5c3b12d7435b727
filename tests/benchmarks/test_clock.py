"""Alternating measurements: the order, the round that warms up, and the medians; no time is asserted."""

from benchmarks.clock import alternating, seconds_of


def test_the_sides_take_turns_and_the_first_round_is_dropped() -> None:
    order: list[str] = []
    first = iter([1000.0, 1.0, 2.0, 4.0])
    second = iter([1000.0, 30.0, 20.0, 4.0])
    sides = {
        "one": lambda: lambda: (order.append("one"), next(first))[1],
        "other": lambda: lambda: (order.append("other"), next(second))[1],
    }
    ratio = alternating("both", sides, rounds=3, seconds=lambda side: side())
    assert order == ["other", "one", "one", "other", "other", "one", "one", "other"]
    assert (ratio.first, ratio.second, ratio.rounds) == ("one", "other", 3)
    assert (ratio.first_seconds, ratio.second_seconds) == (2.0, 20.0)
    assert ratio.ratio == 10.0  # of 30, 10 and 1
    assert ratio.document()["ratio"] == 10.0


def test_only_the_call_is_timed_not_what_prepares_it() -> None:
    prepared: list[str] = []
    timed: list[object] = []
    sides = {name: lambda name=name: prepared.append(name) or name for name in ("one", "other")}
    alternating("both", sides, rounds=1, seconds=lambda side: timed.append((side, len(prepared))) or 1.0)
    assert timed == [("other", 1), ("one", 2), ("one", 3), ("other", 4)]


def test_the_garbage_collector_is_on_again() -> None:
    import gc

    seen: list[bool] = []
    assert seconds_of(lambda: seen.append(gc.isenabled())) >= 0
    assert (seen, gc.isenabled()) == ([False], True)
