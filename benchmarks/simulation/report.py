"""reports/simulation.md and its figures: the simulation beside theory, served traces and published sweeps.

    python -m benchmarks.simulation.report FOLDER

FOLDER: a checkout of casys-kaist/LLMServingSim, see `traces`. Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.simulation import theory
from benchmarks.simulation.cells import JINA, PADDLE
from benchmarks.simulation.traces import (
    LATER,
    SMALL_S,
    TRACES,
    UNEVEN,
    Beside,
    Trace,
    beside,
    fitted_link,
    given_link,
    predicted_link,
)
from modelmeter.files import write_whole
from modelmeter.report.plotting import COLOURS, figure_file, house_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from modelmeter.simulation.load import Simulation

REPORTS: Final = Path(__file__).parents[2] / "reports"
PERCENTILES: Final = (50, 90, 95, 99)

#: of the trace on two cards, from whose first tokens the rate of `fitted_link` is read; all others judge it
FIRST: Final = 30

LOADS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SAMPLE: Final = 50_000
SEEDS: Final = 4
IN_FLIGHT: Final = (1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 32)
WORKERS: Final = (1, 2, 4)
REQUESTS: Final = 400


@dataclass(frozen=True)
class Part:
    """A part of the report. figures: by name."""

    lines: Sequence[str]
    figures: Mapping[str, Figure]


def panels(count: int, title: str) -> tuple[Figure, Sequence[Axes]]:
    """A figure with so many panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots(1, count)


def of_theory() -> Part:
    """M/D/1, and a closed loop's limits."""
    waits = [theory.mean_wait(load, SAMPLE, SEEDS) for load in LOADS]
    loops = {each: [theory.closed(number, each, REQUESTS) for number in IN_FLIGHT] for each in WORKERS}
    figure, (left, right) = panels(2, "The simulation beside theory")
    curve = np.linspace(0.02, 0.955, 200)
    left.plot(curve, [theory.mean_wait_of_theory(load) for load in curve], color=COLOURS[0], label="M/D/1")
    left.plot(LOADS, waits, "o", markersize=4, color=COLOURS[5], label="simulated")
    left.set(xlabel="load", ylabel="mean wait, services", title="one server, arrivals at random")
    left.legend()
    for (workers, rates), colour in zip(loops.items(), (COLOURS[0], COLOURS[2], COLOURS[6]), strict=True):
        within = [theory.closed_at_most(number, workers) for number in range(1, IN_FLIGHT[-1] + 1)]
        right.plot(
            range(1, IN_FLIGHT[-1] + 1), within, color=colour, label=f"limit, {workers} worker{'s' * (workers > 1)}"
        )
        right.plot(IN_FLIGHT, rates, "o", markersize=4, color=colour)
    right.set(xlabel="requests in flight", ylabel="requests a second", title="closed loop (points: simulated)")
    right.legend()
    off = [100 * (wait / theory.mean_wait_of_theory(load) - 1) for load, wait in zip(LOADS, waits, strict=True)]
    short = [
        100 * (1 - rate / theory.closed_at_most(number, workers))
        for workers, rates in loops.items()
        for number, rate in zip(IN_FLIGHT, rates, strict=True)
    ]
    lines = [
        "## Theory",
        "",
        *said(
            f"Arrivals at random at one server with equal services, {SEEDS} samples of {SAMPLE:,} requests a point: "
            "the mean wait beside Pollaczek and Khinchine's, in per cent. A closed loop of "
            f"{theory.HOST_S:g} s of a worker and {theory.OUTPUTS} steps of 1 s that all share: at most "
            f"{max(short):.1f} % below what it cannot exceed (nobody waits, or the workers never rest), and "
            "never above."
        ),
        "",
        "| load | " + " | ".join(f"{load:g}" for load in LOADS) + " |",
        "| --- |" + " ---: |" * len(LOADS),
        "| wait beside M/D/1 | " + " | ".join(f"{each:+.1f}" for each in off) + " |",
        "",
        "![mean waits over load, and requests a second over requests in flight](simulation/theory.svg)",
        "",
    ]
    return Part(lines, {"theory": figure})


