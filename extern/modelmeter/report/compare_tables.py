"""Models side by side as a table of a terminal, as CSV and as JSON: a row a model, a mode and a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from modelmeter import quality
from modelmeter.compare.choice import MONEY, Choice, Row, takes_part
from modelmeter.compare.rows import KEYS, MODE, Result
from modelmeter.models.common.engines import BEST
from modelmeter.models.common.stage_cost import WITH_TOTAL
from modelmeter.quality import VENDOR, Quality
from modelmeter.quantities import estimated, number
from modelmeter.report.document import Cell, Quantity
from modelmeter.report.page_tables import label_lines
from modelmeter.report.point_tables import Column, point_content, points_csv, points_table, sorted_points
from modelmeter.report.sweep_tables import COLUMNS as OF_POINTS
from modelmeter.report.sweep_tables import with_ends
from modelmeter.sweep import COUNTED, DEVICE, MODEL, Point

if TYPE_CHECKING:
    from rich.table import Table

    from modelmeter.models.common.assumption import Assumption
    from modelmeter.report.fitting import Fitting

EFFICIENT: Final = "efficient"
#: after a benchmark's name, in CSV: who measured
BY: Final = " by"

_TAKEN: Final = (
    "image_tokens",
    "prefill_tokens",
    *(f"{stage}_{figure}" for figure in COUNTED for stage in WITH_TOTAL),
    "weight_bytes",
    "kv_bytes",
    "activation_peak_bytes",
    "memory_bytes",
    "fits",
    "batch_size",
    "limited_by",
    *(f"{name}{end}" for name in ("pages_per_s", "pages_per_day", "ttft_s", "tpot_s") for end in ("", "_low", "_high")),
    *(f"{name}{end}" for name in ("output_tokens_per_s", MONEY) for end in ("", "_low", "_high")),
)

#: every figure of a row, by the name that CSV and JSON have; published ones are beside them, by their benchmark
COLUMNS: Final[Mapping[str, Column]] = {
    **{name: OF_POINTS[name] for name in _TAKEN},
    "pages": Column(head="pages", axis="pages"),
    "engine": Column(head="engine", axis="engine", drawn=False),
    "regions": Column(head="regions", axis="regions", drawn=False),
    "precision": Column(head="precision", axis="precision", drawn=False),
    "output_tokens": Column(head="output\ntokens", axis="decode steps a page", falling=False),
    "output_tokens_p90": Column(head="90 %\nbelow", axis="decode steps that nine of ten pages stay below"),
    "kv_token_bytes": Column(head="KV kB\n/token", axis="KV cache of a token, kB", scale=1e3, falling=False),
    "pages_cut": Column(head="pages\ncut off", axis="pages whose output is cut off at the model's positions"),
    "pages_cut_p90": Column(head="cut at\n90 %", axis="pages of which one in ten would be cut off"),
    "pages_refused": Column(head="pages\nrefused", axis="pages that the model refuses"),
    "host_workers_needed": Column(head="host\nworkers", axis="workers that keep up with the device", timed=True),
    **with_ends(
        "alone_s", Column(head="alone\ns", axis="seconds of a page alone", show=estimated, falling=False, timed=True)
    ),
    **with_ends(
        "device_pages_per_s",
        Column(head="device\npages/s", axis="pages/s that the device allows", show=estimated, timed=True),
    ),
    **with_ends(
        "page_s",
        Column(head="device\ns/page", axis="seconds of the device a page", show=estimated, falling=False, timed=True),
    ),
}

#: the columns of the table unless told otherwise, the published ones behind them
OF_COUNTS: Final = (
    "image_tokens",
    "output_tokens",
    "prefill_tensor_core_flops",
    "decode_tensor_core_flops",
    "total_io_bytes",
    "kv_token_bytes",
    "memory_bytes",
    "pages_cut",
    "pages_cut_p90",
    "pages_refused",
)
OF_TIMES: Final = (
    "image_tokens",
    "output_tokens",
    "prefill_tensor_core_flops",
    "decode_tensor_core_flops",
    "total_io_bytes",
    "kv_token_bytes",
    "memory_bytes",
    "batch_size",
    "alone_s",
    "device_pages_per_s",
    "device_pages_per_s_low",
    "device_pages_per_s_high",
    "pages_per_s",
    "limited_by",
    MONEY,
    "pages_cut",
    "pages_cut_p90",
    "pages_refused",
)
#: of these the first to go where a terminal is narrow
_SPARE: Final[tuple[str | tuple[str, ...], ...]] = (
    "total GB",
    "memory GB",
    "KV kB /token",
    "limited by",
    "decode TFLOPs",
    "mode",
    "cut at 90 %",
    "prefill TFLOPs",
    ("low pages/s", "high pages/s"),
    "output tokens",
    "image tokens",
    "pages at once",
    "alone s",
    "device pages/s",
)
#: words for what stands for cost
COST_WORDS: Final[Mapping[str, str]] = {
    MONEY: "money for 1,000 pages",
    "page_s": "seconds of the device a page",
    "total_tensor_core_flops": "tensor-core FLOPs a page",
}


def keys_of(result: Result) -> list[str]:
    """What the rows are told apart by."""
    return [key for key in KEYS if key != DEVICE or result.comparison.devices]


def default_columns(choice: Choice) -> list[str]:
    """The columns that the table has unless told otherwise: those of which there are figures that say something."""
    shown = OF_TIMES if choice.result.comparison.devices else OF_COUNTS
    there = {name for row in choice.rows for name, value in row.figures.items() if value is not None}
    for name in ("pages_cut", "pages_cut_p90", "pages_refused"):
        if not any(row.figures.get(name) for row in choice.rows):
            there.discard(name)
    steps = {row.figures.get("output_tokens") for row in choice.rows} - {None}
    if len(steps) < 2:
        there.discard("output_tokens")
    if steps <= {0}:
        there -= {"decode_tensor_core_flops", "tpot_s"}
    first = [choice.benchmark] if choice.benchmark else []
    return [
        *(name for name in shown if name in there),
        *first,
        *(each for each in choice.benchmarks if each not in first),
    ]


def column_of(name: str, choice: Choice) -> Column:
    """A column by the name of a figure or of a benchmark."""
    if name in COLUMNS:
        return COLUMNS[name]
    part = quality.benchmarks()[name].parts[quality.benchmarks()[name].headline]
    return Column(head=_broken(name), axis=name, show=_marked, falling=part == "higher", drawn=False)


def _broken(name: str) -> str:
    """A benchmark's name in lines of a column's head."""
    words = name.split()
    return "\n".join([words[0], " ".join(words[1:])]) if len(words) > 1 else name


def _marked(figure: Quality | float) -> str:
    """A published figure with who measured it, where that is not somebody else."""
    if not isinstance(figure, Quality):
        return number(figure)
    return f"{figure.value:g}{'?' if figure.doubt else ''}{' v' if figure.measured_by == VENDOR else ''}"


def published_cell(figure: Quality | None) -> Cell:
    """A published figure, with who measured it where that is the vendor."""
    return None if figure is None else Quantity(figure.value, "v" if figure.measured_by == VENDOR else "")


def names_of(choice: Choice) -> list[str]:
    """All that rows may be sorted by, and tables may show."""
    devices = choice.result.comparison.devices
    figures = [name for name, column in COLUMNS.items() if devices or not column.timed]
    return [*figures, *choice.benchmarks]


def sorted_rows(choice: Choice, sort: str | None) -> list[Row]:
    """The rows by a figure, a benchmark or a name; unless told otherwise by what stands for cost, the least first."""
    rows = list(choice.rows)
    if sort is None:
        if choice.cost is None:
            return rows
        sort = f"{'-' if COLUMNS[choice.cost].falling else ''}{choice.cost}"
    name = sort.removeprefix("-")
    points = list(map(_plain, rows))
    by_point = {id(point): row for point, row in zip(points, rows, strict=True)}
    ordered = sorted_points(points, sort, None if name in KEYS else column_of(name, choice))
    return [by_point[id(point)] for point in ordered]


def _plain(row: Row) -> Point:
    """A row whose published figures are numbers among the others, and who measured each."""
    published = {name: each.value for name, each in row.published.items()}
    by = {f"{name}{BY}": each.measured_by for name, each in row.published.items()}
    figures = {**row.figures, EFFICIENT: "yes" if row.efficient else "no", **published, **by}
    return Point(settings=row.settings, figures=figures, refused=row.refused)


def compare_table(choice: Choice, rows: Sequence[Row], columns: Sequence[str]) -> Fitting:
    """A row a model, a mode and a device; an asterisk for those that are efficient."""
    keys = [key for key in keys_of(choice.result) if key != DEVICE or len(choice.result.comparison.devices) > 1]
    star = Column(head="*", axis=EFFICIENT, show=str)
    shown = {EFFICIENT: star, **{name: column_of(name, choice) for name in columns}}
    points = [
        Point(
            settings=row.settings,
            figures={**row.figures, EFFICIENT: "*" if row.efficient else "", **row.published},
            refused=row.refused,
        )
        for row in rows
    ]
    modes = {row.settings[MODE] for row in rows if sum(_same_model(row, each) for each in rows) > 1}
    spare = [name for name in _SPARE if name != MODE or not modes]
    others = [" ".join(_broken(each).split()) for each in choice.benchmarks if each != choice.benchmark]
    return points_table(points, keys, shown, [*reversed(others), *spare])


def _same_model(row: Row, other: Row) -> bool:
    """Whether two rows are of one model on one device, so of two modes."""
    return all(row.settings.get(key) == other.settings.get(key) for key in (MODEL, DEVICE))


def compare_csv(choice: Choice, rows: Sequence[Row], columns: Sequence[str] | None) -> str:
    """A row a model, a mode and a device, with all figures, or these alone; who measured stands behind a benchmark."""
    there = {name for row in rows for name in row.figures}
    figures = columns or [*(name for name in COLUMNS if name in there), *choice.benchmarks]
    named = [each for name in figures for each in ([name, f"{name}{BY}"] if name in choice.benchmarks else [name])]
    return points_csv(list(map(_plain, rows)), keys_of(choice.result), [EFFICIENT, *named])


def compare_content(choice: Choice, rows: Sequence[Row], columns: Sequence[str] | None) -> dict[str, Any]:
    """For JSON: every row, what was published of it with its source, and what the figures rest on."""
    result = choice.result
    keys = keys_of(result)
    return {
        "pages": result.comparison.pages.count,
        "efficient_in": {"quality": choice.benchmark, "cost": choice.cost},
        "engines": {name: list(models) for name, models in result.engines.items()},
        "bound": result.bound,
        "assumptions": [asdict(each) | {"models": list(names)} for each, names in result.assumptions.items()],
        "rows": [
            point_content(row, keys, columns)
            | {
                EFFICIENT: row.efficient,
                "aside": row.aside,
                "checkpoint": result.checkpoints.get(row.settings[MODEL]),
                "published": [asdict(each) for each in quality.of(result.checkpoints.get(row.settings[MODEL], ""))],
            }
            for row in rows
        ],
    }


# -- the lines around the table -------------------------------------------------------------------------------------


def head_lines(choice: Choice, subject: str, output: str) -> Table:
    """What is compared, and what the figures are."""
    return label_lines(*((label, text) for _, label, text in facts(choice, subject, output)))


def facts(choice: Choice, subject: str, output: str) -> list[tuple[str, str, str]]:
    """The same as (key, label, text); subject: the pages; output: what they say, in words."""
    result = choice.result
    mean = "of a page" if result.comparison.pages.count == 1 else "of the average page, memory of the largest"
    told = [
        ("pages", "pages", subject),
        ("output", "output", output),
        ("counts", "counts", f"exact, {mean}; TFLOPs of tensor cores, 10^12; GB 10^9 bytes"),
    ]
    if not result.comparison.devices:
        return [*told, ("times", "times", "name a device: --device H100-SXM (modelmeter devices lists them)")]
    times, alone, rates = _time_lines(result)
    return [*told, ("times", "times", times), ("alone", "", alone), ("rates", "", rates)]


def _time_lines(result: Result) -> tuple[str, str, str]:
    devices = ", ".join(device.name for device in result.comparison.devices)
    engines = result.engines
    most = max(engines, key=lambda name: len(engines[name]), default="")
    others = [f"{name} of {', '.join(models)}" for name, models in engines.items() if name != most]
    told = f"{most}{''.join(f'; {each}' for each in others)}"
    kind = "estimates, low and high meant to hold nine of ten measured times"
    if result.bound:
        kind = f"{kind}; of {BEST} bounds: times at least, rates at most"
    return (
        f"on {devices}, engine {told}; {kind}",
        "alone: one page from arrival to its last token; pages/s: with as many at once as fit",
        "device pages/s: what the device allows; pages/s: what its host allows too",
    )


def foot_lines(choice: Choice) -> list[tuple[str, str]]:
    """What the marks mean, and what limits the rows."""
    lines: list[tuple[str, str]] = []
    if choice.benchmark and choice.cost:
        beside = "" if choice.cost == MONEY or len(choice.result.comparison.devices) < 2 else " of the same device"
        out = sum(not takes_part(row, choice.benchmark, choice.cost) for row in choice.rows)
        missing = ""
        if out:
            missing = f"; {out} of {len(choice.rows)} rows take no part: they lack one of the two, or are aside"
        lines.append(
            (
                "*",
                f"Pareto-efficient: no other row{beside} reads better ({choice.benchmark}) for as much or less "
                f"({COST_WORDS[choice.cost]}){missing}",
            )
        )
    figures = [each for row in choice.rows for each in row.published.values()]
    if figures:
        marks = [
            *(["v the vendor's own figure"] if any(each.measured_by == VENDOR for each in figures) else []),
            *(["? doubted (--json says why)"] if any(each.doubt for each in figures) else []),
        ]
        lines.append(("quality", "; ".join(["as published, each benchmark's version by itself", *marks])))
    lines += _aside_lines(choice)
    lines += _host_lines(choice)
    lines += _cut_lines(choice)
    return lines


def _aside_lines(choice: Choice) -> list[tuple[str, str]]:
    """Rows whose cost is not to be held against that of others, by the reason."""
    models: dict[str, list[str]] = {}
    for row in choice.rows:
        if row.aside is not None and row.settings[MODEL] not in models.setdefault(row.aside, []):
            models[row.aside].append(row.settings[MODEL])
    return [
        ("" if number else "aside", f"{', '.join(names)}: {why}") for number, (why, names) in enumerate(models.items())
    ]


def _host_lines(choice: Choice) -> list[tuple[str, str]]:
    """How many rows wait for the host, and with how many workers none does."""
    limited = [row for row in choice.rows if str(row.figures.get("limited_by", "")).startswith("host")]
    if not limited:
        return []
    most = max(row.figures["host_workers_needed"] for row in limited)
    return [
        (
            "host",
            f"limits {len(limited)} of {len(choice.rows)} rows; with host.workers={most} none, and pages/s are the "
            "device's",
        )
    ]


def _cut_lines(choice: Choice) -> list[tuple[str, str]]:
    lines = []
    if any(row.figures.get("pages_cut") for row in choice.rows):
        lines.append(("cut off", "their prompt and output exceed the model's positions: counted to the last of these"))
    if any(row.figures.get("pages_cut_p90") for row in choice.rows):
        lines.append(("cut at 90 %", "of these pages one in ten says more than the model has positions for"))
    if any(row.figures.get("pages_refused") for row in choice.rows):
        lines.append(("refused", "pages that the model does not take at all: left out of its figures"))
    return lines


def rests_on_lines(result: Result) -> Table:
    """The labels of what stands behind the figures, and the models that one is of where that are not all."""
    everyone = max((len(names) for names in result.assumptions.values()), default=0)
    labels: dict[str, list[str]] = {}
    for each, names in result.assumptions.items():
        labels.setdefault(f"{each.label} ({each.figure})", []).extend(names if len(names) < everyone else [])
    told = [f"{label}{f': {_few(names)}' if names else ''}" for label, names in labels.items()]
    return label_lines(("labels", f"{'; '.join(told)}; --explain says what each means"))


def _few(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct) if len(distinct) <= 3 else f"{len(distinct)} models"


def assumptions_of(result: Result) -> list[Assumption]:
    """What stands behind the figures; the same text for several models once."""
    return [
        replace(each, text=f"{each.text} [{_few(names)}]") if len(names) < len(result.checkpoints) else each
        for each, names in result.assumptions.items()
    ]
