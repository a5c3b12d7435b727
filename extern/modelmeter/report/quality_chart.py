"""Published quality against cost: a point a row, the Pareto front drawn, vendors' own figures told apart by shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelmeter import quality
from modelmeter.compare.choice import MONEY, Choice, takes_part
from modelmeter.quality import VENDOR
from modelmeter.quantities import estimated
from modelmeter.report import svg
from modelmeter.report.compare_tables import COLUMNS, COST_WORDS
from modelmeter.report.document import Chart
from modelmeter.sweep import DEVICE, MODEL

if TYPE_CHECKING:
    from modelmeter.compare.choice import Row

#: colours of devices, which repeat from the fourth on
_COLOURS: Final = ("c1", "c2", "c3")
_SIZE: Final = 5.0
#: points that are all named; of more, those on the front
MOST_NAMES: Final = 20


class Point(NamedTuple):
    """A row in the chart: cost with both ends of its interval, in the unit of its axis, and a published figure."""

    name: str
    device: str
    cost: float
    low: float
    high: float
    figure: quality.Quality
    efficient: bool


def points_of(choice: Choice) -> list[Point]:
    """The rows that have both figures and read all pages whole; those of one model in several modes say which."""
    if choice.benchmark is None or choice.cost is None:
        return []
    rows = [row for row in choice.rows if takes_part(row, choice.benchmark, choice.cost)]
    scale = COLUMNS[choice.cost].scale
    return [
        Point(
            name=_name(row, rows),
            device=row.settings.get(DEVICE, ""),
            cost=row.figures[choice.cost] / scale,
            low=row.figures.get(f"{choice.cost}_low", row.figures[choice.cost]) / scale,
            high=row.figures.get(f"{choice.cost}_high", row.figures[choice.cost]) / scale,
            figure=row.published[choice.benchmark],
            efficient=row.efficient,
        )
        for row in rows
    ]


def _name(row: Row, rows: Sequence[Row]) -> str:
    model, mode = row.settings[MODEL], row.settings["mode"]
    modes = {each.settings["mode"] for each in rows if each.settings[MODEL] == model}
    return f"{model} {mode}" if len(modes) > 1 else model


def quality_charts(choice: Choice) -> list[Chart]:
    """The chart, or one of each device where costs of two do not compare; none of fewer than two points."""
    points = points_of(choice)
    if choice.cost == MONEY:
        return _charts(choice, points, "", "")
    devices = list(dict.fromkeys(point.device for point in points))
    several = len(devices) > 1
    return [
        chart
        for device in devices
        for chart in _charts(
            choice,
            [point for point in points if point.device == device],
            f"_{device}" if several else "",
            f", {device}" if several else "",
        )
    ]


def _charts(choice: Choice, points: Sequence[Point], key: str, where: str) -> list[Chart]:
    if len(points) < 2 or choice.benchmark is None or choice.cost is None:
        return []
    across = COST_WORDS[choice.cost] + (", TFLOPs" if choice.cost.endswith("flops") else "")
    part = quality.benchmarks()[choice.benchmark].headline
    falls = quality.benchmarks()[choice.benchmark].parts[part] == "lower"
    vendors = sum(point.figure.measured_by == VENDOR for point in points)
    whose = f", {vendors} of {len(points)} figures the vendors' own" if vendors else ", all figures independent"
    unnamed = "" if len(points) <= MOST_NAMES else " Only points on the front are named; others where a pointer rests."
    return [
        Chart(
            key=f"quality_against_cost{key}",
            title=f"{choice.benchmark} against {across}{where}",
            svg=_drawn(choice, points, across, falls=falls),
            caption=(
                f"{choice.benchmark}, {part}, {'lower' if falls else 'higher'} is better and stands higher{whose}. "
                "Dashed: the Pareto front, the best quality for at most so much; filled points are on it. Thin lines: "
                f"the interval of the estimate. Left out: rows that lack one of the two figures, or are aside.{unnamed}"
            ),
            data={"points": [_data(point) for point in points]},
        )
    ]


def _data(point: Point) -> dict[str, Any]:
    own = {name: getattr(point, name) for name in ("name", "device", "cost", "low", "high", "efficient")}
    return own | {"quality": point.figure.value, "measured_by": point.figure.measured_by}


def _drawn(choice: Choice, points: Sequence[Point], words: str, *, falls: bool) -> str:
    left, right, top, bottom = 62.0, svg.WIDTH - 14.0, 56.0, 396.0
    costs = [each for point in points for each in (point.low, point.high)]
    first, last = log10(min(costs)) - 0.04, log10(max(costs)) + 0.04
    values = [point.figure.value for point in points]
    step = svg.nice((max(values) - min(values)) / 6 or 1.0)
    least, most = floor(min(values) / step) * step, ceil(max(values) / step) * step

    def across(cost: float) -> float:
        return left + (right - left) * (log10(cost) - first) / (last - first)

    def up(value: float) -> float:
        share = (value - least) / (most - least or 1.0)
        return bottom - (bottom - top) * (1 - share if falls else share)

    devices = list(dict.fromkeys(point.device for point in points))
    colour = {device: _COLOURS[place % len(_COLOURS)] for place, device in enumerate(devices)}
    parts = _legend(devices, colour, points)
    parts.append(svg.label(left - 52, 40, f"{choice.benchmark}{', lower is better' if falls else ''}"))
    for tick in _ticks(10**first, 10**last):
        x = across(tick)
        parts += [svg.line(x, top, x, bottom, "grid"), svg.label(x, bottom + 17, f"{tick:g}", anchor="middle")]
    for number in range(round((most - least) / step) + 1):
        value = least + number * step
        parts.append(svg.line(left, up(value), right, up(value), "grid"))
        parts.append(svg.label(left - 6, up(value) + 4, f"{value:.4g}", anchor="end"))
    parts.append(svg.label((left + right) / 2, bottom + 36, words, anchor="middle"))
    front = sorted((point for point in points if point.efficient), key=lambda point: point.cost)
    parts.append(_front(front, across, up, right))
    for point in points:
        parts.append(
            svg.line(across(point.low), up(point.figure.value), across(point.high), up(point.figure.value), "whisker")
        )
    places = {point: (across(point.cost), up(point.figure.value)) for point in points}
    parts += [_mark(*places[point], point, colour[point.device], _told(choice, point)) for point in points]
    taken = [svg.Place(x - _SIZE, y - _SIZE, x + _SIZE, y + _SIZE) for x, y in places.values()]
    taken += [
        svg.Place(across(point.low), places[point][1] - 1, across(point.high), places[point][1] + 1) for point in points
    ]
    taken += _steps([places[point] for point in front], right)
    parts += _names(points, places, taken, svg.Place(left, top - 14, right, bottom))
    return svg.drawing(bottom + 46, f"{choice.benchmark} against {words}", parts)


def _legend(devices: Sequence[str], colour: dict[str, str], points: Sequence[Point]) -> list[str]:
    """Colours of devices, and shapes of who measured, in a row."""
    parts, x = [], 10.0
    for device in devices if len(devices) > 1 else []:
        parts += [svg.box(x, 5, 10, 10, colour[device]), svg.label(x + 15, 14, device)]
        x += 15 + svg.LETTER * len(device) + 22
    kinds = {point.figure.measured_by: point for point in points}
    for who, words in (("independent", "measured by others"), (VENDOR, "the vendor's own figure")):
        if who in kinds:
            parts += [
                _shape(x + 5, 9.5, vendor=who == VENDOR, kind="point hollow c1", title=""),
                svg.label(x + 15, 14, words),
            ]
            x += 15 + svg.LETTER * len(words) + 22
    return parts


def _shape(x: float, y: float, *, vendor: bool, kind: str, title: str) -> str:
    """A circle, or a diamond of a vendor's own figure."""
    inner = f"<title>{svg.escaped(title)}</title>" if title else ""
    if not vendor:
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{_SIZE:.1f}">{inner}</circle>'
    size = 1.3 * _SIZE
    corners = " ".join(f"{x + a * size:.1f},{y + b * size:.1f}" for a, b in ((0, -1), (1, 0), (0, 1), (-1, 0)))
    return f'<polygon class="{kind}" points="{corners}">{inner}</polygon>'