def said(words: str, mark: str = "") -> list[str]:
    """A paragraph, or what stands behind a mark."""
    return wrap(words, 118, initial_indent=mark, subsequent_indent=" " * len(mark))


def row(of: str, each: Beside) -> str:
    """A line of the table of traces."""
    off = [each.off(np.mean), *(each.off(percentile(at)) for at in PERCENTILES)]
    means = f"{each.ours.mean():.4g} | {each.theirs.mean():.4g}"
    return f"| {of} | {each.name} | {means} | " + " | ".join(f"{100 * share:+.1f}" for share in off) + " |"


def percentile(at: int) -> Callable[[Any], Any]:
    """What so many per cent stay within."""
    return lambda seconds: np.percentile(seconds, at)


#: what the simulation is to come to: of a time and of its mean (0) or a percentile, per cent that it may be off
WANTED: Final = {("latency", 0): 2} | {
    (name, at): most for name, most in (("latency", 5), ("time to the first token", 10)) for at in PERCENTILES[1:]
}


def missed(found: Mapping[Trace, Sequence[Beside]]) -> str:
    """What is further off than `WANTED`, in words."""
    out = [
        f"{trace.name}'s {each.name}, {f'p{at}' if at else 'mean'}, by {abs(off) - most:.1f} points"
        for trace, all_ in found.items()
        for each in all_
        for at in (0, *PERCENTILES)
        if (most := WANTED.get((each.name, at))) is not None
        and abs(off := 100 * each.off(percentile(at) if at else np.mean)) > most
    ]
    return f"Missed: {'; '.join(out)}." if out else "All are met."


HEADER: Final = (
    "| trace | time | mean, s | theirs | mean | " + " | ".join(f"p{each}" for each in PERCENTILES) + " |",
    "| --- | --- | ---: | ---: | ---: |" + " ---: |" * len(PERCENTILES),
)


