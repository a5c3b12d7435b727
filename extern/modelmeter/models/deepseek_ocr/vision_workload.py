"""What a page asks of DeepSeek-OCR's vision stage: its views, its crop grid, its tokens.

Sizes are pixels, grids are counted in crops (columns x rows), tokens are positions of a sequence. Every
number is an exact integer but one: the grid search compares Python floats, as the published code does.
The rules are those of the published Hugging Face preprocessing (`dynamic_preprocess` and `infer` of
DeepSeek-OCR); the tiles are `image_size` pixels wide, as in the published vLLM example.

    >>> workload = workload_for_mode("gundam")
    >>> layout = compute_view_layout(workload, 1275, 1650)
    >>> layout
    ViewLayout(num_views_total=7, w_crop=2, h_crop=3)
    >>> compute_vision_tokens(workload, layout).total
    903

Left out: the pixels (resizing, padding and normalising run on the host before the model), and the prompt's
tokens around the image. Another named mode is one more line in `MODES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from modelmeter.errors import ModelMeterError, near, type_of
from modelmeter.models.common.contract import Layouts, Views
from modelmeter.models.common.image_rule import WHOLE, ImageRule, KindRule, tiles
from modelmeter.models.common.tiles import (
    MAX_TILES,
    candidate_grids,
    nearest_grid,
    nearest_grids,
    page_sides,
    page_sized_for,
)
from modelmeter.page_sizes import MAX_SIDE, PageSize, check_side
from modelmeter.sizes import Size
from modelmeter.units import ceil_div

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NO_CROP_SIDE: Final = 640
"""Pixels; an image with no side above this is never cropped, whatever `image_size` is.

