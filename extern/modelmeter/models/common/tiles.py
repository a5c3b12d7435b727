"""Pages cut into tiles: the grid whose shape is nearest to a page's, one page at a time and many at once.

Sizes are pixels, grids are counted in tiles (columns x rows). Every number is an exact integer but one: the search
compares Python floats, as the models' preprocessing does.
Source: `get_optimal_tiled_canvas` of transformers 5.23, which several models have a copy of.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from math import isqrt
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from modelmeter.errors import ModelMeterError
from modelmeter.page_sizes import MAX_SIDE, PageSize, check_side
from modelmeter.units import ceil_div

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


MAX_TILES: Final = 10_000
"""Largest number of tiles that is searched: far beyond a decoder's positions, and still a quick search."""


@runtime_checkable
class TiledWorkload(Protocol):
    """A workload that cuts pages into grids of tiles."""

    @property
    def layout_title(self) -> str:
        """What the tiles are called, as in "tiles"."""

    @property
    def tile_limits(self) -> tuple[str, str]:
        """Its fields that limit how many tiles a page has: the least, the most."""

    def check_tiled(self) -> None:
        """Raise `ModelMeterError` where it is set to cut no page."""

    def page_of_grid(self, columns: int, rows: int) -> PageSize:
        """A page that is cut into this grid, (1, 1) for none; raises `ModelMeterError` where no page is."""


