"""What a simulated load comes to: on a terminal, and as JSON."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, Final

from modelmeter.quantities import estimated
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table
from modelmeter.simulation.load import FULL, PERCENTILES

if TYPE_CHECKING:
    from modelmeter.simulation.load import Outcome, Simulation

#: times of requests, and what is told of each beside percentiles
TIMES: Final = ("latency_s", "ttft_s", "tpot_s")
MEAN: Final = "mean"


def load_words(simulation: Simulation) -> str:
    """The load, in a line."""
    if simulation.in_flight is not None:
        return f"{simulation.in_flight:,} requests in flight, a new one whenever one ends"
    if simulation.rate is not None:
        return f"{simulation.rate:g} requests/s, which arrive at random (Poisson)"
    return "requests as the trace has them arrive"


def _figures(outcome: Outcome) -> dict[str, tuple[str, float | None]]:
    """Unit and value of what one outcome says, by name. A queue that grows is answered at capacity, the rest None."""
    served, times = outcome.served, None if outcome.served is None else outcome.times()
    figures: dict[str, tuple[str, float | None]] = {
        "capacity": ("requests/s", outcome.capacity),
        "requests_per_s": ("requests/s", outcome.capacity if served is None else outcome.requests_per_s),
        "device_busy": ("of the time", None if served is None else outcome.busy),
        "host_busy": ("of the time", outcome.host_busy),
    }
    for name in TIMES:
        each = None if times is None else times[name]
        figures[f"{name}_{MEAN}"] = "s", None if each is None else each.mean
        for percentile in PERCENTILES:
            figures[f"{name}_p{percentile}"] = "s", None if each is None else each.percentiles[percentile]
    return figures


def times_table(simulation: Simulation) -> Fitting:
    """Every figure as predicted, and at both ends of its interval; without times where the queue grows."""
    table = figures_table("figure", "value", "low", "high", "unit")
    table.columns[4].justify = "left"
    value, fast, slow = map(_figures, (simulation.value, simulation.fast, simulation.slow))
    shown = ["capacity"] if simulation.value.served is None else list(value)
    for name in shown:
        ends = [each[name][1] for each in (fast, slow)]
        low, high = sorted(each for each in ends if each is not None) if None not in ends else ends
        last = name in ("host_busy", *(f"{each}_p{PERCENTILES[-1]}" for each in TIMES))
        cells = (_cell(each) for each in (value[name][1], low, high))
        table.add_row(name, *cells, value[name][0], end_section=last)
    return Fitting(table=table, folding=("unit",))


def _cell(value: float | None) -> str:
    return "grows" if value is None else estimated(value)


def simulation_content(simulation: Simulation) -> dict[str, Any]:
    """The same as JSON: a value of None is that of a queue that grows."""
    value, fast, slow = map(_figures, (simulation.value, simulation.fast, simulation.slow))
    served = simulation.value.served
    return {
        "load": {"rate": simulation.rate, "in_flight": simulation.in_flight, "requests": simulation.requests},
        "scheduler": simulation.scheduler,
        "limits": {
            name: getattr(simulation.limits, name)
            for name in ("max_num_seqs", "max_num_batched_tokens", "blocks", "block_size", "max_model_len")
        },
        "figures": {
            name: {"value": figure, "fast": fast[name][1], "slow": slow[name][1], "unit": unit}
            for name, (unit, figure) in value.items()
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
        f"max_num_batched_tokens={limits.max_num_batched_tokens:,}, {limits.blocks:,} blocks of {limits.block_size} "
        "tokens"
    ]
    if value.served is None:
        assert simulation.rate is not None  # of a trace and a closed loop every request is served
        lines.append(
            f"the replica serves {value.capacity:.3g} requests/s, so the queue grows by {value.growth:.3g} requests/s "
            f"and no time settles: send fewer, or to {floor(simulation.rate / (FULL * value.capacity)) + 1:,} replicas "
            "(modelmeter plan finds how many hold a limit)"
        )
        return lines
    served = value.served
    lines.append(
        f"{served.most_running:,} requests at once and {served.peak_blocks / limits.blocks:.0%} of the blocks at most, "
        f"{served.preemptions:,} put back, {served.most_waiting:,} waiting at most"
    )
    return lines
