"""How the time of a page grows with its views, its output tokens, and the number of pages: a plot and a table.

    python -m benchmarks.growth
    python -m benchmarks.growth --rewrite  # draws and writes anew what growth.json holds

Writes reports/benchmarks/growth.json, growth.svg and, with what `speed` found, README.md there. The points of a line
are timed in turns, round by round. Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clock import ROUNDS, Side, seconds_of
from benchmarks.speed import first_page, fresh_models, random_sizes
from benchmarks.summary import FOLDER, circumstances, write_summary
from benchmarks.walked import walked_operators
from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.models.deepseek_ocr import CostModel
from modelmeter.report.plotting import COLOURS, FORMATS, house_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: pages by their number of views: a global view, and crops
SIZES: Final = {1: (600, 600), 3: (600, 1200), 4: (600, 1800), 5: (1200, 1200), 7: (1275, 1650), 10: (1800, 1800)}
OUTPUT_TOKENS: Final = (8, 32, 128, 512, 2048, 8000)
PAGES: Final = (1, 10, 100, 1000, 10_000, 100_000)


@dataclass(frozen=True, kw_only=True)
class Line:
    """What grows: its axis, and for each value what prepares a call that is timed."""

    axis: str
    log: bool
    prepare: Mapping[int, Callable[[], Side]]


def lines() -> dict[str, Line]:
    """The three lines of the plot; every call starts with a cost model that has seen nothing."""
    make, tiny = fresh_models(), fresh_models("workload=tiny")
    return {
        "views": Line(
            axis="views of a page",
            log=False,
            prepare={views: partial(_page_of_views, make, views) for views in SIZES},
        ),
        "output_tokens": Line(
            axis="output tokens of a page (mode tiny)",
            log=True,
            prepare={tokens: partial(first_page, tiny, tokens) for tokens in OUTPUT_TOKENS},
        ),
        "pages": Line(
            axis="pages of random sizes, one by one",
            log=True,
            prepare={pages: partial(_pages, make, pages) for pages in PAGES},
        ),
    }


def _page_of_views(make: Callable[[], CostModel], views: int) -> Side:
    model = make()
    return partial(_checked_page, model, views)


def _checked_page(model: CostModel, views: int) -> None:
    page = model.page(*SIZES[views], 1000)
    if sum(view.count for view in page.views) != views:
        raise ModelMeterError(
            f"growth: {SIZES[views]} has {sum(view.count for view in page.views)} views, not {views}."
        )


def _pages(make: Callable[[], CostModel], pages: int) -> Side:
    model, sizes = make(), list(islice(random_sizes(pages), pages))

    def ask() -> None:
        for size in sizes:
            model.page(*size)

    return ask


def measure(line: Line, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """The points of a line: median seconds, and the operators walked, which are exact."""
    times: dict[int, list[float]] = {value: [] for value in line.prepare}
    for number in range(rounds + 1):  # the first round warms up, and is dropped
        for value, prepare in line.prepare.items():
            taken = seconds_of(prepare())
            if number:
                times[value].append(taken)
    points = []
    for value, prepare in line.prepare.items():
        call = prepare()
        with walked_operators() as names:
            call()
        points.append({"value": value, "seconds": median(times[value]), "operators_walked": len(names)})
    return points


def draw(document: Mapping[str, Any]) -> dict[str, bytes]:
    """The plot as SVG and PNG, by its file's name."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(11.0, 3.6), layout="constrained")
        panels = figure.subplots(1, len(document["lines"]))
        for axes, (name, line), colour in zip(panels, document["lines"].items(), COLOURS, strict=False):
            _panel(axes, line, colour, shared_cost=name != "pages")
        figure.suptitle("Time of a page's cost, from a cost model that has seen nothing")
        files = {}
        for extension, metadata in FORMATS.items():
            file = BytesIO()
            figure.savefig(file, format=extension, metadata=dict(metadata))
            files[f"growth.{extension}"] = file.getvalue()
        return files


def _panel(axes: Axes, line: Mapping[str, Any], colour: str, *, shared_cost: bool) -> None:
    """A line of points; from 0 where it is flat, on two logarithmic axes where it grows."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    values, milliseconds = zip(*((point["value"], 1e3 * point["seconds"]) for point in line["points"]), strict=True)
    axes.plot(values, milliseconds, marker="o", markersize=4, color=colour)
    axes.set_xlabel(line["axis"])
    axes.set_ylabel("milliseconds")
    if line["log"]:
        axes.set_xscale("log")
    if shared_cost:
        axes.set_ylim(0, 1.5 * max(milliseconds))
    else:
        axes.set_yscale("log", subs=())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def main() -> int:
    """The program; its exit status."""
    parser = ArgumentParser(description="How the time of a page grows.")
    parser.add_argument("--rewrite", action="store_true", help="measure nothing: draw growth.json")
    file = FOLDER / "growth.json"
    if not parser.parse_args().rewrite:
        measured = {
            name: {"axis": line.axis, "log": line.log, "points": measure(line)} for name, line in lines().items()
        }
        document = circumstances() | {"rounds": ROUNDS, "lines": measured}
        write_whole(file, json.dumps(document, indent=2) + "\n")
    for name, content in draw(json.loads(file.read_text(encoding="utf-8"))).items():
        write_whole(FOLDER / name, content)
    write_summary()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
