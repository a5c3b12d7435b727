"""Charts as SVG: plain text, drawn with the colours and fonts of the page that holds them (classes of `report.css`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import atan, ceil, cos, degrees, floor, hypot, log10, sin, sqrt
from typing import Final, NamedTuple

from modelmeter.models.common.contract import Views
from modelmeter.report import svg
from modelmeter.report.document import Quantity, share_text

#: views that are numbered in a drawing, and rows or columns that are drawn singly
_NUMBERED_VIEWS: Final = 40
_DRAWN_LINES: Final = 60


# -- a page and its views -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A page and its views: sides in pixels; of the views the first shows all of the page."""

    width: int
    height: int
    views: tuple[Views, ...]


def page_chart(drawing: Drawing) -> str:
    """The page under the grid that cuts it, and beside it the views to a scale of their own."""
    title = f"page of {drawing.width} x {drawing.height} pixels and its views"
    left, top = 4.0, 48.0
    scale = min(170 / drawing.width, 200 / drawing.height)
    width, height = drawing.width * scale, drawing.height * scale
    parts = [
        svg.label(left, 17, f"page: {drawing.width} x {drawing.height}"),
        svg.box(left, top, width, height, "paper"),
    ]
    for views in drawing.views:
        if views.columns * views.rows > 1:
            parts.append(svg.label(left, 33, f"{views.name}: {views.columns} x {views.rows}"))
            parts += _grid(left, top, width, height, views, numbers=True)
    if any(views.place for views in drawing.views):
        parts.append(svg.label(left, 33, "regions at their places"))
    parts += [
        svg.box(left + at.left * scale, top + at.top * scale, at.width * scale, at.height * scale, "view c2")
        for at in (views.place for views in drawing.views)
        if at is not None
    ]
    groups = [list(group) for _, group in groupby(drawing.views, lambda views: views.name)]
    if len(groups) < len(drawing.views):
        bottom = _shelves(groups, parts, top)
        return svg.drawing(max(top + height, bottom) + 6, title, parts, svg.NARROW)
    gap = 0.12 * drawing.views[0].width
    wide = sum(views.columns * views.width for views in drawing.views) + gap * (len(drawing.views) - 1)
    high = max(views.rows * views.height for views in drawing.views)
    at = views_left = 200.0
    scale = min((svg.NARROW - 4 - views_left) / wide, 200 / high)
    for number, views in enumerate(drawing.views):
        kind, line = f"c{number + 1}", 8 + 16 * number
        parts += [svg.box(views_left, line, 10, 10, kind), svg.label(views_left + 15, line + 9, _view_words(views))]
        across, down = views.columns * views.width * scale, views.rows * views.height * scale
        parts.append(svg.box(at, top, across, down, f"view {kind}"))
        parts += _grid(at, top, across, down, views)
        at += across + gap * scale
    return svg.drawing(top + max(height, scale * high) + 6, title, parts, svg.NARROW)


def _shelves(groups: Sequence[Sequence[Views]], parts: list[str], top: float) -> float:
    """Views of several passes in rows, to one scale, each group in its colour; the lower edge of what was drawn."""
    left, gap = 200.0, 4.0
    room = svg.NARROW - 4 - left
    for number, group in enumerate(groups):
        line, tokens = 8 + 16 * number, sum(views.tokens for views in group)
        words = f"{len(group):,} {group[0].name}: {tokens:,} tokens" if len(group) > 1 else _view_words(group[0])
        parts += [svg.box(left, line, 10, 10, f"c{number + 1}"), svg.label(left + 15, line + 9, words)]
    views = [(each, f"c{number + 1}") for number, group in enumerate(groups) for each in group]
    scale = min(room / max(each.width for each, _ in views), 200 / max(each.height for each, _ in views))
    while True:
        boxes, x, y, row = [], left, top, 0.0
        for each, kind in views:
            across, down = each.width * scale, each.height * scale
            if x > left and x + across > left + room:
                x, y, row = left, y + row + gap, 0.0
            boxes.append(svg.box(x, y, across, down, f"view {kind}", f"{each.width} x {each.height}"))
            x, row = x + across + gap, max(row, down)
        if y + row <= top + 240:
            parts += boxes
            return y + row
        scale *= 0.9


def _view_words(views: Views) -> str:
    size = f"{views.width} x {views.height}: {views.tokens:,} tokens"
    return f"{views.name} view {size}" if views.count == 1 else f"{views.count:,} {views.name} of {size}"