def page_sized_for(
    columns: int, rows: int, *, tile_side: int, uncut_side: int, cut: Callable[[int, int], tuple[int, int]]
) -> PageSize | None:
    """A page that `cut` makes this grid (columns, rows) of, None where there is none.

    Only grids of the same ratio compete, and area decides: a grid wins over the smaller ones from half its own pixels
    on. So tiles of `tile_side` do, or else the smallest that win and that make a page large enough to be cut.
    """
    if (columns, rows) == (1, 1):
        return PageSize(source="uncut", width=uncut_side, height=uncut_side)
    smallest = max(isqrt(tile_side**2 // 2), uncut_side // max(columns, rows)) + 1
    for side in (tile_side, smallest):
        width, height = columns * side, rows * side
        if cut(width, height) == (columns, rows):
            return PageSize(source=f"{width}x{height}", width=width, height=height)
    return None


_PAGES_AT_ONCE: Final = 1 << 15
"""Pages that one vectorised search holds against all grids: its arrays stay in a core's cache."""


def nearest_grid(
    width: int, height: int, tile_side: int, min_num: int, max_num: int, most_a_side: int = MAX_TILES
) -> tuple[int, int]:
    """(columns, rows) of the grid of min_num to max_num tiles that a page of `width` x `height` pixels is cut into.

    Of grids equally near to its shape the one with more tiles, as long as its area is more than half of theirs.
    most_a_side: columns at most, and rows.
    """
    page_area = width * height
    half_tile_area = 0.5 * tile_side * tile_side
    (_, columns, rows), *others = _nearest_grids(width / height, min_num, max_num, most_a_side)
    for _, more_columns, more_rows in others:
        if page_area > half_tile_area * more_columns * more_rows:
            columns, rows = more_columns, more_rows
    return columns, rows


def nearest_grids(
    who: str,
    widths: ArrayLike,
    heights: ArrayLike,
    *,
    uncut_side: int,
    tile_side: int,
    min_num: int,
    max_num: int,
    most_a_side: int = MAX_TILES,
) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """`nearest_grid` of many pages at once: for each the index of its grid, and the grids, (1, 1) first.

    widths, heights: [pages] in pixels, both of an integer type; pages with no side above `uncut_side` are not cut.
    The same comparisons of the same floats, a grid at a time for all pages, so that every tie falls the same way.
    Needs numpy, which `nearest_grid` does not. Raises `ModelMeterError`, in the name of `who`, for sides that no page
    has.
    """
    import numpy as np

    all_w, all_h = page_sides(who, widths, heights)
    indices = np.zeros(all_w.shape, np.int64)
    grids = candidate_grids(min_num, max_num, most_a_side)
    numbers = {grid: number for number, grid in enumerate(dict.fromkeys([(1, 1), *(grid[:2] for grid in grids)]))}
    half_tile_area = 0.5 * tile_side * tile_side
    searched = np.flatnonzero((all_w > uncut_side) | (all_h > uncut_side))
    for start in range(0, searched.size, _PAGES_AT_ONCE):
        pages = searched[start : start + _PAGES_AT_ONCE]
        image_w, image_h = all_w[pages], all_h[pages]
        page_ratio = image_w / image_h  # sides are below 2**53: the float that Python's own division gives
        page_area = image_w * image_h  # below 2**62
        nearest = np.full(pages.size, math.inf)
        grid = np.zeros(pages.size, np.int64)
        for columns, rows, grid_ratio in grids:
            distance = np.abs(page_ratio - grid_ratio)
            wins = distance < nearest
            # numpy would round the areas to compare them with a float; an integer is above it if it is above its floor
            least_area = min(math.floor(half_tile_area * columns * rows), MAX_SIDE**2)
            wins |= (distance == nearest) & (page_area > least_area)
            np.copyto(grid, numbers[columns, rows], where=wins)
            np.minimum(nearest, distance, out=nearest)
        indices[pages] = grid
    return indices, list(numbers)


def page_sides(who: str, widths: ArrayLike, heights: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Widths and heights [pages], held against what pages have."""
    all_w, all_h = _sides(who, "widths", widths), _sides(who, "heights", heights)
    if all_w.shape != all_h.shape:
        raise ModelMeterError(f"{who}: {all_w.size} widths and {all_h.size} heights; give one of each for every page.")
    return all_w, all_h


def _sides(who: str, name: str, values: ArrayLike) -> NDArray[np.int64]:
    """One-dimensional int64 sides, each from 1 to `MAX_SIDE`."""
    import numpy as np

    sides: NDArray[Any] = np.asarray(values)
    if sides.ndim != 1 or (sides.size and not np.issubdtype(sides.dtype, np.integer)):
        raise ModelMeterError(
            f"{who}: {name} is an array of {sides.dtype} with {sides.ndim} dimensions; "
            "give one dimension of whole numbers of pixels."
        )
    wrong = np.flatnonzero((sides < 1) | (sides > MAX_SIDE))
    if wrong.size:
        check_side(who, f"{name}[{wrong[0]}]", int(sides[wrong[0]]))
    return sides.astype(np.int64)


@cache
def candidate_grids(min_num: int, max_num: int, most_a_side: int = MAX_TILES) -> tuple[tuple[int, int, float], ...]:
    """(columns, rows, columns / rows) of each grid of min_num to max_num tiles, by tiles, then by columns."""
    grids = [
        (columns, rows)
        for columns in range(1, min(max_num, most_a_side) + 1)
        for rows in range(ceil_div(min_num, columns), min(max_num // columns, most_a_side) + 1)
    ]
    grids.sort(key=lambda grid: (grid[0] * grid[1], grid[0]))
    return tuple((columns, rows, columns / rows) for columns, rows in grids)


def _nearest_grids(page_ratio: float, min_num: int, max_num: int, most_a_side: int) -> list[tuple[int, int, int]]:
    """(place, columns, rows) of the grids whose ratio is nearest to the page's, by their place in `candidate_grids`.

    The real code holds a page against every grid: the first of the nearest ones wins, then each later one that
    the page is large enough for. Floats on purpose: with exact fractions other grids would tie, and win.
    """
    ratios, grids = _grids_by_ratio(min_num, max_num, most_a_side)
    above = bisect_left(ratios, page_ratio)
    below = above - 1
    to_below, to_above = page_ratio - ratios[below], ratios[above] - page_ratio
    if to_below == to_above:
        return sorted(grids[below] + grids[above])
    # No further ratio ties by rounding. Between two grids a distance is below MAX_TILES, its error below 1e-11, and
    # ratios lie MAX_TILES**-2 or more apart; a page wider than any grid is up to MAX_SIDE off, where they lie 1 apart.
    return grids[below] if to_below < to_above else grids[above]


@cache
def _grids_by_ratio(
    min_num: int, max_num: int, most_a_side: int
) -> tuple[list[float], list[list[tuple[int, int, int]]]]:
    """The ratios of grids, ascending, between two that no page has, and the (place, columns, rows) of each."""
    grids: dict[float, list[tuple[int, int, int]]] = {-math.inf: [], math.inf: []}
    for place, (columns, rows, ratio) in enumerate(candidate_grids(min_num, max_num, most_a_side)):
        grids.setdefault(ratio, []).append((place, columns, rows))
    ratios = sorted(grids)
    return ratios, [grids[ratio] for ratio in ratios]