def _mark(x: float, y: float, point: Point, colour: str, told: str) -> str:
    kind = f"point {colour}" if point.efficient else f"point hollow {colour}"
    return _shape(x, y, vendor=point.figure.measured_by == VENDOR, kind=kind, title=told)


def _told(choice: Choice, point: Point) -> str:
    """All of a point."""
    on = f" on {point.device}" if point.device else ""
    cost = f"{COST_WORDS[str(choice.cost)]} {estimated(point.cost)} ({estimated(point.low)} to {estimated(point.high)})"
    figure = point.figure
    return f"{point.name}{on}: {figure.value:g} in {figure.benchmark} ({figure.measured_by}; {figure.source}), {cost}"


def _front(front: Sequence[Point], across: Callable[[float], float], up: Callable[[float], float], right: float) -> str:
    """Steps from point to point: at each cost the best quality that there is for at most so much."""
    path = []
    for number, point in enumerate(front):
        x, y = across(point.cost), up(point.figure.value)
        path.append(f"{'H' if number else 'M'}{x:.1f}{f'V{y:.1f}' if number else f' {y:.1f}'}")
    return f'<path class="front" d="{"".join(path)}H{right:.1f}"/>' if path else ""


def _steps(front: Sequence[tuple[float, float]], right: float) -> Iterator[svg.Place]:
    """Where the front's steps are, from point to point and to the right edge."""
    for (x, y), (following, other) in pairwise([*front, (right, front[-1][1])] if front else []):
        yield svg.Place(x, y - 1, following, y + 1)
        yield svg.Place(following - 1, min(y, other), following + 1, max(y, other))


