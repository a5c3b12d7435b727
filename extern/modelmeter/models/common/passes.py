"""Pages that go through a model in several passes: one that finds their regions, if a model does, then one for each.

Which regions a page has, no width and height tells: the user declares them (`[width, height]` in pixels of the page, or
`[width, height, left, top]`), and every result is labelled. The passes run one after another, each a prefill and decode
steps of its own with the same prompt, and each drops its cache before the next: so FLOPs and traffic of a page are
sums, peaks and cache those of its largest pass (`stage_cost.together`).

    >>> split(100, (0, 3, 1))
    (0, 75, 25)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, pairwise
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Kind, ListOf, Maybe, Said, Text, Whole
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.contract import Place
from modelmeter.page_sizes import MAX_SIDE

#: what the passes of a page are called
LAYOUT: Final = "layout"
REGIONS: Final = "regions"

#: regions that a page may have
MAX_REGIONS: Final = 500

#: what the keys of a workload with regions may be
REGION_KINDS: Final[dict[str, Kind[Any]]] = {
    "workload.regions": Said(
        ListOf(ListOf(Whole(0, MAX_SIDE), 2, 4), 0, MAX_REGIONS),
        "regions of the page, each [width,height] or [width,height,left,top] in its pixels; []: none declared",
    ),
    "workload.regions_from": Said(Maybe(Text(300)), "the table or typical page that they come from; null: listed"),
    "workload.output_shares": Said(
        Maybe(ListOf(Whole(0, 10**6), 1, MAX_REGIONS + 1)),
        "weights of the passes in the decode steps, a layout pass first; null: a region's image tokens",
    ),
}


class TypicalPage(NamedTuple):
    """How many regions such a page has, and where that is from."""

    regions: int
    source: str


#: pages that are named for want of a table
TYPICAL_PAGES: Final[Mapping[str, TypicalPage]] = MappingProxyType(
    {
        "omnidocbench": TypicalPage(
            16, "the mean of OmniDocBench is 15.8 a page, 21,353 scored blocks of 1,355 pages (arXiv 2605.07492)"
        )
    }
)


def typical_of(source: str | None) -> TypicalPage | None:
    """The typical page that regions come from; None where they come from elsewhere."""
    return TYPICAL_PAGES.get((source or "").partition("@")[0])


class PagePass(NamedTuple):
    """One pass of a page: what it is called, its layout, its weight in the page's decode steps, its place on it."""

    name: str
    layout: Any
    weight: int
    place: Place | None


class PassTokens(NamedTuple):
    """Image tokens of a page of several passes: the positions that its pictures fill in all of them."""

    layout: int
    regions: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.layout + self.regions

    def by_view(self) -> dict[str, int]:
        """Those of the layout pass, if there is one, and of all regions."""
        return self._asdict() if self.layout else {REGIONS: self.regions}


