"""What charts are drawn of: plain SVG in the colours and fonts of the page that holds it (classes of `report.css`)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import cos, floor, log10, radians, sin
from typing import Final, NamedTuple

from modelmeter.errors import printable

#: of a chart that a phone shows small or scrolls, and of one that fits it
WIDTH: Final = 640
NARROW: Final = 470

#: width of a letter, about, at the size of a chart's labels
LETTER: Final = 6.4


def drawing(height: float, title: str, parts: Sequence[str], width: int = WIDTH) -> str:
    """A whole chart; title: what it is called for those who hear it."""
    return (
        f'<svg class="{"narrow" if width < WIDTH else "broad"}" viewBox="0 0 {width} {height:.0f}" role="img" '
        f'aria-label="{escaped(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def escaped(text: str) -> str:
    """Text as SVG has it."""
    return escape(printable(text))


def label(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "label", turn: float = 0) -> str:
    """A text; anchor: which part of it stands at x; turn: degrees around its place."""
    turned = f' transform="rotate({turn:.1f} {x:.1f} {y:.1f})"' if turn else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escaped(text)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A line between two places."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def box(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    """A rectangle, half a pixel wide and high at least; title: shown where a pointer rests on it."""
    inner = f"<title>{escaped(title)}</title>" if title else ""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
        f'height="{max(height, 0.5):.1f}">{inner}</rect>'
    )


def legend(y: float, items: Sequence[tuple[str, str]]) -> list[str]:
    """Swatches and words in a row."""
    parts, x = [], 60.0
    for kind, words in items:
        parts += [box(x, y - 9, 10, 10, kind), label(x + 15, y, words)]
        x += 15 + LETTER * len(words) + 22
    return parts


class Place(NamedTuple):
    """Where something stands, from corner to corner."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def meets(self, other: Place) -> bool:
        """Whether they share some of the picture."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def free(at: tuple[float, float], radius: float, words: str, taken: Sequence[Place], within: Place) -> Place:
    """The place for a few words nearest to a point where nothing else is; if all is full, on the point."""
    half = (LETTER * len(words)) / 2 + 6, 8.0
    whole = range(0, 360, 30)
    rings = []
    for distance in range(12, 96, 6):
        far = radius + distance
        rings.append([(far * cos(radians(turn)), -far * sin(radians(turn))) for turn in whole])
    for offset in (each for ring in rings for each in ring):
        x, y = at[0] + offset[0], at[1] + offset[1]
        place = Place(x - half[0], y - half[1], x + half[0], y + half[1])
        inside = within.left < place.left and place.right < within.right
        inside = inside and within.top < place.top and place.bottom < within.bottom
        if inside and not any(place.meets(other) for other in taken):
            return place
    return Place(at[0] - half[0], at[1] - half[1], at[0] + half[0], at[1] + half[1])


def power(exponent: int) -> str:
    """10^exponent, with the prefix of a power of ten from 1000 on."""
    if exponent < 0:
        return f"{10.0**exponent:g}"
    prefixes = ("", "k", "M", "G", "T", "P", "E", "Z")
    thousands, shift = divmod(exponent, 3)
    return f"{10**shift}{prefixes[thousands]}" if thousands < len(prefixes) else f"1e{exponent}"


def nice(value: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten, nearest above."""
    power = 10.0 ** floor(log10(value)) if value > 0 else 1.0
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= value)