Source: `infer` of the published `modeling_deepseekocr.py`, which has the number written out.
"""

MAX_CROPS: Final = MAX_TILES
"""Largest `max_num` that is searched."""


@dataclass(frozen=True, kw_only=True)
class VisionWorkload:
    """The published model's own knobs of the vision stage.

    base_size: side of the global view in crop mode, pixels (without crop mode used for reporting only).
    image_size: side of a crop in crop mode, of the only view without it, pixels.
    crop_mode: whether a page larger than `NO_CROP_SIDE` is also cut into crops.
    patch_size: side of a patch of the SAM encoder, pixels.
    downsample_ratio: patches a side that become one token.
    min_num, max_num: limits of the number of crops, both included.
    """

    base_size: int = 1024
    image_size: int = 640
    crop_mode: bool = True
    patch_size: int = 16
    downsample_ratio: int = 4
    min_num: int = 2
    max_num: int = 9

    def __post_init__(self) -> None:
        for name in ("base_size", "image_size", "patch_size", "downsample_ratio", "min_num", "max_num"):
            _check_positive("VisionWorkload", name, getattr(self, name))
        if not isinstance(self.crop_mode, bool):
            raise ModelMeterError(
                f"VisionWorkload: crop_mode={self.crop_mode!r} is {type_of(self.crop_mode)}; give true or false."
            )
        for name in ("base_size", "image_size"):
            _check_view_side(name, getattr(self, name), self.patch_size)
        if self.min_num > self.max_num:
            raise ModelMeterError(
                f"VisionWorkload: min_num={self.min_num} exceeds max_num={self.max_num}; "
                f"give a min_num of at most {self.max_num}, or a max_num of at least {self.min_num}."
            )
        if self.max_num > MAX_CROPS:
            raise ModelMeterError(
                f"VisionWorkload: max_num={self.max_num} exceeds {MAX_CROPS} crops; "
                "the published code uses 9, the published vLLM example 6."
            )

    # -- what all models' workloads answer: see `models.common.contract.Workload` ------------------------------------

    layout_columns: ClassVar[tuple[str, ...]] = ("views", "crop_columns", "crop_rows")

    layout_title: ClassVar[str] = "crops"
    layout_words: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"num_views_total": "views", "w_crop": "crops, columns", "h_crop": "crops, rows"}
    )

    def layout_text(self, layout: Sequence[int]) -> str:
        """Columns x rows of the crops."""
        views, columns, rows = layout
        return "none" if views == 1 else f"{columns} x {rows}"

    def layout(self, width: int, height: int) -> ViewLayout:
        """`compute_view_layout`."""
        return compute_view_layout(self, width, height)

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """`compute_view_layouts`."""
        return compute_view_layouts(self, widths, heights)

    def layout_of(self, fields: Sequence[int]) -> ViewLayout:
        """The layout with these fields."""
        return fields if isinstance(fields, ViewLayout) else ViewLayout(*fields)

    def tokens(self, layout: ViewLayout) -> VisionTokens:
        """`compute_vision_tokens`."""
        return compute_vision_tokens(self, layout)

    def views(self, layout: ViewLayout) -> tuple[Views, ...]:
        """The global view, and the crops if there are any."""
        tokens, side = compute_vision_tokens(self, layout), _global_size(self)
        whole = Views("global", 1, side, side, 1, 1, tokens.global_tokens)
        if layout.num_views_total == 1:
            return (whole,)
        columns, rows, crop = layout.w_crop, layout.h_crop, self.image_size
        return whole, Views("crops", columns * rows, crop, crop, columns, rows, tokens.crop_tokens)

    tile_limits: ClassVar[tuple[str, str]] = ("min_num", "max_num")

    def check_tiled(self) -> None:
        """Refuse a mode without crops."""
        if not self.crop_mode:
            raise ModelMeterError(
                "sweep: workload.crop_mode=false cuts no page; take a mode with crops, workload=gundam or gundam_m."
            )

    def page_of_grid(self, columns: int, rows: int) -> PageSize:
        """A page that `compute_view_layout` cuts into this grid."""

        def cut(width: int, height: int) -> tuple[int, int]:
            layout = compute_view_layout(self, width, height)
            return layout.w_crop, layout.h_crop

        page = page_sized_for(columns, rows, tile_side=self.image_size, uncut_side=NO_CROP_SIDE, cut=cut)
        if page is None:
            raise ModelMeterError(
                f"sweep: no page is cut into {columns} x {rows} crops with workload.image_size={self.image_size}, "
                f"since pages of up to {NO_CROP_SIDE} pixels a side are not cut; give a larger workload.image_size."
            )
        return page

    def kind(self, layout: ViewLayout) -> bool:
        """Whether there are crops."""
        return layout.num_views_total > 1

    def sizes(self, layout: ViewLayout) -> dict[str, int]:
        """Columns and rows of the crops, where there are any."""
        return {"columns": layout.w_crop, "rows": layout.h_crop} if layout.num_views_total > 1 else {}

    def with_sizes(self, layout: ViewLayout, sizes: Mapping[str, Any]) -> ViewLayout:
        """The grid of these columns and rows."""
        if not sizes:
            return layout
        columns, rows = sizes["columns"], sizes["rows"]
        return ViewLayout(1 + columns * rows, columns, rows)

    def geometry(self, layout: ViewLayout, pages: int) -> PageGeometry:
        """The batches of views of `pages` pages, and the grid."""
        crops = layout.w_crop * layout.h_crop
        vision = VisionConfig(
            global_branch=_branch(self, pages, _global_size(self)),
            crop_branch=_branch(self, pages * crops, self.image_size) if layout.num_views_total > 1 else None,
            base_size=self.base_size,
        )
        return PageGeometry(vision, (layout.w_crop, layout.h_crop))

    def image_rule(self) -> ImageRule:
        """The rule as data; a grid of one crop stands for none."""
        cut = KindRule("cut", True, (), {"columns": "1*columns", "rows": "1*rows"})
        uncut = KindRule("uncut", False, (("1*columns*rows", "==", 0, 1),), {})
        limits = {"side": self.image_size, "least": self.min_num, "most": self.max_num, "most_a_side": self.max_num}
        steps = (tiles(uncut=NO_CROP_SIDE, **limits) if self.crop_mode else WHOLE,)
        return ImageRule(steps, (uncut, cut))

    def examples(self) -> list[ViewLayout]:
        """`layout_kinds`."""
        return layout_kinds(self)


def _check_positive(who: str, name: str, value: object) -> None:
    if isinstance(value, Size):  # of a layout over variables, which are 1 or more
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ModelMeterError(f"{who}: {name}={value!r} is {type_of(value)}; give a positive int.")
    if value < 1:
        raise ModelMeterError(f"{who}: {name}={value} is not positive; give 1 or more.")
    if value > MAX_SIDE:
        raise ModelMeterError(f"{who}: {name} is more than {MAX_SIDE} (2**31 - 1); give less.")


def _check_view_side(name: str, side: int, patch_size: int) -> None:
    if side % patch_size:
        below = side - side % patch_size or patch_size  # a side below one patch: the first two that work
        raise ModelMeterError(
            f"VisionWorkload: {name}={side} is no multiple of patch_size={patch_size} "
            f"(remainder {side % patch_size}); the nearest sizes that work are {below} and {below + patch_size}."
        )


MODES: Final[Mapping[str, VisionWorkload]] = MappingProxyType(
    {
        "tiny": VisionWorkload(base_size=512, image_size=512, crop_mode=False),
        "small": VisionWorkload(base_size=640, image_size=640, crop_mode=False),
        "base": VisionWorkload(base_size=1024, image_size=1024, crop_mode=False),
        "large": VisionWorkload(base_size=1280, image_size=1280, crop_mode=False),
        "gundam": VisionWorkload(base_size=1024, image_size=640, crop_mode=True),
        "gundam_m": VisionWorkload(base_size=1280, image_size=1024, crop_mode=True),
    }
)
"""The modes that the model's authors name (arXiv:2510.18234, section 3.2.2; gundam_m is their Gundam-M)."""


