"""A plan on a terminal and as JSON: how many GPUs, what they cost, how long pages take, why the others lose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import isinf
from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.common.precision import UNQUANTISED
from modelmeter.plan.demand import LIMITS
from modelmeter.plan.verdict import up_to, verdict
from modelmeter.plan.ways import Plan, Way
from modelmeter.quantities import estimated
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table, label_lines

if TYPE_CHECKING:
    from rich.table import Table

#: percentiles of the tables, of both times
SHOWN: Final = (50, 95, 99)
TIMES: Final = ("latency_s", "ttft_s")

#: what ways are told apart by
KEYS: Final = ("model", "precision", "device", "engine")

#: what no figure of a plan has in it
NOT_MODELLED: Final = (
    "more than one GPU a replica (tensor and expert parallel), the network, load balancers that do not spread evenly",
    "failures, restarts and retries beside the spare GPUs; blocks of a prefix that requests share; several models on "
    "one GPU",
    "a rate that changes within the peak: requests come at random (Poisson), from an idle start",
    "the price of anything but GPU hours: storage, CPU cores, people, contracts",
)

#: heads that a narrow terminal goes without, the first to go first
_SPARE: Final = (
    "kWh a month",
    "ttft s p99",
    "latency s p99",
    "ttft s p50",
    "cores",
    "load",
    "quality",
    "decided by",
)


def plan_table(plan: Plan, ways: Sequence[Way], benchmark: str | None) -> Fitting:
    """A row a way that holds the limits or was not searched."""
    keys = _varied(plan)
    heads = ["GPUs", "up to", "load", "decided\nby", *(f"latency s\np{each}" for each in SHOWN)]
    heads += [*(f"ttft s\np{each}" for each in SHOWN), "cores"]
    priced = any(plan.money(way) is not None for way in ways)
    heads += [f"{plan.question.prices.words}\na month"] if priced else []
    heads += ["kWh\na month", *(["quality"] if benchmark else []), "why"]
    table = figures_table(*keys, *heads)
    for place, _ in enumerate(keys):
        table.columns[place].justify = "left"
    for number, way in enumerate(ways, start=1):
        table.add_row(*(way.settings[key] for key in keys), *_cells(plan, way, priced, benchmark), f"[{number}]")
    return Fitting(table=table, spare=_SPARE)


def _varied(plan: Plan) -> list[str]:
    """What ways are told apart by."""
    several = [key for key in KEYS if len({way.settings.get(key, "-") for way in plan.ways} - {"-"}) > 1]
    return several or ["device"]


def _cells(plan: Plan, way: Way, priced: bool, benchmark: str | None) -> Iterator[str]:
    assert way.serves is not None
    least = "≥ " if way.found is None else ""
    yield f"{least}{plan.gpus(way):,}"
    yield up_to(plan, way)
    if way.found is None:
        yield from ["-"] * (2 + 2 * len(SHOWN) + 1)
    else:
        yield f"{plan.load(way):.0%}"
        yield ", ".join(name.removesuffix("_s") for name in way.found.decided_by) or way.serves.limited_by
        times = way.found.outcome.times()
        for name in TIMES:
            yield from (estimated(times[name].percentiles[each]) for each in SHOWN)
        yield f"{way.found.replicas * way.serves.workers:,}"
    if priced:
        money = plan.money(way)
        yield "-" if money is None else f"{least}{money:,.0f}"
    energy = plan.energy_kwh(way)
    yield "-" if energy is None or way.found is None else f"≤ {energy:,.0f}"
    if benchmark:
        yield "-" if way.quality is None else f"{way.quality.value:g}"


def why_lines(plan: Plan, ways: Sequence[Way]) -> Table:
    """Why each row of the table does not win, and what would let it."""
    return label_lines(*((f"[{number}]", _why(plan, way)) for number, way in enumerate(ways, start=1)))


def _why(plan: Plan, way: Way) -> str:
    found = verdict(plan, way)
    if found.kind == "best":
        return "the best"
    return "; ".join(filter(None, (found.why, found.change)))


def losing_lines(plan: Plan, ways: Sequence[Way], most: int) -> Table:
    """Ways that are no row: who they are, and why; those of one reason together, `most` lines of them."""
    reasons: dict[str, list[str]] = {}
    for way in ways:
        name = " ".join(way.settings[key] for key in _varied(plan))
        reasons.setdefault(_why(plan, way), []).append(name)
    lines = [("-", f"{', '.join(names)}: {why}") for why, names in reasons.items()]
    if len(lines) > most:
        lines[most:] = [("", f"and {len(lines) - most} more: --json has all")]
    return label_lines(*lines)


def answer_text(plan: Plan) -> str:
    """The best way in a line, or what comes nearest."""
    best = plan.best
    if best is None:
        nearest = plan.ways[0]
        found = verdict(plan, nearest)
        return f"nothing holds the limits; nearest: {_who(nearest)}: {found.why}; {found.change}"
    assert best.found is not None
    spare = f", {plan.question.spare} of them spare" if plan.question.spare else ""
    many = plan.gpus(best)
    most = f" (up to {up_to(plan, best)} where steps and host are slow)"
    money = plan.money(best)
    paid = "" if money is None else f": {money:,.0f} {plan.question.prices.words} a month, around the clock"
    return f"{many:,} {best.device.name}{spare}{most}, {_model(best)}{paid}"


def _who(way: Way) -> str:
    return f"{_model(way)} on {way.device.name}"


def _model(way: Way) -> str:
    precision = way.settings.get("precision", UNQUANTISED)
    packed = "" if precision in (UNQUANTISED, "-") else f", {precision}"
    return f"{way.settings['model']} ({way.settings['mode']}{packed}) by {way.settings['engine']}"


def head_lines(plan: Plan, subject: str, benchmark: str | None) -> Table:
    """What was asked, what the answer is, and what it rests on."""
    question, demand = plan.question, plan.question.demand
    level = question.level
    limits = [f"{LIMITS[name]} {seconds:g} s" for name, seconds in level.limits.items()]
    asked = f"{' and '.join(limits)} for {level.percentile} of 100 pages" if limits else "none: the rate alone decides"
    peak = f", at the peak {demand.peak_factor:g} x: {demand.rate:.4g}" if demand.peak_factor != 1 else ""
    lines = [
        ("answer", answer_text(plan)),
        ("pages", subject),
        ("rate", f"{float(demand.pages):,.0f} pages a {demand.period}: {demand.mean_rate:.4g}{peak} requests/s"),
        ("limits", asked),
        ("prices", _prices(plan)),
    ]
    if plan.best is not None:
        lines += _shares(plan, plan.best)
    if benchmark:
        lines.append(("quality", f"{benchmark}, as published (modelmeter models NAME has sources)"))
    return label_lines(*lines)


def _prices(plan: Plan) -> str:
    prices = plan.question.prices
    if not prices.an_hour:
        return "none given, so ways are sorted by GPUs: --price DEVICE=2.5 (an hour) or --prices FILE"
    source = f", {prices.source}, {prices.date}" if prices.source else " of the command line"
    return f"{prices.words} an hour{source}; sorted by {plan.by}"


def _shares(plan: Plan, way: Way) -> list[tuple[str, str]]:
    """What the host costs and what the engine, a page and at the peak."""
    assert way.serves is not None and way.found is not None
    serves, outcome = way.serves, way.found.outcome
    total, cores = serves.host_s + serves.device_s, serves.workers * way.found.replicas
    host = (
        f"{serves.host_s:.3g} s of a CPU core a page, {serves.host_s / total:.0%} of the work: "
        f"host.workers={serves.workers} a replica, {cores:,} core{'s' * (cores > 1)} in all, "
        f"{outcome.host_busy or 0.0:.0%} busy"
    )
    engine = (
        f"{serves.device_s:.3g} s of the GPU a page, {serves.device_s / total:.0%} of the work; a replica serves "
        f"{estimated(serves.capacity)} requests/s ({estimated(serves.slow)} to {estimated(serves.fast)}) and gets "
        f"{estimated(plan.question.demand.rate / way.found.replicas)}, {outcome.busy:.0%} of the time computing"
    )
    return [("host", host), ("engine", engine)]


def simulated_line(plan: Plan, subject: str) -> str:
    """How the same replica is simulated by itself."""
    best, question = plan.best, plan.question
    if best is None or best.found is None or best.serves is None:
        return ""
    settings = best.settings
    packed = settings.get("precision", UNQUANTISED)
    precision = "" if packed == UNQUANTISED or "precision=" in subject else f" precision={packed}"
    return (
        f"modelmeter simulate {subject}{precision} --model {settings['model']} --engine {settings['engine']} "
        f"--device {best.device.name} --rate {question.demand.rate / best.found.replicas:.6g} "
        f"--requests {question.requests} --seed {question.seed} host.workers={best.serves.workers}"
    )


def plan_content(plan: Plan) -> dict[str, Any]:
    """For JSON and for a saved plan: what was asked, and every way with its figures or its reason."""
    question = plan.question
    demand = {
        "pages": float(question.demand.pages),
        "period": question.demand.period,
        "peak_factor": question.demand.peak_factor,
        "requests_per_s": question.demand.rate,
    }
    return {
        "demand": demand,
        "limits": question.level.limits | {"percentile": question.level.percentile},
        "spare": question.spare,
        "requests": question.requests,
        "seed": question.seed,
        "prices": {
            "an_hour": dict(question.prices.an_hour),
            "currency": question.prices.currency,
            "date": question.prices.date,
            "source": question.prices.source,
        },
        "sorted_by": plan.by,
        "holds": plan.best is not None,
        "rows": [_row(plan, way) for way in plan.ways],
        "not_modelled": list(NOT_MODELLED),
    }


def _row(plan: Plan, way: Way) -> dict[str, Any]:
    found = verdict(plan, way)
    row: dict[str, Any] = {
        **way.settings,
        "verdict": found.kind,
        "why": found.why,
        "change": found.change,
        "quality": None if way.quality is None else asdict(way.quality),
    }
    if way.serves is not None:
        row["replica"] = way.serves._asdict()
    if way.short:
        row["takes"] = dict(way.short)
    elif way.serves is not None:
        row["gpus" if way.found else "gpus_at_least"] = plan.gpus(way)
        row["money_a_month" if way.found else "money_a_month_at_least"] = plan.money(way)
    if way.found is not None:
        times = way.found.outcome.times()
        slow = way.slow_replicas
        row |= {
            "replicas": way.found.replicas,
            "gpus_slow": None if slow is None or isinf(slow) else int(slow) + plan.question.spare,
            "load": plan.load(way),
            "decided_by": list(way.found.decided_by) or [way.serves.limited_by if way.serves else ""],
            "device_busy": way.found.outcome.busy,
            "host_busy": way.found.outcome.host_busy,
            "cores": way.found.replicas * (way.serves.workers if way.serves else 0),
            "energy_kwh_a_month_at_most": plan.energy_kwh(way),
            **{f"{name}_p{each}": times[name].percentiles[each] for name in TIMES for each in SHOWN},
        }
    return row