def _grid(left: float, top: float, width: float, height: float, views: Views, *, numbers: bool = False) -> list[str]:
    """The lines between views, which cut a page into equal parts, and the numbers of the views if there is room."""
    columns, rows = views.columns, views.rows
    parts = []
    if max(columns, rows) <= _DRAWN_LINES:
        parts += [
            svg.line(left + width * each / columns, top, left + width * each / columns, top + height, "cut")
            for each in range(1, columns)
        ]
        parts += [
            svg.line(left, top + height * each / rows, left + width, top + height * each / rows, "cut")
            for each in range(1, rows)
        ]
    if numbers and columns * rows <= _NUMBERED_VIEWS and min(width / columns, height / rows) >= 16:
        for index in range(columns * rows):
            row, column = divmod(index, columns)
            x, y = left + width * (column + 0.5) / columns, top + height * (row + 0.5) / rows
            parts.append(svg.label(x, y + 4, str(index + 1), anchor="middle"))
    return parts


# -- what bounds the stages -----------------------------------------------------------------------------------------

BOUND_KINDS: Final[Mapping[str, str]] = {"compute": "c1", "memory": "c2", "launch": "c3"}


def bound_chart(stages: Mapping[str, tuple[float, Mapping[str, float]]]) -> str:
    """A bar a stage: (seconds, share of its time by bound)."""
    parts = svg.legend(14, [(kind, bound) for bound, kind in BOUND_KINDS.items()])
    left, width = 60.0, 330.0
    y = 30.0
    for stage, (seconds, shares) in stages.items():
        parts += [
            svg.label(left - 8, y + 16, stage, anchor="end"),
            svg.label(left + width + 8, y + 16, Quantity(seconds, "s").text),
        ]
        x = left
        for bound, kind in BOUND_KINDS.items():
            share = shares.get(bound, 0.0)
            if not share:
                continue
            words = f"{100 * share:.0f} %"
            parts.append(svg.box(x, y, width * share, 24, kind, f"{stage}, {bound}: {words}"))
            if width * share > svg.LETTER * len(words) + 8:
                parts.append(svg.label(x + width * share / 2, y + 16, words, anchor="middle", kind="inside"))
            x += width * share
        y += 32
    return svg.drawing(y, "what bounds the stages", parts, svg.NARROW)


# -- the roofline ---------------------------------------------------------------------------------------------------


class RooflinePoint(NamedTuple):
    """Kernels alike, of modules whose paths differ in numbers alone: how many, their rates, their time in the stage."""

    stage: str
    operator: str
    path: str
    group: str
    bound: str
    times: int
    flops_per_byte: float
    flops_per_s: float
    seconds: float
    share: float


#: classes of the operators' groups
POINT_KINDS: Final[Mapping[str, str]] = {"GEMMs": "c1", "attention": "c2", "others": "c3"}


