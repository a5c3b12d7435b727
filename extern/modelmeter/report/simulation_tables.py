"""What a simulated load comes to: on a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from modelmeter.quantities import estimated
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table

if TYPE_CHECKING:
    from modelmeter.simulation.load import Outcome, Simulation

#: the mean and the percentiles of a time
MEAN: Final = "mean"


def load_words(simulation: Simulation) -> str:
    """The load, in a line."""
    if simulation.in_flight is not None:
        return f"{simulation.in_flight:,} requests in flight, a new one whenever one ends"
    if simulation.rate is not None:
        return f"{simulation.rate:g} requests/s, which arrive at random (Poisson)"
    return "requests as the trace has them arrive"


def _figures(outcome: Outcome) -> Iterator[tuple[str, str, float | None]]:
    """(name, unit, value) of what one outcome says; None where its queue grows."""
    served = outcome.served
    yield "capacity", "requests/s", outcome.capacity
    of: Callable[[Callable[[], float]], float | None] = lambda value: None if served is None else value()  # noqa: E731
    yield "requests_per_s", "requests/s", of(lambda: outcome.requests_per_s)
    yield "device_busy", "of the time", of(lambda: outcome.busy)
    yield "host_busy", "of the time", outcome.host_busy
    times = None if served is None else outcome.times()
    from modelmeter.simulation.load import PERCENTILES

    for name in ("latency_s", "ttft_s", "tpot_s"):
        each = None if times is None else times[name]
        yield f"{name}_{MEAN}", "s", None if each is None else each.mean
        for percentile in PERCENTILES:
            yield f"{name}_p{percentile}", "s", None if each is None else each.percentiles[percentile]


def times_table(simulation: Simulation) -> Fitting:
    """Every figure as predicted, and at both ends of its interval."""
    table = figures_table("figure", "value", "low", "high", "unit")
    table.columns[4].justify = "left"
    outcomes = (simulation.value, simulation.fast, simulation.slow)
    rows = list(zip(*map(_figures, outcomes), strict=True))
    for number, row in enumerate(rows):
        name, unit, _ = row[0]
        value, *ends = (each for _, _, each in row)
        known = [each for each in ends if each is not None]
        low, high = (min(known), max(known)) if len(known) == len(ends) else (min(known, default=None), None)
        group = name.rpartition("_")[0]
        last = number + 1 < len(rows) and not rows[number + 1][0][0].startswith(group[:4])
        table.add_row(name, *(_cell(each) for each in (value, low, high)), unit, end_section=last)
    return Fitting(table=table, folding=("unit",))


def _cell(value: float | None) -> str:
    return "grows" if value is None else estimated(value)


def simulation_content(simulation: Simulation) -> dict[str, Any]:
    """The same as JSON: a value of None is that of a queue that grows."""
    outcomes = (simulation.value, simulation.fast, simulation.slow)
    rows = zip(*map(_figures, outcomes), strict=True)
    served = simulation.value.served
    return {
        "load": {"rate": simulation.rate, "in_flight": simulation.in_flight, "requests": simulation.requests},
        "scheduler": simulation.scheduler,
        "limits": {
            name: getattr(simulation.limits, name)
            for name in ("max_num_seqs", "max_num_batched_tokens", "blocks", "block_size", "max_model_len")
        },
        "figures": {
            row[0][0]: {"value": row[0][2], "fast": row[1][2], "slow": row[2][2], "unit": row[0][1]} for row in rows
        },
        "growth_per_s": simulation.value.growth,
        "served": None
        if served is None
        else {
            "seconds": served.seconds,
            "steps": served.steps,
            "preemptions": served.preemptions,
            "peak_blocks": served.peak_blocks,
            "most_running": served.most_running,
            "most_waiting": served.most_waiting,
        },
    }


def served_lines(simulation: Simulation) -> list[str]:
    """What was simulated, and what of the pool and the queue it came to."""
    limits, value = simulation.limits, simulation.value
    lines = [
        f"{simulation.requests:,} requests; scheduler of {simulation.scheduler}: max_num_seqs={limits.max_num_seqs:,}, "
        f"max_num_batched_tokens={limits.max_num_batched_tokens:,}, {limits.blocks:,} blocks of {limits.block_size} tokens"
    ]
    if value.served is None:
        lines.append(
            f"the replica serves {value.capacity:.3g} requests/s, so the queue grows by {value.growth:.3g} requests/s "
            "and no time settles: send fewer, or to more replicas"
        )
        return lines
    served = value.served
    lines.append(
        f"{served.most_running:,} requests at once and {served.peak_blocks / limits.blocks:.0%} of the blocks at most, "
        f"{served.preemptions:,} put back, {served.most_waiting:,} waiting at most"
    )
    return lines