def of_traces(folder: Path) -> Part:
    """Served requests."""
    one, two = TRACES
    given = given_link(folder, two)
    whole = 2 * 2048 * two.hidden_size  # bytes of the largest step
    read = fitted_link(folder, two, FIRST)
    found = {one: beside(folder, one, None), two: beside(folder, two, given)}
    late = [Beside(each.name, each.ours[FIRST:], each.theirs[FIRST:]) for each in beside(folder, two, read)]
    rows = [row(f"{trace.name}, {trace.cards} x {trace.card}", each) for trace, all_ in found.items() for each in all_]
    without, less = (100 * beside(folder, one, None, uneven)[0].off(np.mean) for uneven in (0.0, 0.03))
    links = (predicted_link(), LATER)
    others = [(link.name, each) for link in links for each in beside(folder, two, link)[:2]]
    lines = [
        "## Served requests",
        "",
        *said(
            "Two traces of 300 requests each that vLLM 0.19 served, and the kernels of one decoder layer as they were "
            "measured on that card (casys-kaist/LLMServingSim, MIT, 5daddb21). Steps are the sums of those kernels and "
            "1 µs between two; nothing is fitted. Ours beside theirs, in per cent. Wanted: the mean latency within 2, "
            "its percentiles 90 to 99 within 5, those of the time to the first token within 10."
        ),
        "",
        *HEADER,
        *rows,
        "",
        *said(missed(found)),
        "",
        *said(
            "The scheduler plans a step ahead (asynchronous scheduling), as the trace itself shows: of a request that "
            "was scheduled at the end of one step the first token comes with the step after the next.",
            "- ",
        ),
        *said(
            f"Requests of a step differ in their contexts, which takes attention longer: {100 * UNEVEN:g} % of the way "
            "from as many of the mean context to as many of the longest, measured on this card (`traces.UNEVEN`). "
            f"Without it the first trace's mean latency is {without:+.1f} %; with 3 %, which that repository's own fit "
            f"has for half of the heads, {less:+.1f} %.",
            "- ",
        ),
        *said(
            "Two cards send an all-reduce after the embedding and two a layer, and gather the logits; the link is that "
            f"of the trace's own configuration in {given.source}, {given.name}. Where it comes from is not said, and "
            f"it decides: an all-reduce of 2,048 tokens takes {1e6 * given.all_reduce_s(whole):,.0f} µs over it, and "
            f"{' or '.join(f'{1e6 * link.all_reduce_s(whole):,.0f}' for link in links)} over these, with which the "
            "same trace gives:",
            "- ",
        ),
        *(line for link in links for line in said(f"{link.name}: {link.source}", "  - ")),
        "",
        *HEADER,
        *(row(name, each) for name, each in others),
        "",
        *said(
            f"With {1e6 * SMALL_S:.1f} µs for a small all-reduce, as that laboratory measured it later, and the rate "
            f"read from the first {FIRST} requests' first tokens, {read.name}, the other {len(late[0].ours)} requests "
            "give:",
            "- ",
        ),
        "",
        *HEADER,
        *(row("the others", each) for each in late),
        "",
        "![distributions of latency and time to the first token, simulated and served](simulation/traces.svg)",
        "",
    ]
    figure, axes = panels(len(found), "300 requests each: served by vLLM 0.19, and simulated")
    for panel, (trace, all_) in zip(axes, found.items(), strict=True):
        for each, colour in zip(all_[:2], (COLOURS[0], COLOURS[5]), strict=True):
            share = np.arange(1, len(each.ours) + 1) / len(each.ours)
            panel.plot(np.sort(each.theirs), share, color=colour, label=f"{each.name}, served")
            panel.plot(np.sort(each.ours), share, "--", color=colour, label=f"{each.name}, simulated")
        panel.set(xlabel="seconds", ylabel="share of requests", title=f"{trace.name} on {trace.cards} x {trace.card}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return Part(lines, {"traces": figure})


def of_cells() -> Part:
    """Published sweeps."""
    jina = [(sweep, sweep.simulated()) for sweep in JINA]
    paddle = [(sweep, sweep.simulated()) for sweep in PADDLE]
    lines = [
        "## Published sweeps",
        "",
        *said(
            "The same closed loops with the steps' predicted times, `engine=sglang`: requests a second with the ends "
            "of the interval, and means of the time between tokens and to the first one. Published in brackets, ours "
            "beside it in per cent."
        ),
        "",
        *said(
            f"Jina-OCR ({JINA[0].source}): DeepSeek-OCR's backbone and page of 903 image tokens, so simulated as "
            f"that, on {JINA[0].device} (which edition was measured is not said). The host's seconds a page were "
            "fitted on the first page's times to the first token; nothing else of these cells is in any constant.",
        ),
        "",
        "| page | in flight | requests/s | between tokens, ms | first token, s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for sweep, found in jina:
        for in_flight, published, each in zip(sweep.in_flight, sweep.published, found, strict=True):
            times, (rate, tpot, ttft) = each.value.times(), published
            lines.append(
                f"| {sweep.page[0]} x {sweep.page[1]} | {in_flight} | {rated(each, rate)} | "
                f"{against(1e3 * times['tpot_s'].mean, 1e3 * tpot)} | {against(times['ttft_s'].mean, ttft)} |"
            )
    last = JINA[0].output_tokens
    lines += [
        "",
        *said(
            "One request at a time decodes slower here than there, and from the published means alone it cannot be "
            f"said which kernels are faster. Several are alike here ({last} tokens each), so they end together and "
            "their pages wait for one another at the host; there lengths differ."
        ),
        "",
        *said(
            f"PaddleOCR-VL ({PADDLE[0].source}), 1920 x 1080 pages, 128 tokens, 32 in flight, by workers of the host, "
            "with two readings of a page's seconds: 87 ms in the image processor, as published, and 149 ms, which the "
            "cell with one worker comes to (so that one is no test). Wanted: 1 and 2 workers within 15."
        ),
        "",
        "| workers | with 87 ms | with 149 ms |",
        "| ---: | ---: | ---: |",
    ]
    for number, (workers, (rate,)) in enumerate(zip(PADDLE[0].workers, PADDLE[0].published, strict=True)):
        lines.append(f"| {workers} | " + " | ".join(rated(found[number], rate) for _, found in paddle) + " |")
    lines += [
        "",
        *said(
            "Missed. One worker does more for a page than 87 ms, and a second one gave 1.4 times as much. From two on "
            "the simulation is bound by the device's predicted times; what bound the measured ones is not published: "
            "workers that hinder one another, or a device that is slower than predicted. That four are slower than two "
            "its authors put down to prefill batches that arrivals spread apart. Here workers do not hinder one "
            "another, and a prompt costs the same in any batch."
        ),
        "",
        "![requests a second and time between tokens over requests in flight, and requests a second over workers]"
        "(simulation/cells.svg)",
        "",
    ]
    figure, (rates, tokens, hosts) = panels(3, "Published under SGLang (lines), and simulated (points, interval)")
    for (sweep, found), colour in zip(jina, (COLOURS[0], COLOURS[2], COLOURS[5]), strict=True):
        name = f"{sweep.page[0]} x {sweep.page[1]}"
        rates.plot(sweep.in_flight, [each[0] for each in sweep.published], color=colour, label=name)
        marked(rates, sweep.in_flight, found, colour)
        tokens.plot(sweep.in_flight, [1e3 * each[1] for each in sweep.published], color=colour)
        means = [1e3 * each.value.times()["tpot_s"].mean for each in found]
        tokens.plot(sweep.in_flight, means, "o", markersize=4, color=colour)
    rates.set(xlabel="requests in flight", ylabel="requests a second", title="Jina-OCR, RTX PRO 6000", ylim=(0, None))
    rates.legend()
    tokens.set(xlabel="requests in flight", ylabel="ms between tokens", title="Jina-OCR, RTX PRO 6000", ylim=(0, None))
    hosts.plot(PADDLE[0].workers, [each[0] for each in PADDLE[0].published], color=COLOURS[7], label="published")
    for (sweep, found), colour, words in zip(paddle, (COLOURS[0], COLOURS[5]), ("87 ms", "149 ms"), strict=True):
        marked(hosts, sweep.workers, found, colour, f"simulated, {words} a page")
    hosts.set(xlabel="workers", ylabel="requests a second", title="PaddleOCR-VL, H200, 32 in flight", ylim=(0, None))
    hosts.legend(loc="lower right")
    for axes, values in ((rates, JINA[0].in_flight), (tokens, JINA[0].in_flight), (hosts, PADDLE[0].workers)):
        axes.set_xticks(values)
    return Part(lines, {"cells": figure})


def against(ours: float, theirs: float) -> str:
    """A value, what was published, and the difference."""
    return f"{ours:.3g} ({theirs:.3g}) {100 * (ours / theirs - 1):+.0f}"


def rated(each: Simulation, published: float) -> str:
    """Requests a second of a cell, with its interval."""
    ends = f"{each.slow.requests_per_s:.3g} to {each.fast.requests_per_s:.3g}"
    return f"{against(each.value.requests_per_s, published)}, {ends}"


def marked(axes: Axes, at: Sequence[int], found: Sequence[Simulation], colour: str, label: str | None = None) -> None:
    """Requests a second as points with their intervals."""
    values = [each.value.requests_per_s for each in found]
    ends = [
        [each.value.requests_per_s - each.slow.requests_per_s for each in found],
        [each.fast.requests_per_s - each.value.requests_per_s for each in found],
    ]
    axes.errorbar(at, values, ends, fmt="o", markersize=4, capsize=2, linewidth=1, color=colour, label=label)


def write(folder: Path) -> None:
    """The report and its figures."""
    with house_style():
        parts = [of_theory(), of_traces(folder), of_cells()]
        for part in parts:
            for name, figure in part.figures.items():
                write_whole(REPORTS / "simulation" / f"{name}.svg", figure_file(figure, "svg"))
    head = [
        "# The simulation beside theory and what was measured",
        "",
        "Written by `make simulation FOLDER=…`, of casys-kaist/LLMServingSim's checkout.",
        "",
    ]
    text = "\n".join([*head, *(line for part in parts for line in part.lines)])
    (REPORTS / "simulation.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
