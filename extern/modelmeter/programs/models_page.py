"""Write docs/models.md: all models on five kinds of pages and three GPUs, with what was published of them.

python -m modelmeter.programs.models_page [FOLDER]

Beside the page stands its chart, models-letter.svg. Of both the words alone are written by hand.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelmeter import models
from modelmeter.compare import Comparison, Entry, Pages, Steps, compute
from modelmeter.compare.choice import Choice, Row, choose
from modelmeter.compare.pages import Output
from modelmeter.compare.rows import UNDECLARED, load
from modelmeter.devices import load_device
from modelmeter.documents import read_yaml
from modelmeter.files import write_whole
from modelmeter.models import model_package
from modelmeter.models.common.engines import BEST, SERVED_BY
from modelmeter.output_tokens import TextTokens, estimate
from modelmeter.programs.hydra_program import AGREES, ended
from modelmeter.quality import VENDOR, Quality, benchmarks
from modelmeter.quantities import estimated, number
from modelmeter.report.quality_chart import quality_charts, standalone
from modelmeter.sweep import DEVICE, MODEL, Asked

if TYPE_CHECKING:
    from modelmeter.models.common.contract import CostModel, ModelPackage

PAGE: Final = "models.md"
CHART: Final = "models-letter.svg"

#: the GPUs, of those whose kernels' constants were fitted to measurements of their own
DEVICES: Final = ("H100-SXM", "L40S", "RTX-4090")
#: so many that no host limits
WORKERS: Final = 64
#: marks an efficient model; Markdown's own meaning of it is taken away
STAR: Final = " \\*"
#: the benchmark that decides which models are efficient
BENCHMARK: Final = "PureDocBench"


class Kind(NamedTuple):
    """A kind of pages: its title, its sides in pixels, its class, and the language of its text; None: the sample's."""

    title: str
    width: int
    height: int
    page_class: str
    language: str | None = None

    @property
    def command(self) -> str:
        """What `modelmeter compare` is asked for the same figures."""
        language = "" if self.language is None else f" --language {self.language}"
        return (
            f"modelmeter compare {self.width}x{self.height} --page-class {self.page_class}{language} "
            f"--device {','.join(DEVICES)} host.workers={WORKERS}"
        )


KINDS: Final = (
    Kind("A letter page, 150 dpi", 1275, 1650, "letter"),
    Kind("A dense A4 page, 200 dpi", 1654, 2339, "dense_a4"),
    Kind("A slide", 1920, 1080, "slide"),
    Kind("A newspaper page, 375 x 600 mm, 150 dpi", 2215, 3543, "newspaper", "english"),
    Kind("A receipt", 600, 1800, "receipt"),
)


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """What was published of a model's speed beside that of others; models_page.yaml says what each field is."""

    model: str
    device: str
    pages_per_s: float
    source: str
    times: Mapping[str, float]
    page: Kind

    @classmethod
    def read(cls) -> Speeds:
        """As the file has them."""
        path = Path(__file__).with_suffix(".yaml")
        given = read_yaml(path.name, path, 2**14)
        page = Kind("", given.pop("width"), given.pop("height"), given.pop("page_class"))
        return cls(**given, page=page)


@dataclass(frozen=True)
class _Text:
    """What the pages of a kind say, in each model's tokens."""

    kind: Kind

    def tokens(self, package: ModelPackage) -> TextTokens:
        """Of one page."""
        return estimate(self.kind.page_class, package.TOKENIZER, language=self.kind.language)

    def steps(self, asked: Asked) -> Steps:
        """Decode steps of a page."""
        tokens = self.tokens(asked.package)
        return Steps(tokens.spread(), tokens.p90)