def _names(
    points: Sequence[Point], places: Mapping[Point, tuple[float, float]], taken: list[svg.Place], within: svg.Place
) -> list[str]:
    """What points are called, beside them; of one model on several devices each. taken: where nothing may stand."""
    leaders, names = [], []
    named = points if len(points) <= MOST_NAMES else [point for point in points if point.efficient]
    for point in sorted(named, key=lambda point: not point.efficient):
        at = places[point]
        place = svg.free(at, _SIZE, point.name, taken, within)
        taken.append(place)
        x, y = place.middle
        if abs(x - at[0]) > (place.right - place.left) / 2 + 14 or abs(y - at[1]) > 24:
            edge = min(max(at[0], place.left), place.right), min(max(at[1], place.top), place.bottom)
            leaders.append(svg.line(*at, *edge, "leader"))  # to the name, not through it
        names.append(svg.label(x, y + 4, point.name, anchor="middle", kind="strong" if point.efficient else "label"))
    return [*leaders, *names]


def _ticks(first: float, last: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two numbers; more of them where these are few."""
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(each / 10 for each in range(10, 100))):
        ticks = [step * 10.0**power for power in range(floor(log10(first)), ceil(log10(last)) + 1) for step in steps]
        ticks = [tick for tick in ticks if first <= tick <= last]
        if len(ticks) >= 3:
            return ticks if len(ticks) <= 9 else ticks[:: len(ticks) // 6]
    return ticks


def standalone(drawing: str) -> str:
    """A chart as a file of its own, with the report's colours, dark ones too."""
    css = (resources.files("modelmeter.report") / "templates" / "report.css").read_text(encoding="utf-8")
    colours = css[: css.index("* {")]
    rules = "\n".join(line for line in css.splitlines() if line.startswith("svg"))
    style = f"<style>{colours}{rules}\nsvg {{ background: var(--paper); }}</style>"
    head, rest = drawing.split(">", 1)
    return f'{head} width="{svg.WIDTH}">{style}{rest}\n'