@dataclass(frozen=True)
class Regions:
    """The regions that are declared of a page, and how its passes share its decode steps.

    sides: width, height, and left and top edge where they are said, in pixels of the page. shares: weights, the layout
    pass's first; None: a region's image tokens, and nothing for the layout pass. detector: the network that finds the
    regions, which is none of these passes; "": the layout pass does. source: the table or typical page that they come
    from, where they were not listed.
    """

    sides: tuple[tuple[int, ...], ...]
    shares: tuple[int, ...] | None
    detector: str = ""
    source: str | None = None

    def __post_init__(self) -> None:
        for number, side in enumerate(self.sides):
            if len(side) == 3 or 0 in side[:2]:
                raise ModelMeterError(
                    f"workload: regions[{number}]={list(side)} is no region; give [width, height] or [width, height, "
                    "left, top] in pixels of the page, sides of 1 or more."
                )
        if self.shares is None:
            return
        if not self.sides:
            raise ModelMeterError(
                "workload: output_shares says how passes share the output tokens, and a page without regions is one "
                "pass; declare workload.regions, or leave it out."
            )
        passes, first = len(self.sides), "one for each"
        if not self.detector:
            passes, first = passes + 1, "the layout pass's first"
        if len(self.shares) != passes or not sum(self.shares):
            whole = "" if self.detector else "the layout pass and "
            raise ModelMeterError(
                f"workload: output_shares={list(self.shares)} for {whole}{len(self.sides)} regions; give {passes} "
                f"numbers, {first}, not all of them 0."
            )

    @property
    def reach(self) -> tuple[int, int]:
        """(width, height) in pixels of the smallest page that has room for each of them; (0, 0) without any."""
        reaches = [(width + sum(at[:1]), height + sum(at[1:])) for width, height, *at in self.sides]
        return max((right for right, _ in reaches), default=0), max((bottom for _, bottom in reaches), default=0)

    def check(self, width: int, height: int) -> None:
        """Raise `ModelMeterError` unless all lie on a page of `width` x `height` pixels."""
        for number, (wide, high, *at) in enumerate(self.sides):
            right, bottom = wide + sum(at[:1]), high + sum(at[1:])
            if right > width or bottom > height:
                reaches = f", which reaches to {right} x {bottom}," if at else ""
                raise ModelMeterError(
                    f"layout: workload.regions[{number}]={[wide, high, *at]}{reaches} is not within the page of "
                    f"{width} x {height} pixels; regions are declared in pixels of the page."
                )

    def passes(self, layout: Any | None, layouts: Sequence[Any], tokens: Sequence[int]) -> tuple[PagePass, ...]:
        """The layout pass, where the model makes one, and each region's. layouts, tokens: of the regions. () without
        any."""
        if not self.sides:
            return ()
        whole = [] if self.detector else [(LAYOUT, layout, None)]
        places = [Place(at[0], at[1], width, height) if at else None for width, height, *at in self.sides]
        regions = ((REGIONS, *each) for each in zip(layouts, places, strict=True))
        weights = self.shares or (*(0 for _ in whole), *tokens)
        return tuple(
            PagePass(name, cut, weight, place)
            for (name, cut, place), weight in zip((*whole, *regions), weights, strict=True)
        )

    def assumptions(self) -> tuple[Assumption, ...]:
        """What of a page's figures is declared, and what is assumed."""
        regions = f"{len(self.sides)} regions" if len(self.sides) > 1 else "1 region"
        if self.detector:
            order = f", and none over the whole page; {self.detector}, which finds them, is not counted"
            none, first = "", ""
        else:
            order = " after the layout pass"
            none, first = ", and none are the layout pass's", ", the layout pass first"
        split_by = (
            Assumption(
                figure="output_tokens",
                label="shared by image tokens",
                text=f"the page's decode steps are shared by its regions, in proportion to their image tokens{none}; "
                "workload.output_shares declares it",
            )
            if self.shares is None
            else Assumption(
                figure="output_tokens",
                label="shares declared",
                text=f"the page's decode steps are shared by its passes as workload.output_shares={list(self.shares)} "
                f"declares{first}",
            )
        )
        typical = typical_of(self.source)
        label, by = "regions declared", f"by workload.regions{f' ({self.source})' if self.source else ''}"
        if typical is not None:
            label = "typical page assumed"
            by = f"as of {self.source}: {typical.source}; that each is a band of the page's width is assumed"
        return (
            Assumption(
                figure="layout",
                label=label,
                text=f"{regions} of every page {by}, each a pass of its own{order}, with the prompt of "
                "runtime.prompt_tokens; passes run one after another: FLOPs and traffic are sums, peaks and KV cache "
                "the largest pass's",
            ),
            split_by,
        )


def pass_names(passes: Sequence[PagePass]) -> list[str]:
    """What the passes are called in paths: a layout pass's, and the regions by their number."""
    numbers = count()
    return [each.name if each.name == LAYOUT else f"{each.name}.{next(numbers)}" for each in passes]


def split(steps: int, weights: Sequence[int]) -> tuple[int, ...]:
    """`steps` decode steps as passes of these weights share them: whole numbers that sum to it."""
    total = sum(weights)
    ends = [steps * end // total for end in accumulate(weights, initial=0)]
    return tuple(end - start for start, end in pairwise(ends))