class _Models:
    """All checkpoints, each loaded once for each configuration, so that their laws serve all kinds of pages."""

    def __init__(self) -> None:
        self.loaded: dict[tuple[str, tuple[str, ...]], CostModel] = {}

    @cached_property
    def asked(self) -> list[Asked]:
        """The checkpoints in the order of their models."""
        names = [name for model in models.MODELS for name in model_package(model).CHECKPOINTS]
        found = [(name, models.find(name)) for name in names]
        return [Asked(name, model_package(each.model), each.overrides) for name, each in found]

    def load(self, package: ModelPackage, overrides: Sequence[str]) -> CostModel:
        """A cost model that was loaded before, or now."""
        key = package.__name__, tuple(overrides)
        if key not in self.loaded:
            self.loaded[key] = load(package, overrides).for_times()
        return self.loaded[key]

    def compared(self, kind: Kind, devices: Sequence[str], workers: int | None, text: Output | None = None) -> Choice:
        """All of them on pages of a kind. workers: of the host; None: the engine's own. text: None: the kind's."""
        return choose(
            compute(
                Comparison(
                    pages=Pages.of([(kind.width, kind.height, 1, text or _Text(kind))]),
                    models=[Entry(each) for each in self.asked],
                    overrides=[] if workers is None else [f"host.workers={workers}"],
                    devices=[load_device(name) for name in devices],
                ),
                load=self.load,
            ),
            BENCHMARK,
        )


# -- the page -------------------------------------------------------------------------------------------------------


def models_page() -> tuple[str, str]:
    """The page in Markdown, and its chart as SVG."""
    everyone = _Models()
    found = {kind: everyone.compared(kind, DEVICES, WORKERS) for kind in KINDS}
    letter = everyone.compared(KINDS[0], DEVICES[:1], WORKERS)
    (chart,) = quality_charts(letter)
    parts = [
        *_introduction(),
        "## What a planner would conclude",
        *_conclusions(found),
        f"![{chart.title}, {DEVICES[0]}]({CHART})",
        f"A letter page on an {DEVICES[0]}. {chart.caption}",
        "## How well they read",
        *_quality(found[KINDS[0]]),
        *(part for kind, choice in found.items() for part in _kind(kind, choice)),
        "## Checked against published speeds",
        *_speeds(everyone),
    ]
    return "\n\n".join(parts) + "\n", standalone(chart.svg)


def _introduction() -> Iterator[str]:
    yield "# Models side by side"
    yield (
        "Which model, on which pages, on which GPU: the answer of `modelmeter compare` ([compare.md](compare.md)) for "
        "five kinds of pages, without an installation. Generated by `make models-page`; a test holds it."
    )
    yield (
        f"Every checkpoint reads a page in its own mode, served by vLLM (bfloat16) on one {', '.join(DEVICES[:-1])} "
        f"or {DEVICES[-1]}. Counts are exact. Pages/s are estimates with their intervals (low to high, meant to hold "
        "nine of ten measured times) for as many pages at once as fit, and of the device alone: a host that prepares "
        f"pages too slowly limits any of them (`host.workers={WORKERS}` here; vLLM's default of one worker prepares "
        "some 5 pages/s). GPU hours for a million pages are 278 / (pages/s); times the price of an hour, that is the "
        "money. Output tokens are assumed by the class of the pages, as Markdown, in each model's own tokens, spread "
        "around their median ([throughput.md](throughput.md)); `modelmeter compare` takes your own pages and your "
        "own figures. Before you choose by speed, read [what was published](#checked-against-published-speeds) of "
        "these models' speeds beside what is predicted."
    )


def _quality(choice: Choice) -> Iterator[str]:
    yield (
        "As published, each version of a benchmark by itself; nothing is computed from these. v: the vendor's own "
        "figure; ?: doubted. `modelmeter compare --json` has the source and the date of each."
    )
    rows = {row.settings[MODEL]: row.published for row in choice.rows}
    parts = {name: next(iter(benchmarks()[name].parts.values())) for name in choice.benchmarks}
    heads = [f"{name}{'' if parts[name] == 'higher' else ' (lower is better)'}" for name in choice.benchmarks]
    cells = [[_code(model), *(_figure(of.get(name)) for name in choice.benchmarks)] for model, of in rows.items()]
    yield _table(["model", *heads], cells)