def workload_for_mode(name: str) -> VisionWorkload:
    """The workload of a named mode, a key of `MODES`."""
    if isinstance(name, str) and name in MODES:
        return MODES[name]
    hint, modes = near(str(name), MODES), ", ".join(MODES)
    if modes not in hint:
        hint = f"{hint} The modes are {modes}."
    raise ModelMeterError(f"VisionWorkload: mode {name!r} does not exist; {hint}")


class ViewLayout(NamedTuple):
    """How a page is cut: `w_crop` columns and `h_crop` rows of crops; a grid of 1 x 1 stands for no crops.

    `num_views_total` counts the global view: 1 without crops, 1 + w_crop * h_crop with them.
    """

    num_views_total: int
    w_crop: int
    h_crop: int


def compute_view_layout(workload: VisionWorkload, image_w: int, image_h: int) -> ViewLayout:
    """Views and crop grid of a page of `image_w` x `image_h` pixels, its EXIF orientation already applied.

    Source: `dynamic_preprocess` and `find_closest_aspect_ratio` of the published `modeling_deepseekocr.py`.
    """
    check_side("compute_view_layout", "image_w", image_w)
    check_side("compute_view_layout", "image_h", image_h)
    if not workload.crop_mode or (image_w <= NO_CROP_SIDE and image_h <= NO_CROP_SIDE):
        return ViewLayout(num_views_total=1, w_crop=1, h_crop=1)

    columns, rows = nearest_grid(image_w, image_h, workload.image_size, workload.min_num, workload.max_num)
    crops = columns * rows
    return ViewLayout(1 + crops if crops > 1 else 1, columns, rows)


def compute_view_layouts(workload: VisionWorkload, widths: ArrayLike, heights: ArrayLike) -> Layouts:
    """`compute_view_layout` of many pages at once: sides [pages] in pixels, both of an integer type.

    Needs numpy, which `compute_view_layout` does not.
    """
    import numpy as np

    who = "compute_view_layouts"
    if not workload.crop_mode:
        all_w, _ = page_sides(who, widths, heights)
        return Layouts(np.zeros(all_w.shape, np.int64), (ViewLayout(num_views_total=1, w_crop=1, h_crop=1),))
    indices, grids = nearest_grids(
        who,
        widths,
        heights,
        uncut_side=NO_CROP_SIDE,
        tile_side=workload.image_size,
        min_num=workload.min_num,
        max_num=workload.max_num,
    )
    layouts = (ViewLayout(1 + columns * rows if columns * rows > 1 else 1, columns, rows) for columns, rows in grids)
    return Layouts(indices, tuple(layouts))


def layout_kinds(workload: VisionWorkload) -> list[ViewLayout]:
    """A layout of each kind that pages can have: uncut, or cut into one row, one column, or several of both."""
    kinds = {(False, False): ViewLayout(1, 1, 1)}
    if workload.crop_mode:
        for columns, rows, _ in candidate_grids(workload.min_num, workload.max_num):
            kinds.setdefault((columns > 1, rows > 1), ViewLayout(1 + columns * rows, columns, rows))
    return list(kinds.values())