def roofline_chart(points: Sequence[RooflinePoint], named: int, roofs: Mapping[str, float], bytes_per_s: float) -> str:
    """Kernels under the roofs of a device; the first `named` of them are numbered, and named below.

    roofs: FLOPs a second by what reaches them.
    """
    left, right, top, bottom = 62.0, svg.WIDTH - 14.0, 48.0, 380.0
    highest = max(roofs.values())
    first_x = floor(log10(min(min(point.flops_per_byte for point in points), highest / bytes_per_s / 100)))
    last_x = ceil(log10(max(max(point.flops_per_byte for point in points), highest / bytes_per_s * 3)))
    first_y = floor(log10(min(min(point.flops_per_s for point in points), bytes_per_s * 10.0**first_x)))
    last_y = ceil(log10(highest * 1.5))

    def across(value: float) -> float:
        return left + (right - left) * (log10(value) - first_x) / (last_x - first_x)

    def up(value: float) -> float:
        return bottom - (bottom - top) * (log10(value) - first_y) / (last_y - first_y)

    parts = svg.legend(14, [*((kind, words) for words, kind in POINT_KINDS.items())])
    parts += [
        '<circle class="point c1" cx="352" cy="9.5" r="5"/>',
        svg.label(362, 14, "prefill"),
        '<circle class="point hollow c1" cx="428" cy="9.5" r="5"/>',
        svg.label(438, 14, "decode step"),
        svg.label(left - 52, 32, "FLOPs a second"),
    ]
    for exponent in range(first_x, last_x + 1):
        x = across(10.0**exponent)
        parts += [svg.line(x, top, x, bottom, "grid"), svg.label(x, bottom + 17, svg.power(exponent), anchor="middle")]
    for exponent in range(first_y, last_y + 1):
        y = up(10.0**exponent)
        parts += [svg.line(left, y, right, y, "grid"), svg.label(left - 6, y + 4, svg.power(exponent), anchor="end")]
    parts.append(svg.label((left + right) / 2, bottom + 36, "FLOPs per byte of traffic", anchor="middle"))
    ridge = highest / bytes_per_s
    start = max(10.0**first_x, 10.0**first_y / bytes_per_s)
    parts.append(svg.line(across(start), up(start * bytes_per_s), across(ridge), up(highest), "roof"))
    names = []  # drawn last, over the points
    taken: list[svg.Place] = []  # where words stand
    for words, rate in roofs.items():
        parts += [
            svg.line(across(rate / bytes_per_s), up(rate), right, up(rate), "roof"),
        ]
        told = f"{words} {Quantity(rate, 'FLOP/s').text}"
        names.append(svg.label(right - 4, up(rate) - 6, told, anchor="end", kind="roofname"))
        taken.append(svg.Place(right - 4 - svg.LETTER * len(told), up(rate) - 18, right - 4, up(rate) - 3))
    slope = (up(highest) - up(start * bytes_per_s)) / (across(ridge) - across(start))
    x = across(start) + (across(ridge) - across(start)) * 0.25
    angle = degrees(atan(slope))
    y = up(start * bytes_per_s) + slope * (x - across(start)) - 24 / cos(atan(slope))
    words = f"memory {Quantity(bytes_per_s, 'B/s').text}"
    names.append(svg.label(x, y, words, anchor="middle", kind="roofname", turn=angle))
    for letter in range(len(words)):
        away = svg.LETTER * (letter + 0.5 - len(words) / 2)
        at = x + away * cos(atan(slope)), y + away * sin(atan(slope))
        taken.append(svg.Place(at[0] - 6, at[1] - 12, at[0] + 6, at[1] + 4))
    for point in sorted(points, key=lambda point: -point.share):
        hollow = " hollow" if point.stage == "decode step" else ""
        parts.append(
            f'<circle class="point{hollow} {POINT_KINDS[point.group]}" cx="{across(point.flops_per_byte):.1f}" '
            f'cy="{up(point.flops_per_s):.1f}" r="{_radius(point.share):.1f}">'
            f"<title>{svg.escaped(_told(point))}</title></circle>"
        )
    circles = [
        svg.Place(x - radius, y - radius, x + radius, y + radius)
        for point in points
        for x, y, radius in [(across(point.flops_per_byte), up(point.flops_per_s), _radius(point.share))]
    ]
    line = bottom + 64
    parts.append(svg.label(left - 52, line, "The longest, with their share of the stage's time:", kind="strong"))
    for number, point in enumerate(points[:named], start=1):
        at = across(point.flops_per_byte), up(point.flops_per_s)
        place = svg.free(at, _radius(point.share), str(number), [*taken, *circles], svg.Place(left, top, right, bottom))
        taken.append(place)
        middle = place.middle
        if hypot(middle[0] - at[0], middle[1] - at[1]) > _radius(point.share) + 9:
            names.append(svg.line(*at, *middle, "leader"))
        names.append(svg.label(middle[0], middle[1] + 4, str(number), anchor="middle", kind="number"))
        several = f"{point.times} × " if point.times > 1 else ""
        rest = f": {several}{_operator_name(point.operator)}, {Quantity(point.seconds, 's', estimate=True).text}"
        share = f"{share_text(point.share)} of {point.stage}"
        room = int((right - left + 26) / svg.LETTER) - len(rest) - len(share) - 2
        y = line + 17 * number
        parts += [
            svg.label(left - 34, y, str(number), anchor="end", kind="number"),
            svg.label(left - 26, y, f"{_shortened(point.path, room)}{rest}"),
            svg.label(right, y, share, anchor="end"),
        ]
    return svg.drawing(line + 17 * named + 10, "roofline", [*parts, *names])


def _told(point: RooflinePoint) -> str:
    """All of a point."""
    return (
        f"{point.path}: {point.operator}, {point.times} in {point.stage}: {point.flops_per_byte:.3g} FLOPs a byte, "
        f"{Quantity(point.flops_per_s, 'FLOP/s').text}, {100 * point.share:.2g} % of its time, by {point.bound}"
    )


def _operator_name(aten: str) -> str:
    """What an operator is called among others: without aten and the overload."""
    name = aten.removeprefix("aten.").removesuffix(".default").removesuffix(".Tensor").strip("_")
    return name.removeprefix("scaled_dot_product_")


def _shortened(path: str, room: int) -> str:
    """A path's end, where all of it is longer than `room` letters."""
    return path if len(path) <= room else f"…{path[len(path) - room + 1 :]}"


