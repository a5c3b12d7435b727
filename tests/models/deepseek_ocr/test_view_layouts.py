"""`compute_view_layouts` gives every page the layout that `compute_view_layout` gives it, ties included."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.vision_workload import (
    MODES,
    ViewLayout,
    VisionWorkload,
    compute_view_layout,
    compute_view_layouts,
)

LARGEST = 2**31 - 1

WORKLOADS = {
    **MODES,
    "vllm": VisionWorkload(max_num=6),
    "from_one": VisionWorkload(min_num=1),
    "only_one": VisionWorkload(min_num=1, max_num=1),
    "only_four": VisionWorkload(min_num=4, max_num=4),
    "thirty": VisionWorkload(max_num=30),
    "small_tiles": VisionWorkload(image_size=16),
    # 0.5 * side² has no exact float: the areas stand beside a rounded threshold
    "huge_tiles": VisionWorkload(image_size=2**31 - 16, max_num=30),
}

sides = st.one_of(st.integers(1, 700), st.integers(1, 8000), st.integers(1, LARGEST), st.just(LARGEST))
pages = st.lists(st.tuples(sides, sides), min_size=1, max_size=60)
many = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def agree(workload: VisionWorkload, sizes: list[tuple[int, int]]) -> None:
    widths, heights = np.array(sizes, np.int64).reshape(-1, 2).T
    indices, layouts = compute_view_layouts(workload, widths, heights)
    assert [layouts[index] for index in indices] == [compute_view_layout(workload, *size) for size in sizes]
    assert len(set(layouts)) == len(layouts)


@many
@given(workload=st.sampled_from(list(WORKLOADS.values())), sizes=pages)
def test_every_size_in_every_mode(workload: VisionWorkload, sizes: list[tuple[int, int]]) -> None:
    agree(workload, sizes)


@many
@given(
    limits=st.tuples(st.integers(1, 40), st.integers(1, 40)).map(sorted),
    image_size=st.integers(1, 200).map(lambda patches: 16 * patches),
    sizes=pages,
)
def test_every_limit_and_tile(limits: list[int], image_size: int, sizes: list[tuple[int, int]]) -> None:
    agree(VisionWorkload(min_num=limits[0], max_num=limits[1], image_size=image_size), sizes)


def tied_sizes(max_num: int) -> list[tuple[int, int]]:
    """Sizes at grids' own ratios, where multiples tie, and halfway between neighbours; on both sides of the areas."""
    grids = [(i, j) for i in range(1, max_num + 1) for j in range(1, max_num // i + 1)]
    ratios = sorted({i / j: (i, j) for i, j in grids}.values(), key=lambda grid: grid[0] / grid[1])
    halfway = [(i * m + k * j, 2 * j * m) for (i, j), (k, m) in pairwise(ratios)]
    scales = (*range(1, 400, 17), 905, 906, 1357, 1358, 2172, 2173)
    return [(w * scale + more, h * scale) for w, h in (*ratios, *halfway) for scale in scales for more in (0, 1)]


@pytest.mark.parametrize("name", WORKLOADS)
def test_exact_ties(name: str) -> None:
    workload = WORKLOADS[name]
    agree(workload, tied_sizes(min(workload.max_num, 9)))


@pytest.mark.parametrize("name", WORKLOADS)
def test_edges(name: str) -> None:
    # the 640 rule, and a tie whose area equals its threshold: 1440 * 1280 = 204800 * 9
    edges = [(w, h) for w in (639, 640, 641) for h in (639, 640, 641)]
    agree(WORKLOADS[name], [*edges, (1440, 1280), (1440, 1281), (1, 1), (1, LARGEST), (LARGEST, 1), (LARGEST, LARGEST)])


def test_areas_beside_a_threshold_that_is_no_integer() -> None:
    # half a tile of 48 pixels is 1152: on a tie the later grid wins above 1152 * crops
    agree(VisionWorkload(image_size=48, max_num=9), [(641, height) for height in range(1, 1300)])


def test_an_area_that_exceeds_its_threshold_by_less_than_floats_can_tell() -> None:
    # 5/4 lies halfway between 1 and 3/2; (3, 3) wins above 4.5 tiles, which this area exceeds by 20 pixels
    side, width, height = 16 * 35346287, 5 * 268259457, 4 * 268259457
    assert width * height > 4.5 * side * side == float(width * height)
    workload = VisionWorkload(image_size=side)
    assert compute_view_layout(workload, width, height) == ViewLayout(10, 3, 3)
    agree(workload, [(width, height)])


def test_pages_beyond_one_chunk() -> None:
    random = np.random.default_rng(7)
    widths, heights = random.integers(1, 5000, (2, 70_000))
    indices, layouts = compute_view_layouts(MODES["gundam"], widths, heights)
    for page in range(0, 70_000, 31):
        assert layouts[indices[page]] == compute_view_layout(MODES["gundam"], int(widths[page]), int(heights[page]))


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int32, np.uint64])
def test_every_integer_type(kind: type) -> None:
    indices, layouts = compute_view_layouts(MODES["gundam"], np.array([100], kind), np.array([7], kind))
    assert layouts[indices[0]] == ViewLayout(1, 1, 1)


def test_narrow_types_do_not_overflow() -> None:
    agreed = compute_view_layouts(MODES["gundam"], np.array([1358], np.int16), np.array([1358], np.uint16))
    assert agreed.layouts[agreed.indices[0]] == ViewLayout(10, 3, 3)


def test_no_pages() -> None:
    assert compute_view_layouts(MODES["gundam"], [], []).indices.size == 0


REFUSED = {
    "zero": ([640, 0], [1, 1], r"widths\[1\]=0 is not positive"),
    "negative": ([5], [-3], r"heights\[0\]=-3 is not positive"),
    "too_large": ([2**31], [1], r"widths\[0\] is 2147483648, more than 2147483647"),
    "beyond_int64": (np.array([2**64 - 1], np.uint64), [1], r"widths\[0\] is 18446744073709551615, more than"),
    "floats": ([640.0], [480.0], "widths is an array of float64 with 1 dimensions; give one dimension of whole"),
    "not_a_number": ([float("nan")], [1], "widths is an array of float64"),
    "bools": ([True], [1], "widths is an array of bool"),
    "texts": (["5"], [1], "widths is an array of <U1"),
    "two_dimensions": ([[5, 6]], [[1, 2]], "with 2 dimensions"),
    "lengths": ([5, 6], [1], "2 widths and 1 heights; give one of each"),
}


@pytest.mark.parametrize("widths, heights, message", REFUSED.values(), ids=REFUSED)
def test_refused(widths: object, heights: object, message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        compute_view_layouts(MODES["gundam"], widths, heights)  # type: ignore[arg-type]


def test_the_scalar_function_needs_no_numpy() -> None:
    code = (
        "import sys\nfrom modelmeter.models.deepseek_ocr import load_cost_model\n"
        "load_cost_model().page(1275, 1650)\nprint('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