def _figure(figure: Quality | None) -> str:
    if figure is None:
        return "-"
    return f"{figure.value:g}{'?' if figure.doubt else ''}{' v' if figure.measured_by == VENDOR else ''}"


def _kind(kind: Kind, choice: Choice) -> Iterator[str]:
    yield f"## {kind.title}"
    yield f"`{kind.command}`"
    rows: dict[str, dict[str, Row]] = {}
    for row in sorted(choice.rows, key=lambda row: -row.figures.get("device_pages_per_s", 0)):
        rows.setdefault(row.settings[MODEL], {})[row.settings[DEVICE]] = row
    heads = [
        "model",
        *(f"pages/s, {name}" for name in DEVICES),
        "image tokens",
        "output tokens",
        "prefill TFLOPs",
        "decode TFLOPs",
        "KV kB/token",
        "memory GB",
    ]
    notes: dict[str, list[str]] = {}
    cells = []
    for model, of in rows.items():
        first = of[DEVICES[0]].figures
        cells.append(
            [
                _code(model),
                *(_rate(of[name], notes) for name in DEVICES),
                *(
                    _count(first.get(name), scale)
                    for name, scale in (
                        ("image_tokens", 1),
                        ("output_tokens", 1),
                        ("prefill_tensor_core_flops", 10**12),
                        ("decode_tensor_core_flops", 10**12),
                        ("kv_token_bytes", 10**3),
                        ("memory_bytes", 10**9),
                    )
                ),
            ]
        )
    yield _table(heads, cells)
    yield (
        f"{STAR.strip()}: Pareto-efficient on that GPU: no other model reads better in {BENCHMARK} for as many device "
        "seconds or fewer."
    )
    if notes:
        yield "\n".join(f"- {', '.join(map(_code, dict.fromkeys(names)))}: {why}" for why, names in notes.items())


def _rate(row: Row, notes: dict[str, list[str]]) -> str:
    """Pages a second with both ends, and an asterisk; a reason goes into the notes."""
    if row.refused is not None:
        why = f"does not fit a {row.settings[DEVICE]}" if row.figures.get("fits") == "no" else row.refused
        notes.setdefault(why, []).append(row.settings[MODEL])
    elif row.aside is not None:
        notes.setdefault(row.aside, []).append(row.settings[MODEL])
    if row.figures.get("engine") not in (None, SERVED_BY):
        engine = row.figures["engine"]
        how = f"its times are bounds (engine={BEST})" if engine == BEST else f"served by {engine}"
        notes.setdefault(f"{how}, as vLLM's kernels are not written down", []).append(row.settings[MODEL])
    if "device_pages_per_s" not in row.figures:
        return "-"
    if row.figures.get("engine") == BEST:
        return f"at most {estimated(row.figures['device_pages_per_s'])}"
    return f"{_interval(row)}{STAR if row.efficient else ''}"


def _count(value: float | None, scale: int) -> str:
    return "-" if value is None else number(value / scale if scale > 1 else value)