def _radius(share: float) -> float:
    """Of a point: its area grows with its share of the time."""
    return 2.5 + 14 * sqrt(share)


# -- the live set over a pass ---------------------------------------------------------------------------------------


def memory_chart(
    live_bytes: Sequence[int],
    paths: Sequence[str],
    peak: str,
    ends: Sequence[float] | None,
    told: str,
    holders: Sequence[str],
) -> str:
    """The live set after each operator, the modules that run them above it, the peak with its name and its holders.

    ends: the second at which each operator ends; None: they stand side by side in their order. told: what the holders
    are, which stand below it all.
    """
    left, right, top, bottom = 62.0, svg.WIDTH - 14.0, 62.0, 300.0
    highest = max(live_bytes)
    step = svg.nice(highest / 5)
    ceiling = highest * 1.12 or 1.0
    edges: list[float] = [0.0, *(range(1, len(live_bytes) + 1) if ends is None else ends)]

    def across(index: int) -> float:
        return left + (right - left) * edges[index] / edges[-1]

    def up(value: float) -> float:
        return bottom - (bottom - top) * value / ceiling

    parts = []
    for number in range(int(ceiling // step) + 1):
        y = up(number * step)
        parts += [
            svg.line(left, y, right, y, "grid"),
            svg.label(left - 6, y + 4, _tick(number * step, "B"), anchor="end"),
        ]
    for depth, y in ((1, 12.0), (2, 32.0)):
        parts += _spans(paths, depth, y, across, bottom)
    path = [f"M{left:.1f} {bottom:.1f}"]
    for index, value in enumerate(live_bytes):
        path.append(f"V{up(value):.1f}H{across(index + 1):.1f}")
    parts.append(f'<path class="area" d="{"".join(path)}V{bottom:.1f}Z"/>')
    at = live_bytes.index(highest)
    x = (across(at) + across(at + 1)) / 2
    anchor = "start" if x < left + 180 else "end" if x > right - 180 else "middle"
    parts += [
        f'<circle class="peak" cx="{x:.1f}" cy="{up(highest):.1f}" r="4"/>',
        svg.label(x, up(highest) - 9, f"{Quantity(highest, 'B').text}: {peak}", anchor=anchor, kind="strong"),
    ]
    below = bottom + 20
    if ends is None:
        parts.append(
            svg.label((left + right) / 2, below, f"{len(live_bytes):,} operators, in their order", anchor="middle")
        )
    else:
        width = svg.nice(ends[-1] / 6)
        for number in range(int(ends[-1] / width) + 1):
            x = left + (right - left) * number * width / ends[-1]
            parts += [
                svg.line(x, bottom, x, bottom + 4, "roof"),
                svg.label(x, below, _tick(number * width, "s"), anchor="middle"),
            ]
    if holders:
        parts.append(svg.label(left - 52, below + 26, told, kind="strong"))
        room = int((right - left + 40) / svg.LETTER)
        for number, words in enumerate(holders, start=1):
            parts.append(
                svg.label(left - 40, below + 26 + 17 * number, words if len(words) <= room else f"{words[: room - 1]}…")
            )
        below += 26 + 17 * len(holders)
    return svg.drawing(below + 10, "live set over the pass", parts)


def _tick(value: float, unit: str) -> str:
    """A round value at an axis."""
    digits, prefixed = Quantity(value if unit == "s" else round(value), unit).text.split()
    return f"{digits if ',' in digits else f'{float(digits):g}'} {prefixed}"


def _spans(paths: Sequence[str], depth: int, y: float, across: Callable[[int], float], bottom: float) -> list[str]:
    """Names of the modules at a depth over the operators that they run, where there is room for them."""
    parts = []
    start = 0
    for name, run in groupby(paths, key=lambda path: ".".join(path.split(".")[:depth])):
        length = len(list(run))
        x1, x2 = across(start), across(start + length)
        start += length
        words = name.split(".")[-1] if name.count(".") == depth - 1 else ""
        if words and not words.isdecimal() and x2 - x1 > svg.LETTER * len(words) + 4:
            parts += [svg.line(x1, y + 4, x1, bottom, "grid"), svg.line(x1, y + 4, x2, y + 4, f"span c{depth}")]
            parts.append(svg.label((x1 + x2) / 2, y, words, anchor="middle"))
    return parts


def merged_roofs(roofs: Mapping[str, float]) -> dict[str, float]:
    """Roofs by name, equal ones under one name."""
    names: dict[float, list[str]] = {}
    for name, rate in roofs.items():
        names.setdefault(rate, []).append(name)
    return {", ".join(each): rate for rate, each in names.items()}