class VisionTokens(NamedTuple):
    """Tokens of one page. The decoder sees newlines and the separator; the projector does not.

    global_tokens: the global view's tokens, a newline after each of its rows, and the separator.
    crop_tokens: the crops' tokens and the newlines after the rows that they form together; 0 without crops.
    total: both, the image's positions in the decoder (the prompt's are not among them).
    projector_tokens_global, projector_tokens_per_crop: what the projector makes of one view; 0 without crops.
    """

    global_tokens: int
    crop_tokens: int
    total: int
    projector_tokens_global: int
    projector_tokens_per_crop: int

    def by_view(self) -> dict[str, int]:
        """The global view's, and the crops'."""
        return {"global": self.global_tokens, "crops": self.crop_tokens}


def compute_vision_tokens(workload: VisionWorkload, layout: ViewLayout) -> VisionTokens:
    """Tokens of a page with this layout. Source: `infer` of the published `modeling_deepseekocr.py`."""
    has_crops = _check_layout(workload, layout)
    side = _tokens_per_side(workload, _global_size(workload))
    global_tokens = (side + 1) * side + 1
    crop_tokens, crop_side = 0, 0
    if has_crops:
        crop_side = _tokens_per_side(workload, workload.image_size)
        crop_tokens = (crop_side * layout.w_crop + 1) * (crop_side * layout.h_crop)
    return VisionTokens(
        global_tokens=global_tokens,
        crop_tokens=crop_tokens,
        total=global_tokens + crop_tokens,
        projector_tokens_global=side * side,
        projector_tokens_per_crop=crop_side * crop_side,
    )


@dataclass(frozen=True, kw_only=True)
class BranchConfig:
    """One batch of equal views through SAM, CLIP and the projector.

    batch_size: views. img_size: side of a view, pixels. seq_len: CLIP's sequence a view, class token included.
    num_tokens: tokens a view that the projector sees.
    """

    batch_size: int
    img_size: int
    seq_len: int
    num_tokens: int


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Both branches of the vision stage; `crop_branch` is None for a page without crops.

    base_size: the mode's, pixels; what the published code hands on in place of crops has this side.
    """

    global_branch: BranchConfig
    crop_branch: BranchConfig | None
    base_size: int


class PageGeometry(NamedTuple):
    """What the vision stage is told of pages: their branches, and the grid of the crops (columns, rows)."""

    vision: VisionConfig
    grid: tuple[int, int]


def build_vision_cfg_from_workload(workload: VisionWorkload, layout: ViewLayout, num_pages: int = 1) -> VisionConfig:
    """The batches that `num_pages` pages of this layout send through the vision stage."""
    _check_positive("build_vision_cfg_from_workload", "num_pages", num_pages)
    _check_layout(workload, layout)
    return workload.geometry(layout, num_pages).vision


def _branch(workload: VisionWorkload, views: int, img_size: int) -> BranchConfig:
    side = _tokens_per_side(workload, img_size)
    return BranchConfig(batch_size=views, img_size=img_size, seq_len=side * side + 1, num_tokens=side * side)


def _global_size(workload: VisionWorkload) -> int:
    """Side of the view that shows the whole page, pixels."""
    return workload.base_size if workload.crop_mode else workload.image_size


def _tokens_per_side(workload: VisionWorkload, img_size: int) -> int:
    """Tokens along one side of a view; a remainder of the patch grid makes one more, as strides round up."""
    return ceil_div(img_size // workload.patch_size, workload.downsample_ratio)


def _check_layout(workload: VisionWorkload, layout: ViewLayout) -> bool:
    """Whether the layout has crops; refuses one that no page of this workload can have."""
    _check_positive("ViewLayout", "w_crop", layout.w_crop)
    _check_positive("ViewLayout", "h_crop", layout.h_crop)
    crops = layout.w_crop * layout.h_crop
    views = 1 + crops if crops > 1 else 1
    if layout.num_views_total != views:
        raise ModelMeterError(
            f"ViewLayout: num_views_total={layout.num_views_total} does not fit a grid of "
            f"{layout.w_crop} x {layout.h_crop}, which has {views} (the global view counted); "
            "take the layout from compute_view_layout."
        )
    if crops > 1 and not workload.crop_mode:
        raise ModelMeterError(
            f"ViewLayout: a grid of {layout.w_crop} x {layout.h_crop} needs crop_mode=true, and this workload "
            "has false; take the layout from compute_view_layout with the same workload."
        )
    return crops > 1