def _code(name: str) -> str:
    return f"`{name}`"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, figures: bool = True) -> str:
    lines = [heads, ["---", *["---:" if figures else "---"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# -- what follows from it -------------------------------------------------------------------------------------------


def _front(choice: Choice, device: str) -> list[Row]:
    """The efficient rows on a device, the fastest first."""
    rows = [row for row in choice.rows if row.efficient and row.settings[DEVICE] == device]
    return sorted(rows, key=lambda row: float(row.figures["page_s"]))


def _conclusions(found: dict[Kind, Choice]) -> Iterator[str]:
    yield (
        f"Of the models with a figure in {BENCHMARK}, on each GPU, those that no other beats, with their pages/s: "
        "each reads better than the one above it, and costs more. Take the first that reads well enough for you."
    )
    rows = []
    for kind, choice in found.items():
        cells = [
            "<br>".join(
                f"{_code(row.settings[MODEL])} {estimated(row.figures['device_pages_per_s'])}"
                for row in _front(choice, device)
            )
            for device in DEVICES
        ]
        rows.append([kind.title, *(cell or "-" for cell in cells)])
    yield _table(["pages", *DEVICES], rows, figures=False)
    yield "\n".join(f"- {line}" for line in (*_page_matters(found), *_device_matters(found), *_overlaps(found)))


def _page_matters(found: dict[Kind, Choice]) -> Iterator[str]:
    """How much the kind of pages moves a model's rate, and the model that of a kind of pages."""
    rates = {
        kind.title: {row.settings[MODEL]: row.figures["device_pages_per_s"] for row in _timed(choice, DEVICES[0])}
        for kind, choice in found.items()
    }
    spreads = {
        model: [of[model] for of in rates.values()]
        for model in next(iter(rates.values()))
        if all(model in of for of in rates.values())
    }
    factors = sorted(max(each) / min(each) for each in spreads.values())
    within = sorted(max(of.values()) / min(of.values()) for of in rates.values())
    yield (
        f"Pages and model both matter: on an {DEVICES[0]} the same model reads its fastest kind of these "
        f"pages {estimated(factors[0])} to {estimated(factors[-1])} times as fast as its slowest; on the same pages "
        f"the fastest model is {estimated(within[0])} to {estimated(within[-1])} times as fast as the slowest."
    )


def _device_matters(found: dict[Kind, Choice]) -> Iterator[str]:
    """What the smaller GPUs reach of the large one."""
    letter = found[KINDS[0]]
    large = {row.settings[MODEL]: row.figures["device_pages_per_s"] for row in _timed(letter, DEVICES[0])}
    for device in DEVICES[1:]:
        shares = sorted(
            row.figures["device_pages_per_s"] / large[row.settings[MODEL]]
            for row in _timed(letter, device)
            if row.settings[MODEL] in large
        )
        missing = len(large) - len(shares)
        lacks = f"; {missing} of {len(large)} models do not run there" if missing else ""
        yield (
            f"An {device} reads a letter page at {100 * shares[0]:.0f} to {100 * shares[-1]:.0f} % of an "
            f"{DEVICES[0]}'s rate, by the model{lacks}: it is the cheaper one where its hour costs a smaller share "
            "than that."
        )


def _overlaps(found: dict[Kind, Choice]) -> Iterator[str]:
    """Neighbours on the front whose intervals overlap."""
    front = _front(found[KINDS[0]], DEVICES[0])
    close = [
        f"{_code(one.settings[MODEL])} and {_code(other.settings[MODEL])}"
        for one, other in pairwise(front)
        if one.figures["device_pages_per_s_low"] < other.figures["device_pages_per_s_high"]
    ]
    if close:
        yield (
            f"Estimates are no measurements: on an {DEVICES[0]} the intervals of {'; of '.join(close)} overlap on a "
            "letter page, so which of them is faster there has to be tried."
        )


def _timed(choice: Choice, device: str) -> list[Row]:
    """The rows of a device that have estimates, and are not aside."""
    return [
        row
        for row in choice.rows
        if row.settings[DEVICE] == device and row.aside is None and "device_pages_per_s" in row.figures
    ]


@dataclass(frozen=True)
class _Alike:
    """The text of a class of pages in the tokens of one model, for all models alike."""

    page_class: str
    package: ModelPackage

    def steps(self, _: Asked) -> Steps:
        """Decode steps of a page."""
        return Steps(estimate(self.page_class, self.package.TOKENIZER).spread())


def _speeds(everyone: _Models) -> Iterator[str]:
    """Predicted speeds beside published ones, and whether the order is the same."""
    speeds = Speeds.read()
    first = speeds.model
    text = _Alike(speeds.page.page_class, next(each.package for each in everyone.asked if each.name == first))
    yield (
        f"Published are {speeds.pages_per_s} pages/s of {_code(first)} on one {speeds.device}, and how many times as "
        f"fast that was as others ({speeds.source}). Which pages, which lengths of the text and which settings, the "
        f"source does not say: predicted is a page of {speeds.page.width} x {speeds.page.height} pixels with the text "
        "of a letter page in as many tokens for all, of the device alone and with vLLM's own host of one worker. "
        "Nothing was fitted to these figures."
    )
    alone, hosted = (
        {row.settings[MODEL]: row for row in everyone.compared(speeds.page, [speeds.device], workers, text).rows}
        for workers in (WORKERS, None)
    )
    published = {first: 1.0} | {name: float(times) for name, times in speeds.times.items()}
    there = {name: alone[name] for name in published if name in alone and _has_an_estimate(alone[name])}
    times = {
        name: alone[first].figures["device_pages_per_s"] / row.figures["device_pages_per_s"]
        for name, row in there.items()
    }
    yield _table(
        [
            "model",
            "published pages/s",
            f"{first} times as fast, published",
            "predicted pages/s, device alone",
            "the same, predicted",
            "predicted pages/s, one host worker",
        ],
        [
            [
                _code(name),
                f"{speeds.pages_per_s / published[name]:.3g}",
                f"{published[name]:g}",
                _interval(row),
                f"{times[name]:.2f}",
                estimated(hosted[name].figures["pages_per_s"]),
            ]
            for name, row in there.items()
        ],
    )
    right = [name for name, each in times.items() if name != first and (each > 1) == (published[name] > 1)]
    wrong = [name for name in times if name not in (first, *right)]
    off = hosted[first].figures["pages_per_s"] / speeds.pages_per_s - 1
    lines = [
        f"Its own figure, which alone is absolute: {estimated(hosted[first].figures['pages_per_s'])} pages/s are "
        f"predicted with one host worker, {abs(100 * off):.0f} % {'less' if off < 0 else 'more'} than published."
    ]
    if right:
        lines.append(f"As published, {_code(first)} is predicted to be faster than {_codes(right)}.")
    if wrong:
        lines.append(
            f"Published as slower than {_code(first)}, predicted as faster on the device alone: {_codes(wrong)}. So "
            "these estimates do not explain the published comparison, and a choice between these models by speed "
            "alone has to be measured."
        )
    one_pass = [name for name, row in there.items() if row.figures.get("regions") == UNDECLARED]
    if one_pass:
        lines.append(
            f"Of {_codes(one_pass)} one pass over the whole page is predicted, though it reads by its regions."
        )
    limited = [name for name in there if _host_limits(hosted[name])]
    if len(limited) > 1:
        lines.append(
            f"With one host worker {_codes(limited)} are limited by the host, whose seconds a page were fitted for "
            "one model and are taken for all: there published ratios are those of preprocessing, which is not told "
            "apart here by model."
        )
    missing = [name for name in published if name not in there]
    if missing:
        lines.append(f"Without a prediction, as what vLLM launches for it is not written down: {_codes(missing)}.")
    lines.append(
        "`dots.ocr`, a fifth as fast by the same source, is not modelled: no library has modules to hold it against."
    )
    yield "\n".join(f"- {line}" for line in lines)


def _has_an_estimate(row: Row) -> bool:
    return "device_pages_per_s" in row.figures and row.figures["engine"] != BEST


def _codes(names: Sequence[str]) -> str:
    return ", ".join(map(_code, names))


def _host_limits(row: Row) -> bool:
    return str(row.figures["limited_by"]) == "host"


def _interval(row: Row) -> str:
    value, low, high = (estimated(row.figures[f"device_pages_per_s{end}"]) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def write_models_page(folder: Path) -> None:
    """Write the page and its chart."""
    page, chart = models_page()
    write_whole(folder / CHART, chart)
    write_whole(folder / PAGE, page)


def main() -> int:
    """The program; its exit status."""
    parser = ArgumentParser(description="Write docs/models.md and its chart.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"), help="where to (default: docs)")
    folder = parser.parse_args().folder

    def work() -> int:
        write_models_page(folder)
        return AGREES

    return ended(work)


if __name__ == "__main__":
    raise SystemExit(main())
