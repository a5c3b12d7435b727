"""Pages of every kind for workloads that resize a page to one grid, and what the library's function makes of them."""

from collections.abc import Callable, Sequence

import numpy as np

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.merged_grid import MergedGridWorkload

#: (height, width) that the library resizes a page of (height, width) to
Resize = Callable[[int, int], tuple[int, int]]


def pages_of_all_kinds(seed: int, areas: Sequence[int], *, half: int, usual: int) -> np.ndarray:
    """100,000 pages: sides up to `usual`, halves that round to even, areas near limits, long ones, and absurd ones.

    half: pixels of half a token.
    """
    random = np.random.default_rng(seed)
    sides = random.integers(1, usual, (50_000, 2))
    halves = random.integers(1, 300, (20_000, 2)) * half
    area = random.choice(areas, 15_000)
    ratio = np.exp(random.uniform(-5.4, 5.4, 15_000))
    near = np.stack((np.sqrt(area * ratio), np.sqrt(area / ratio)), axis=1) + random.uniform(-30, 30, (15_000, 2))
    long = random.integers(1, 2000, (10_000, 1)) * np.stack(
        (np.ones(10_000, int), random.integers(150, 203, 10_000)), axis=1
    )
    absurd = random.integers(2**24, 2**31, (5_000, 2))
    return np.concatenate((sides, halves, np.maximum(near, 1).astype(np.int64), long, absurd))


def grid_or_none(resize: Resize, width: int, height: int, token_side: int) -> tuple[int, int]:
    """Columns and rows of tokens that the library makes of a page; (0, 0) where it refuses the page."""
    try:
        resized_height, resized_width = resize(height, width)
    except ValueError:
        return 0, 0
    return resized_width // token_side, resized_height // token_side


def layout_or_none(workload: MergedGridWorkload, width: int, height: int) -> tuple[int, int]:
    """A workload's own; (0, 0) where it refuses the page."""
    try:
        return tuple(workload.layout(width, height))
    except ModelMeterError:
        return 0, 0


def check_alike(workload: MergedGridWorkload, pages: np.ndarray, resize: Resize) -> None:
    """Page by page and many at once, a workload gives what the library's function does."""
    vectorised = workload.layouts(pages[:, 0], pages[:, 1])
    differing = []
    for number, (width, height) in enumerate(pages.tolist()):
        expected = grid_or_none(resize, width, height, workload.token_side)
        at_once = vectorised.layouts[vectorised.indices[number]]
        if not layout_or_none(workload, width, height) == at_once == expected:
            differing.append((width, height))
    assert differing == []
