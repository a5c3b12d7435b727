"""Layouts and tokens: worked by hand, held against transformers, and as properties of every page."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.vision_workload import (
    MODES,
    BranchConfig,
    ViewLayout,
    VisionConfig,
    VisionTokens,
    VisionWorkload,
    build_vision_cfg_from_workload,
    compute_view_layout,
    compute_vision_tokens,
    workload_for_mode,
)

GUNDAM = VisionWorkload()
GUNDAM_M = VisionWorkload(base_size=1280, image_size=1024)
VLLM = VisionWorkload(max_num=6)
FROM_ONE = VisionWorkload(min_num=1)
FOUR = VisionWorkload(min_num=4, max_num=4)
NO_CROPS = VisionWorkload(crop_mode=False)

# Half a 640-pixel crop is 204,800 pixels: on a tie the later grid wins above 204,800 * crops. For a crop of
# 1024 pixels it is 524,288 * crops.
GRIDS = {  # workload, width, height, columns, rows
    # width/height 0.773: 2/3 is 0.106 away, 1/1 0.227, 1/2 0.273
    "letter": (GUNDAM, 1275, 1650, 2, 3),
    # 1.4145: 3/2 is 0.086 away, 1/1 0.41
    "a4_landscape": (GUNDAM, 1754, 1240, 3, 2),
    # 16:9 = 1.778: 2/1 is 0.222 away, 3/2 0.278. Tie (2, 1), (4, 2): 2,073,600 > 204,800 * 8 = 1,638,400
    "slide_large": (GUNDAM, 1920, 1080, 4, 2),
    # the same tie: 1280 * 720 = 921,600 is not more
    "slide": (GUNDAM, 1280, 720, 2, 1),
    # 0.25 exactly: (1, 4)
    "receipt": (GUNDAM, 500, 2000, 1, 4),
    # beyond the last grid on either side
    "thread": (GUNDAM, 1, 20000, 1, 9),
    "thread_lying": (GUNDAM, 20000, 1, 9, 1),
    "largest": (GUNDAM, 2**31 - 1, 2**31 - 1, 3, 3),
    # the 640 rule: both sides at most 640
    "rule_640": (GUNDAM, 640, 640, 1, 1),
    "rule_640_width": (GUNDAM, 641, 640, 2, 2),
    "rule_640_height": (GUNDAM, 640, 641, 2, 2),
    "one_pixel": (GUNDAM, 1, 1, 1, 1),
    "rule_640_thin": (GUNDAM, 641, 1, 9, 1),
    "rule_640_is_not_image_size": (GUNDAM_M, 641, 641, 2, 2),
    "rule_640_holds_for_large_crops": (GUNDAM_M, 640, 640, 1, 1),
    "rule_640_holds_for_small_crops": (replace(GUNDAM, image_size=320), 640, 640, 1, 1),
    # tie (2, 2), (3, 3): 204,800 * 9 = 1,843,200; 1357² = 1,841,449; 1358² = 1,844,164
    "square_below": (GUNDAM, 1357, 1357, 2, 2),
    "square_above": (GUNDAM, 1358, 1358, 3, 3),
    # 1.125 is nearest to 1; 1440 * 1280 = 1,843,200: equal is not more
    "square_at": (GUNDAM, 1440, 1280, 2, 2),
    "square_just_above": (GUNDAM, 1440, 1281, 3, 3),
    # for crops of 1024: 524,288 * 9 = 4,718,592; 2172² = 4,717,584; 2173² = 4,721,929
    "square_large_crops_below": (GUNDAM_M, 2172, 2172, 2, 2),
    "square_large_crops_above": (GUNDAM_M, 2173, 2173, 3, 3),
    # tie (1, 2), (2, 4): 1,638,400; 905 * 1810 = 1,638,050; 906 * 1812 = 1,641,672
    "half_below": (GUNDAM, 905, 1810, 1, 2),
    "half_above": (GUNDAM, 906, 1812, 2, 4),
    # 1.25 lies halfway between 1 and 3/2: (2, 2), then (3, 2) above 1,228,800, then (3, 3) above 1,843,200
    "halfway_first": (GUNDAM, 1000, 800, 2, 2),
    "halfway_second": (GUNDAM, 1250, 1000, 3, 2),
    "halfway_third": (GUNDAM, 1600, 1280, 3, 3),
    # 2.5 lies halfway between 2 and 3: (2, 1), then (3, 1) above 614,400, then (4, 2) above 1,638,400
    "wide_first": (GUNDAM, 1000, 400, 2, 1),
    "wide_second": (GUNDAM, 1250, 500, 3, 1),
    "wide_third": (GUNDAM, 2500, 1000, 4, 2),
    # 3.5 lies halfway between 3 and 4: (3, 1), then (4, 1) above 819,200
    "wider_first": (GUNDAM, 1400, 400, 3, 1),
    "wider_second": (GUNDAM, 1750, 500, 4, 1),
    # 5/6 lies halfway between 2/3 and 1 as a fraction, but as a float it is nearer to 1: (2, 2). With exact
    # fractions (2, 3) would win, as 1100 * 1320 = 1,452,000 > 1,228,800.
    "floats_not_fractions": (GUNDAM, 1100, 1320, 2, 2),
    # crop limits
    "six_square": (VLLM, 3000, 3000, 2, 2),
    "six_thread": (VLLM, 1, 20000, 1, 6),
    "six_half": (VLLM, 3000, 6000, 1, 2),
    "seven_to_nine": (VisionWorkload(min_num=7), 1275, 1650, 3, 3),  # (2, 3) is too few; 3/3 0.227, 2/4 0.273
    "four_square": (FOUR, 641, 641, 2, 2),
    "four_wide": (FOUR, 3000, 1000, 4, 1),  # 3: 4/1 is 1 away, 2/2 is 2 away
    # 2.5 lies halfway between 2/2 and 4/1, and (4, 1) comes later: 645 * 258 < 819,200 < 2500 * 1000
    "four_tie_small": (FOUR, 645, 258, 2, 2),
    "four_tie_large": (FOUR, 2500, 1000, 4, 1),
    # 5.75 lies halfway between 5/2 and 9/1: (9, 1) has fewer crops and comes first, though 9 > 5 columns;
    # then (5, 2) above 2,048,000
    "fewer_crops_first": (VisionWorkload(min_num=9, max_num=10), 920, 160, 9, 1),
    "more_crops_later": (VisionWorkload(min_num=9, max_num=10), 4600, 800, 5, 2),
    # (1, 1) may come out of the search when min_num is 1: 904² = 817,216 < 819,200 = 204,800 * 4 < 906²
    "one_crop_is_none": (FROM_ONE, 904, 904, 1, 1),
    "one_crop_beaten": (FROM_ONE, 906, 906, 2, 2),
    "at_most_one": (VisionWorkload(min_num=1, max_num=1), 1, 20000, 1, 1),
    # no crop mode
    "no_crop_mode": (NO_CROPS, 1275, 1650, 1, 1),
    "no_crop_mode_thread": (NO_CROPS, 1, 20000, 1, 1),
}


@pytest.mark.parametrize("workload, width, height, columns, rows", GRIDS.values(), ids=GRIDS)
def test_grid(workload: VisionWorkload, width: int, height: int, columns: int, rows: int) -> None:
    views = 1 + columns * rows if columns > 1 or rows > 1 else 1
    assert compute_view_layout(workload, width, height) == ViewLayout(views, columns, rows)


def test_floats_see_no_tie_where_fractions_do() -> None:
    assert abs(1100 / 1320 - 1 / 1) < abs(1100 / 1320 - 2 / 3)


NONE, LETTER = ViewLayout(1, 1, 1), ViewLayout(7, 2, 3)
TOKENS = {  # workload, layout, global (q+1)q+1, crops (q*columns+1)(q*rows), total, projector: global, a crop
    # 1024/64 = 16: 17*16+1; 640/64 = 10: (20+1)*30
    "letter": (GUNDAM, LETTER, (273, 630, 903, 256, 100)),
    "lying": (GUNDAM, ViewLayout(7, 3, 2), (273, 620, 893, 256, 100)),  # (30+1)*20
    "two_wide": (GUNDAM, ViewLayout(3, 2, 1), (273, 210, 483, 256, 100)),  # (20+1)*10: the published 483
    "thread": (GUNDAM, ViewLayout(10, 1, 9), (273, 990, 1263, 256, 100)),  # (10+1)*90
    "small_page": (GUNDAM, NONE, (273, 0, 273, 256, 0)),
    # 1280/64 = 20: 21*20+1; 1024/64 = 16: (32+1)*48
    "gundam_m": (GUNDAM_M, LETTER, (421, 1584, 2005, 400, 256)),
    # without crop mode the view has image_size, not base_size: 11*10+1
    "no_crop_mode": (NO_CROPS, NONE, (111, 0, 111, 100, 0)),
    "tiny": (MODES["tiny"], NONE, (73, 0, 73, 64, 0)),  # 512/64 = 8: 9*8+1
    "small": (MODES["small"], NONE, (111, 0, 111, 100, 0)),
    "base": (MODES["base"], NONE, (273, 0, 273, 256, 0)),
    "large": (MODES["large"], NONE, (421, 0, 421, 400, 0)),
    # 656/16 = 41 patches, 41/4 = 10.25, so 11: 12*11+1; crops of 720: 45/4 = 11.25, so 12: (24+1)*36
    "rounded_up": (VisionWorkload(base_size=656, image_size=720), LETTER, (133, 900, 1033, 121, 144)),
    "one_patch": (VisionWorkload(base_size=16, image_size=16), LETTER, (3, 9, 12, 1, 1)),  # 2*1+1; 3*3
    # 1024/32/4 = 8: 9*8+1; 640/32/4 = 5: (10+1)*15
    "patch_32": (VisionWorkload(patch_size=32), LETTER, (73, 165, 238, 64, 25)),
    # 64/3 = 21.3, so 22: 23*22+1; 40/3 = 13.3, so 14: (28+1)*42
    "downsample_3": (VisionWorkload(downsample_ratio=3), LETTER, (507, 1218, 1725, 484, 196)),
}


@pytest.mark.parametrize("workload, layout, tokens", TOKENS.values(), ids=TOKENS)
def test_tokens(workload: VisionWorkload, layout: ViewLayout, tokens: tuple[int, int, int, int, int]) -> None:
    assert compute_vision_tokens(workload, layout) == VisionTokens(*tokens)


BRANCHES = {  # workload, layout, pages, global branch, crop branch: batch, side, CLIP's sequence, tokens a view
    "letter": (GUNDAM, LETTER, 1, (1, 1024, 257, 256), (6, 640, 101, 100)),
    "letter_pages": (GUNDAM, LETTER, 5, (5, 1024, 257, 256), (30, 640, 101, 100)),
    "small_page": (GUNDAM, NONE, 3, (3, 1024, 257, 256), None),
    "gundam_m": (GUNDAM_M, ViewLayout(3, 1, 2), 1, (1, 1280, 401, 400), (2, 1024, 257, 256)),
    "no_crop_mode": (NO_CROPS, NONE, 2, (2, 640, 101, 100), None),
    "rounded_up": (
        VisionWorkload(base_size=656, image_size=720), LETTER, 1, (1, 656, 122, 121), (6, 720, 145, 144)
    ),
}  # fmt: skip


@pytest.mark.parametrize("workload, layout, pages, whole, crops", BRANCHES.values(), ids=BRANCHES)
def test_branches(
    workload: VisionWorkload,
    layout: ViewLayout,
    pages: int,
    whole: tuple[int, int, int, int],
    crops: tuple[int, int, int, int] | None,
) -> None:
    def branch(batch_size: int, img_size: int, seq_len: int, num_tokens: int) -> BranchConfig:
        return BranchConfig(batch_size=batch_size, img_size=img_size, seq_len=seq_len, num_tokens=num_tokens)

    crop_branch = branch(*crops) if crops else None
    expected = VisionConfig(global_branch=branch(*whole), crop_branch=crop_branch, base_size=workload.base_size)
    assert build_vision_cfg_from_workload(workload, layout, pages) == expected


def test_branches_of_one_page_by_default() -> None:
    one = build_vision_cfg_from_workload(GUNDAM, LETTER)
    assert one == build_vision_cfg_from_workload(GUNDAM, LETTER, num_pages=1)


def test_published_defaults() -> None:
    assert VisionWorkload() == VisionWorkload(
        base_size=1024,
        image_size=640,
        crop_mode=True,
        patch_size=16,
        downsample_ratio=4,
        min_num=2,
        max_num=9,
    )


def test_named_modes() -> None:
    named = {name: (mode.base_size, mode.image_size, mode.crop_mode) for name, mode in MODES.items()}
    assert named == {
        "tiny": (512, 512, False),
        "small": (640, 640, False),
        "base": (1024, 1024, False),
        "large": (1280, 1280, False),
        "gundam": (1024, 640, True),
        "gundam_m": (1280, 1024, True),
    }
    others = {(mode.patch_size, mode.downsample_ratio, mode.min_num, mode.max_num) for mode in MODES.values()}
    assert others == {(16, 4, 2, 9)}
    assert all(workload_for_mode(name) is mode for name, mode in MODES.items())


def test_records_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        GUNDAM.base_size = 640  # type: ignore[misc]
    with pytest.raises(TypeError):
        VisionWorkload(1024)  # type: ignore[misc]
    with pytest.raises(TypeError):
        MODES["own"] = GUNDAM  # type: ignore[index]


ALL_MODES = "tiny, small, base, large, gundam, gundam_m"
UNKNOWN_MODES = {
    "close": (
        "gundan",
        rf'mode \'gundan\' does not exist; did you mean "gundam".*\? The modes are {ALL_MODES}\.$',
    ),
    "hyphen": ("gundam-m", rf'did you mean "gundam_m".* The modes are {ALL_MODES}\.$'),
    "far": ("x", rf"VisionWorkload: mode 'x' does not exist; the options are {ALL_MODES}\.$"),
    "none": (None, rf"mode None does not exist; .*{ALL_MODES}\.$"),
    "list": (["base"], rf"mode \['base'\] does not exist; .*{ALL_MODES}\.$"),
}


@pytest.mark.parametrize("name, message", UNKNOWN_MODES.values(), ids=UNKNOWN_MODES)
def test_unknown_mode(name: str, message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        workload_for_mode(name)


REFUSED_WORKLOADS = {
    "base_size_1000": (
        {"base_size": 1000},
        r"VisionWorkload: base_size=1000 is no multiple of patch_size=16 \(remainder 8\); .* are 992 and 1008\.",
    ),
    "image_size_639": ({"image_size": 639}, r"image_size=639 .*\(remainder 15\).* are 624 and 640\."),
    "base_size_below_a_patch": ({"base_size": 10}, r"base_size=10 .*\(remainder 10\).* are 16 and 32\."),
    "other_patch": (
        {"patch_size": 14},
        r"base_size=1024 .*patch_size=14 \(remainder 2\).* are 1022 and 1036\.",
    ),
    "limits_crossed": (
        {"min_num": 7, "max_num": 6},
        r"min_num=7 exceeds max_num=6; give a min_num of at most 6, or a max_num of at least 7\.",
    ),
    "max_num_endless": ({"max_num": 10_001}, "max_num=10001 exceeds 10000 crops; the published code uses 9"),
    "crop_mode_number": ({"crop_mode": 1}, "crop_mode=1 is an int; give true or false"),
    "crop_mode_text": ({"crop_mode": "false"}, "crop_mode='false' is a str; give true or false"),
    "base_size_absurd": ({"base_size": 2**31}, "base_size is more than 2147483647"),
    "base_size_beyond_text": ({"base_size": 10**9000}, "base_size is more than 2147483647"),
} | {
    f"{name}_{kind}": ({name: value}, rf"VisionWorkload: {name}={text}")
    for name in ("base_size", "image_size", "patch_size", "downsample_ratio", "min_num", "max_num")
    for kind, value, text in [
        ("zero", 0, "0 is not positive; give 1 or more"),
        ("negative", -16, "-16 is not positive"),
        ("float", 16.0, r"16\.0 is a float; give a positive int"),
        ("bool", True, "True is a bool"),
        ("text", "16", "'16' is a str"),
        ("none", None, "None is a NoneType"),
    ]
}


@pytest.mark.parametrize("arguments, message", REFUSED_WORKLOADS.values(), ids=REFUSED_WORKLOADS)
def test_workload_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        VisionWorkload(**arguments)  # type: ignore[arg-type]


REFUSED_SIDES = {
    "zero": (0, "=0 is not positive; a page has 1 pixel or more a side"),
    "negative": (-5, "=-5 is not positive"),
    "fractional": (2.5, r"=2\.5 is a float; give a whole number of pixels as an int"),
    "whole_float": (2.0, r"=2\.0 is a float"),
    "bool": (True, "=True is a bool"),
    "text": ("640", "='640' is a str"),
    "none": (None, "=None is a NoneType"),
    "nan": (math.nan, "=nan is a float"),
    "absurd": (2**31, r" is 2147483648, more than 2147483647 \(2\*\*31 - 1\) pixels"),
}


@pytest.mark.parametrize("workload", [GUNDAM, NO_CROPS], ids=["crops", "no_crops"])
@pytest.mark.parametrize("side, message", REFUSED_SIDES.values(), ids=REFUSED_SIDES)
def test_page_side_refused(workload: VisionWorkload, side: int, message: str) -> None:
    with pytest.raises(ModelMeterError, match=f"compute_view_layout: image_w{message}"):
        compute_view_layout(workload, side, 480)
    with pytest.raises(ModelMeterError, match=f"compute_view_layout: image_h{message}"):
        compute_view_layout(workload, 480, side)


REFUSED_LAYOUTS = {
    "views_too_few": (
        GUNDAM,
        ViewLayout(6, 2, 3),
        "num_views_total=6 does not fit a grid of 2 x 3, which has 7",
    ),
    "one_crop": (GUNDAM, ViewLayout(2, 1, 1), "num_views_total=2 does not fit a grid of 1 x 1, which has 1"),
    "no_columns": (GUNDAM, ViewLayout(1, 0, 3), "w_crop=0 is not positive"),
    "rows_fractional": (GUNDAM, ViewLayout(4, 1, 3.0), r"h_crop=3\.0 is a float"),  # type: ignore[arg-type]
    "crops_without_crop_mode": (NO_CROPS, LETTER, "a grid of 2 x 3 needs crop_mode=true"),
}


@pytest.mark.parametrize("workload, layout, message", REFUSED_LAYOUTS.values(), ids=REFUSED_LAYOUTS)
def test_layout_refused(workload: VisionWorkload, layout: ViewLayout, message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        compute_vision_tokens(workload, layout)
    with pytest.raises(ModelMeterError, match=message):
        build_vision_cfg_from_workload(workload, layout)


@pytest.mark.parametrize("pages", [0, -1, 1.0, True])
def test_number_of_pages_refused(pages: int) -> None:
    with pytest.raises(ModelMeterError, match="build_vision_cfg_from_workload: num_pages="):
        build_vision_cfg_from_workload(GUNDAM, LETTER, pages)


def test_widest_crop_limits_are_searched() -> None:
    workload = VisionWorkload(min_num=9_973, max_num=10_000)  # 9,973 is prime
    assert compute_view_layout(workload, 1, 20000) == ViewLayout(10_001, 1, 10_000)


sides = st.one_of(st.integers(1, 700), st.integers(1, 8000), st.integers(1, 2**31 - 1))
view_sides = st.integers(1, 130).map(lambda patches: 16 * patches)
limits = st.tuples(st.integers(1, 30), st.integers(1, 30)).map(sorted)
every_page = settings(max_examples=400, deadline=None, derandomize=True, database=None)


@every_page
@given(width=sides, height=sides, max_num=st.integers(2, 30), image_size=view_sides)
@example(width=640, height=640, max_num=9, image_size=640)
@example(width=641, height=640, max_num=9, image_size=1024)
@example(width=640, height=641, max_num=9, image_size=320)
def test_more_than_one_view_exactly_when_a_side_exceeds_640(
    width: int, height: int, max_num: int, image_size: int
) -> None:
    layout = compute_view_layout(VisionWorkload(image_size=image_size, max_num=max_num), width, height)
    assert (layout.num_views_total > 1) == (max(width, height) > 640)
    whole = VisionWorkload(image_size=image_size, max_num=max_num, crop_mode=False)
    assert compute_view_layout(whole, width, height) == ViewLayout(1, 1, 1)


@every_page
@given(width=sides, height=sides, min_max=limits)
def test_grid_lies_within_the_limits_and_none_is_nearer(width: int, height: int, min_max: list[int]) -> None:
    min_num, max_num = min_max
    layout = compute_view_layout(VisionWorkload(min_num=min_num, max_num=max_num), width, height)
    crops = layout.w_crop * layout.h_crop
    assert layout.num_views_total == (1 if crops == 1 else 1 + crops)
    if max(width, height) <= 640:
        assert crops == 1
        return
    assert min_num <= crops <= max_num
    distances = {
        (columns, rows): abs(width / height - columns / rows)
        for columns in range(1, max_num + 1)
        for rows in range(1, max_num + 1)
        if min_num <= columns * rows <= max_num
    }
    assert distances[layout.w_crop, layout.h_crop] == min(distances.values())


@every_page
@given(
    width=sides, height=sides, base_size=view_sides, image_size=view_sides, downsample_ratio=st.integers(1, 9),
    crop_mode=st.booleans(), pages=st.integers(1, 50),
)  # fmt: skip
def test_decoder_sees_projector_tokens_newlines_and_separator(
    width: int,
    height: int,
    base_size: int,
    image_size: int,
    downsample_ratio: int,
    crop_mode: bool,
    pages: int,
) -> None:
    workload = VisionWorkload(
        base_size=base_size, image_size=image_size, crop_mode=crop_mode, downsample_ratio=downsample_ratio
    )
    layout = compute_view_layout(workload, width, height)
    tokens = compute_vision_tokens(workload, layout)
    crops = layout.num_views_total - 1
    rows_global = math.isqrt(tokens.projector_tokens_global)
    rows_crops = math.isqrt(tokens.projector_tokens_per_crop) * layout.h_crop
    assert tokens.global_tokens == tokens.projector_tokens_global + rows_global + 1
    assert tokens.crop_tokens == crops * tokens.projector_tokens_per_crop + (rows_crops if crops else 0)
    assert tokens.total == tokens.global_tokens + tokens.crop_tokens

    config = build_vision_cfg_from_workload(workload, layout, pages)
    assert config.global_branch.batch_size == pages
    assert config.global_branch.num_tokens == tokens.projector_tokens_global
    assert config.global_branch.img_size == (base_size if crop_mode else image_size)
    assert (config.crop_branch is None) == (crops == 0)
    if config.crop_branch is not None:
        assert config.crop_branch.batch_size == pages * crops
        assert config.crop_branch.num_tokens == tokens.projector_tokens_per_crop


@every_page
@given(img_size=st.integers(1, 200).map(lambda patches: 16 * patches))
def test_clip_sequence_is_what_two_strided_convolutions_leave(img_size: int) -> None:
    side = img_size // 16
    for _ in range(2):  # kernel 3, stride 2, padding 1
        side = (side + 2 - 3) // 2 + 1
    config = build_vision_cfg_from_workload(VisionWorkload(base_size=img_size), NONE)
    assert (config.global_branch.seq_len, config.global_branch.num_tokens) == (side * side + 1, side * side)


def page_sizes(max_num: int) -> Iterator[tuple[int, int]]:
    """Many sizes, the same on every run: scattered ones, and ratios where two grids are equally far."""
    for step in range(90_000):  # golden-section steps scatter without repeating
        yield 1 + step * 2654435761 % 4001, 1 + step * 40503 * 7919 % 4003
    ratios = sorted({(i / j, i, j) for i in range(1, max_num + 1) for j in range(1, max_num // i + 1)})
    for _, columns, rows in ratios:  # at a grid's own ratio its multiples tie
        for scale in range(1, 2500):
            yield columns * scale, rows * scale
    for (low, i, j), (high, k, m) in pairwise(ratios):
        if low < high:  # (i/j + k/m) / 2: two ratios tie
            width, height = i * m + k * j, 2 * j * m
            for scale in range(1, 2500):
                yield width * scale, height * scale
                yield width * scale + 1, height * scale


@pytest.mark.slow
@pytest.mark.parametrize("max_num", [9, 6])
@pytest.mark.parametrize("image_size", [640, 1024])
def test_grid_equals_transformers(max_num: int, image_size: int) -> None:
    from transformers.models.deepseek_ocr2.image_processing_pil_deepseek_ocr2 import get_optimal_tiled_canvas

    workload = VisionWorkload(image_size=image_size, max_num=max_num)
    grid_ratios = [i / j for i in range(1, max_num + 1) for j in range(1, max_num + 1) if 2 <= i * j <= max_num]
    sizes = {size for size in page_sizes(max_num) if max(size) > 640}  # below, the 640 rule decides
    ties = tied_ratios = 0
    for width, height in sizes:
        layout = compute_view_layout(workload, width, height)
        expected = get_optimal_tiled_canvas((height, width), (image_size, image_size), 2, max_num)
        assert (layout.w_crop, layout.h_crop) == expected, (width, height)
        distances = [abs(width / height - ratio) for ratio in grid_ratios]
        nearest = min(distances)
        tied = [ratio for ratio, distance in zip(grid_ratios, distances, strict=True) if distance == nearest]
        ties += len(tied) > 1
        tied_ratios += len(set(tied)) > 1
    assert len(sizes) >= 100_000
    assert (ties, tied_ratios) >= (10_000, 10_000), "too few exact ties among the sizes"


def test_module_stays_light() -> None:
    code = "import sys, modelmeter.models.deepseek_ocr.vision_workload as _; print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
