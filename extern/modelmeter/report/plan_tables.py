"""A plan on a terminal and as JSON, and what its report shares: GPUs, money, times of pages, why the others lose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from modelmeter.devices.throughput import ESTIMATE
from modelmeter.models.common.precision import UNQUANTISED
from modelmeter.plan.demand import LIMITS
from modelmeter.plan.verdict import NOT_SEARCHED, verdict
from modelmeter.plan.ways import MONEY, SPLIT, Plan, Way
from modelmeter.quantities import estimated, number
from modelmeter.report.compare_tables import published_cell
from modelmeter.report.document import SHARE, Cell, Quantity, cell_text
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table, label_lines, runaway_words

if TYPE_CHECKING:
    from rich.table import Table

    from modelmeter.simulation.load import Outcome

#: percentiles of the tables, of both times, beside the one that limits are on
_SHOWN: Final = (50, 95, 99)
TIMES: Final = {"latency_s": "latency", "ttft_s": "ttft"}

#: what ways are told apart by
KEYS: Final = ("model", "precision", "device", SPLIT, "engine")

#: what no figure of a plan has in it
NOT_MODELLED: Final = (
    "more than one host a replica, the network, load balancers that do not spread evenly",
    "failures, restarts and retries beside the spare GPUs; blocks of a prefix that requests share; several models on "
    "one GPU",
    "a rate that changes within the peak: requests come at random (Poisson), from an idle start",
    "the price of anything but GPU hours: storage, CPU cores, people, contracts",
)

#: where a figure of a way comes from, in a word and in a sentence
SIMULATION: Final = "simulation"
PRICE_GIVEN: Final = "price given"
AT_MOST: Final = "at most: power limit"
ORIGINS: Final = {
    SIMULATION: "one replica with its share of the peak, request by request through the engine's scheduler, steps and "
    "host as predicted; slow end: both at the slow end of their interval, which is meant to hold nine of ten measured",
    ESTIMATE: "what a replica serves, device or host, the slower of the two: modelmeter throughput",
    "80 % busy": "host workers, a CPU core each, so many that they are 80 % busy at what a replica serves, unless "
    "host.workers says how many there are",
    PRICE_GIVEN: "GPUs x the price of an hour x 730.5 hours: around the clock, at the mean rate too",
    AT_MOST: "GPUs x the power limit of the device's file x 730.5 hours",
    "published": "of the checkpoint in its mode, with its weights as they were published; nothing was measured here",
}

#: heads that a narrow terminal goes without, the first to go first
_SPARE: Final = (
    "kWh a month at most",
    "ttft s p99",
    "latency s p99",
    "ttft s p50",
    "cores",
    "load",
    "quality",
    "decided by",
    "latency s p50",
    "ttft s p95",
    "up to",
    "*",
)


@dataclass(frozen=True, kw_only=True)
class WayColumn:
    """A figure of a way: its key, its head on a terminal, with the unit in it, and in a report, and its origin."""

    key: str
    head: str
    title: str
    origin: str
    cell: Callable[[Way], Cell]


def percentiles(plan: Plan) -> list[int]:
    """Those that are told."""
    return sorted({*_SHOWN, plan.question.level.percentile})


def way_columns(plan: Plan, ways: Sequence[Way], benchmark: str | None) -> list[WayColumn]:
    """What is told of ways that hold the limits."""
    words = plan.question.prices.words
    columns = [
        WayColumn(key="gpus", head="GPUs", title="GPUs", origin=SIMULATION, cell=lambda way: Quantity(plan.gpus(way))),
        WayColumn(
            key="gpus_slow",
            head="up to",
            title="up to",
            origin=f"{SIMULATION}, slow end",
            cell=lambda way: _up_to(plan, way),
        ),
        WayColumn(
            key="load",
            head="load",
            title="load at the peak",
            origin=ESTIMATE,
            cell=lambda way: Quantity(plan.load(way), SHARE, estimate=True),
        ),
        WayColumn(key="decided_by", head="decided\nby", title="decided by", origin=SIMULATION, cell=_decided_by),
        *(
            WayColumn(
                key=f"{name}_p{each}",
                head=f"{words} s\np{each}",
                title=f"{words} p{each}",
                origin=SIMULATION,
                cell=_time(name, each),
            )
            for name, words in TIMES.items()
            for each in percentiles(plan)
        ),
        WayColumn(key="cores", head="cores", title="CPU cores", origin="80 % busy", cell=_cores),
        WayColumn(
            key="money_a_month",
            head=f"{words}\na month",
            title=f"{words} a month",
            origin=PRICE_GIVEN,
            cell=lambda way: _figure(plan.money(way)),
        ),
        WayColumn(
            key="money_for_1000_pages",
            head=f"{words} for\n1,000 pages",
            title=f"{words} for 1,000 pages",
            origin=PRICE_GIVEN,
            cell=lambda way: _figure(plan.money_for_1000(way), estimate=True),
        ),
        WayColumn(
            key="energy_kwh_a_month",
            head="kWh a month\nat most",
            title="kWh a month",
            origin=AT_MOST,
            cell=lambda way: _figure(plan.energy_kwh(way)),
        ),
        WayColumn(
            key="quality",
            head="quality",
            title="quality",
            origin="published",
            cell=lambda way: published_cell(way.quality),
        ),
    ]
    absent = set() if benchmark else {"quality"}
    if all(plan.money(way) is None for way in ways):
        absent |= {"money_a_month", "money_for_1000_pages"}
    return [column for column in columns if column.key not in absent]


def _up_to(plan: Plan, way: Way) -> Cell:
    gpus = plan.gpus_slow(way)
    return "no number" if gpus is None else Quantity(gpus)


def _decided_by(way: Way) -> str:
    assert way.found is not None and way.serves is not None
    return ", ".join(name.removesuffix("_s") for name in way.found.decided_by) or way.serves.limited_by


def _time(name: str, percentile: int) -> Callable[[Way], Cell]:
    def cell(way: Way) -> Cell:
        assert way.found is not None
        return Quantity(way.found.outcome.times()[name].percentiles[percentile], "s", estimate=True)

    return cell


def _cores(way: Way) -> Cell:
    assert way.found is not None and way.serves is not None
    return Quantity(way.found.replicas * way.serves.workers)


def _figure(value: float | None, *, estimate: bool = False) -> Cell:
    return None if value is None else Quantity(value, estimate=estimate)


def plan_table(plan: Plan, ways: Sequence[Way], benchmark: str | None) -> Fitting:
    """A row a way that holds the limits, an asterisk at those that are efficient."""
    keys, columns = varied(plan), way_columns(plan, ways, benchmark)
    table = figures_table(*keys, "*", *(column.head for column in columns), "why")
    for place, _ in enumerate(keys):
        table.columns[place].justify = "left"
    for place, way in enumerate(ways, start=1):
        cells = (_terminal_text(column.cell(way)) for column in columns)
        table.add_row(*(way.settings[key] for key in keys), mark(plan, way), *cells, f"[{place}]")
    thousand = f"{plan.question.prices.words} for 1,000 pages"
    return Fitting(table=table, spare=(thousand, *_SPARE))


def _terminal_text(cell: Cell) -> str:
    """A cell where the head has the unit."""
    return estimated(cell.value) if isinstance(cell, Quantity) and cell.unit == "s" else cell_text(cell)


def varied(plan: Plan) -> list[str]:
    """What ways are told apart by."""
    several = [key for key in KEYS if len({way.settings.get(key, "-") for way in plan.ways} - {"-"}) > 1]
    return several or ["device"]


def mark(plan: Plan, way: Way) -> str:
    """Whether a way is efficient."""
    return "*" if way in plan.efficient else ""


def marks_text(plan: Plan, benchmark: str | None) -> str:
    """What the asterisk means."""
    judged = any(way.quality is not None for way in plan.holding)
    cost = f"costs as much or less ({plan.question.prices.words})" if plan.by == MONEY else "has as many GPUs or fewer"
    reads = f" and reads as well or better ({benchmark})" if judged else ""
    out = sum(way.quality is None for way in plan.holding) if judged else 0
    aside = f"; {out} without a published figure take no part" if out else ""
    pruned = sum(verdict(plan, way).kind == NOT_SEARCHED for way in plan.ways)
    more = f"; {pruned} that were not searched are not among them: --all" if pruned else ""
    return (
        f"Pareto-efficient: no other row {cost}, is as fast or faster (latency p{plan.question.level.percentile})"
        f"{reads}{aside}{more}"
    )


def why_lines(plan: Plan, ways: Sequence[Way], benchmark: str | None) -> Table:
    """Why each row of the table does not win, and what would let it; and what the asterisk means."""
    reasons = ((f"[{place}]", _why(plan, way)) for place, way in enumerate(ways, start=1))
    return label_lines(*reasons, ("*", marks_text(plan, benchmark)))


def _why(plan: Plan, way: Way) -> str:
    found = verdict(plan, way)
    if found.kind == "best":
        return "the best"
    return "; ".join(each.removesuffix(".") for each in (found.why, found.change) if each)


def losing_lines(plan: Plan, ways: Sequence[Way], most: int) -> Table:
    """Ways that are no row: who they are, and why; those of one reason together, `most` lines of them."""
    reasons: dict[str, list[str]] = {}
    for way in ways:
        name = " ".join(way.settings[key] for key in varied(plan))
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
    slow = plan.gpus_slow(best)
    most = f" ({'no number holds' if slow is None else f'up to {slow:,}'} where steps and host are slow)"
    money, thousand = plan.money(best), plan.money_for_1000(best)
    paid = ""
    if money is not None and thousand is not None:
        words = plan.question.prices.words
        paid = f": {number(money)} {words} a month, around the clock, {thousand:.3g} {words} for 1,000 pages"
    each = "" if best.devices == 1 else f", {best.devices} a replica"
    return f"{many:,} {best.device.name}{each}{spare}{most}, {_model(best)}{paid}"


def _who(way: Way) -> str:
    several = "" if way.devices == 1 else f"{way.devices} "
    return f"{_model(way)} on {several}{way.device.name}"


def _model(way: Way) -> str:
    precision = way.settings.get("precision", UNQUANTISED)
    packed = "" if precision in (UNQUANTISED, "-") else f", {precision}"
    return f"{way.settings['model']} ({way.settings['mode']}{packed}) by {way.settings['engine']}"


def head_lines(plan: Plan, subject: str, benchmark: str | None) -> Table:
    """What was asked, what the answer is, and what it rests on."""
    return label_lines(
        ("answer", answer_text(plan)), *asked(plan, subject), *shares(plan), *quality_lines(plan, benchmark)
    )


def quality_lines(plan: Plan, benchmark: str | None) -> list[tuple[str, str]]:
    """(label, text) of what the published figures are, and whether the best way has one."""
    if benchmark is None:
        return []
    told = f"{benchmark}, as published (modelmeter models NAME has sources)"
    if plan.best is not None and plan.best.quality is None:
        told += "; nothing was published of the best way, so hold what it reads against your pages before you decide"
    return [("quality", told)]


def asked(plan: Plan, subject: str) -> list[tuple[str, str]]:
    """(label, text) of what was asked."""
    question, demand = plan.question, plan.question.demand
    level = question.level
    limits = [f"{LIMITS[name]} {seconds:g} s" for name, seconds in level.limits.items()]
    within = f"{' and '.join(limits)} for {level.percentile} of 100 pages" if limits else "none: the rate alone decides"
    peak = f", at the peak {demand.peak_factor:g} x: {demand.rate:.4g}" if demand.peak_factor != 1 else ""
    return [
        ("pages", subject + runaway_words(question.runaway_share)),
        ("rate", f"{demand.words}: {demand.mean_rate:.4g}{peak} requests/s"),
        ("limits", within),
        ("prices", _prices(plan)),
    ]


def _prices(plan: Plan) -> str:
    prices = plan.question.prices
    if not prices.an_hour:
        return "none given, so ways are sorted by GPUs: --price DEVICE=2.5 (an hour) or --prices FILE"
    source = f", {prices.source}, {prices.date}" if prices.source else " of the command line"
    return f"{prices.words} an hour{source}; sorted by {plan.by}"


def shares(plan: Plan) -> list[tuple[str, str]]:
    """(label, text) of what the host costs by the best way, and what the engine, a page and at the peak."""
    way = plan.best
    if way is None:
        return []
    assert way.serves is not None and way.found is not None
    serves, outcome = way.serves, way.found.outcome
    total, cores = serves.host_s + serves.device_s, serves.workers * way.found.replicas
    host = (
        f"{serves.host_s:.3g} s of a CPU core a page, {serves.host_s / total:.0%} of the work: "
        f"host.workers={serves.workers} a replica, {cores:,} core{'s' * (cores > 1)} in all, "
        f"{outcome.host_busy or 0.0:.0%} busy"
    )
    gpu = "the GPU" if way.devices == 1 else f"its {way.devices} GPUs"
    engine = (
        f"{serves.device_s:.3g} s of {gpu} a page, {serves.device_s / total:.0%} of the work; a replica serves "
        f"{estimated(serves.capacity)} requests/s ({estimated(serves.slow)} to {estimated(serves.fast)}) and gets "
        f"{estimated(plan.question.demand.rate / way.found.replicas)}, {outcome.busy:.0%} of the time computing"
    )
    lines = [("host", host), ("engine", engine)]
    back = _put_back(outcome)
    if back:
        lines.append(
            (
                "pool",
                f"full at times: in {plan.question.requests:,} requests one is put back {back:,} times, and computed "
                "again; a longer peak may tip over: take a GPU more, or a lower engine.max_num_seqs",
            )
        )
    return lines


def _put_back(outcome: Outcome) -> int:
    """Times that requests lost their blocks."""
    return 0 if outcome.served is None else outcome.served.preemptions


def simulated_line(plan: Plan, subject: str) -> str:
    """How the same replica is simulated by itself."""
    best, question = plan.best, plan.question
    if best is None or best.found is None or best.serves is None:
        return ""
    settings = best.settings
    packed = settings.get("precision", UNQUANTISED)
    precision = "" if packed == UNQUANTISED or "precision=" in subject else f" precision={packed}"
    split = "" if best.devices == 1 or "parallel.tensor=" in subject else f" parallel.tensor={best.devices}"
    return (
        f"modelmeter simulate {subject}{precision}{split} --model {settings['model']} --engine {settings['engine']} "
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
        "runaway_share": question.runaway_share,
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
        row["money_for_1000_pages" if way.found else "money_for_1000_pages_at_least"] = plan.money_for_1000(way)
    if way.found is not None:
        times = way.found.outcome.times()
        row |= {
            "replicas": way.found.replicas,
            "efficient": way in plan.efficient,
            "gpus_slow": plan.gpus_slow(way),
            "load": plan.load(way),
            "decided_by": list(way.found.decided_by) or [way.serves.limited_by if way.serves else ""],
            "device_busy": way.found.outcome.busy,
            "host_busy": way.found.outcome.host_busy,
            "preemptions": _put_back(way.found.outcome),
            "cores": way.found.replicas * (way.serves.workers if way.serves else 0),
            "energy_kwh_a_month_at_most": plan.energy_kwh(way),
            **{f"{name}_p{each}": times[name].percentiles[each] for name in TIMES for each in percentiles(plan)},
        }
    return row
