"""Regions that are declared by a table or by a typical page's name, in the place of a list.

    workload.regions=regions.csv            of the only page in it, or of all rows where no page is named
    workload.regions=regions.csv@7          of page 7, as the column page calls it
    workload.regions=omnidocbench@1275x1650 a typical page of that size: assumed

A table is CSV with a line of names, or JSON, a list of mappings: width and height of each region in pixels of the page,
left and top where they are known, and page.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from modelmeter.documents import parse_json, read_regular
from modelmeter.errors import ModelMeterError, near, printable, shown
from modelmeter.models.common.passes import MAX_REGIONS, TYPICAL_PAGES
from modelmeter.page_sizes import MAX_SIDE, parse_size

KEY: Final = "workload.regions"
SOURCE_KEY: Final = "workload.regions_from"

SIDES: Final = ("width", "height")
PLACE: Final = ("left", "top")
PAGE: Final = "page"
COLUMNS: Final = (PAGE, *SIDES, *PLACE)

#: largest table that is read
MOST_BYTES: Final = 2**24


def declared(value: str) -> list[str] | None:
    """Overrides that say the regions which `value` names; None where it lists them itself, or says nothing."""
    if value.startswith(("[", "$")) or value in ("", "null"):
        return None
    value = value[1:-1] if value[0] in "'\"" and value[-1] == value[0] else value
    name, at, size = value.partition("@")
    if at and name in TYPICAL_PAGES:
        return _overrides(_bands(TYPICAL_PAGES[name].regions, size), value)
    file, _, page = value.rpartition("@") if at and not Path(value).exists() else (value, "", "")
    if not Path(file).suffix and not Path(file).exists():
        raise ModelMeterError(
            f"{KEY}={printable(value)} is neither a list of regions nor a table of them (.csv, .json) nor a typical "
            f"page at a size, as in omnidocbench@1275x1650; {near(name, TYPICAL_PAGES)}"
        )
    return _overrides(_of_page(file, page), value)


def _overrides(regions: Sequence[Sequence[int]], source: str) -> list[str]:
    told = printable(Path(source).name, 200).replace("\\", "/").replace("'", "")
    return [f"{KEY}={[list(each) for each in regions]}".replace(" ", ""), f"{SOURCE_KEY}='{told}'"]


def _bands(count: int, size: str) -> list[tuple[int, ...]]:
    """A page in bands of its width, of the same height but for rounding."""
    page = parse_size(size)
    tops = [page.height * number // count for number in range(count + 1)]
    if page.height < count:
        raise ModelMeterError(f"{KEY}: a page of {page.height} pixels height has no room for {count} regions.")
    return [(page.width, tops[number + 1] - tops[number], 0, tops[number]) for number in range(count)]


def _of_page(file: str, page: str) -> list[tuple[int, ...]]:
    """The regions of one page of a table."""
    rows = _read(file)
    pages = list(dict.fromkeys(name for name, _ in rows))
    if page == "" and len(pages) > 1:
        some = ", ".join(printable(name) for name in pages[:5])
        raise ModelMeterError(
            f"{KEY}: {printable(file)} has regions of {len(pages)} pages ({some}{', …' if len(pages) > 5 else ''}), "
            f"and they are one page's; name it, as in {printable(file)}@{printable(pages[0])}."
        )
    found = [sides for name, sides in rows if page in ("", name)]
    if not found and pages == [""]:
        raise ModelMeterError(
            f"{KEY}: {printable(file)} names no pages, so it is one page's; leave @{printable(page)} out."
        )
    if not found:
        raise ModelMeterError(f"{KEY}: {printable(file)} has no page {printable(page)}; {near(page, pages)}")
    if len(found) > MAX_REGIONS:
        raise ModelMeterError(f"{KEY}: {printable(file)} has {len(found)} regions of a page; {MAX_REGIONS} at most.")
    return found


def _read(file: str) -> list[tuple[str, tuple[int, ...]]]:
    """Page and sides of every region of a table, in its order."""
    content = read_regular(f"{KEY}: {printable(file)}", file, MOST_BYTES)
    if Path(file).suffix.lower() == ".json":
        listed = parse_json(f"{KEY}: {printable(file)}", content)
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise ModelMeterError(f"{KEY}: {printable(file)} holds {shown(listed)}; a list of mappings is expected.")
        given = [(f"region {number}", each) for number, each in enumerate(listed)]
    else:
        try:
            lines = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True)
            given = [(f"line {lines.line_num}", each) for each in lines]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ModelMeterError(f"{KEY}: {printable(file)} is no table ({error}); give CSV in UTF-8.") from error
    if not given:
        raise ModelMeterError(f"{KEY}: {printable(file)} has no region; give a row for each.")
    return [_row(f"{KEY}: {printable(file)}, {where}", each) for where, each in given]


def _row(who: str, row: Mapping[Any, Any]) -> tuple[str, tuple[int, ...]]:
    """One row: its page, and its sides, with its place where that is said."""
    for name in row:
        if name not in COLUMNS:
            raise ModelMeterError(f"{who}: there is no column {shown(name)}; there are {', '.join(COLUMNS)}.")
    sides = tuple(_number(who, name, row.get(name)) for name in SIDES)
    if 0 in sides:
        raise ModelMeterError(f"{who}: {sides[0]} x {sides[1]} pixels are no region; give sides of 1 or more.")
    placed = [name for name in PLACE if row.get(name) not in (None, "")]
    if len(placed) == 1:
        raise ModelMeterError(f"{who}: {placed[0]} is given alone; give left and top, or neither.")
    page = row.get(PAGE)
    return "" if page is None else str(page).strip(), (*sides, *(_number(who, name, row[name]) for name in placed))


def _number(who: str, name: str, value: Any) -> int:
    """A whole number of pixels."""
    text = str(value).strip()
    if isinstance(value, bool) or value is None or not (text.isascii() and text.isdecimal()):
        raise ModelMeterError(f"{who}: {name}={shown(value)} is no whole number of pixels.")
    if len(text) > 10 or int(text) > MAX_SIDE:
        raise ModelMeterError(f"{who}: {name}={printable(text, 20)} is more than {MAX_SIDE} pixels.")
    return int(text)


#: what a configuration makes of the keys here
REGIONS_EXPAND: Final = MappingProxyType({KEY: declared})
