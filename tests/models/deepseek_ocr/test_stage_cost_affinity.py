"""How the vision stage grows with the crops: from a page without them over the grids 1x2 … 3x3 to 9x1.

A page without crops has no crop pass, so what a pass costs once (weights read, position tables resized, the newline
read) separates it from the others. From two crops on everything is affine in views and newline tokens, but for the
peak: that is the larger of two, the global pass's and the crop pass's. transformers runs the global pass first, and
its peak does not know the crops; the published code runs the crops first and holds their results meanwhile.
"""

from typing import NamedTuple

import pytest

from modelmeter.models.deepseek_ocr import MODES, CostModel, PageCost, load_cost_model

Grid = tuple[int, int]

FEATURE_BYTES = 1280 * 2  # one image token, bfloat16
HIDDEN_BYTES = 2048 * 2  # what the projector makes it from
KV_BYTES_PER_TOKEN = 12 * 2 * 10 * 128 * 2  # layers, keys and values, heads, head width, bfloat16


class Case(NamedTuple):
    model: CostModel
    without_crops: PageCost
    pages: dict[Grid, PageCost]

    @property
    def crops_first(self) -> bool:
        """Whether a page's crops run before its global view, as in the published code."""
        return self.model.config.execution.name == "published"

    @property
    def tokens_a_side(self) -> int:
        """Tokens along one side of a crop."""
        return self.model.workload.image_size // 64


@pytest.fixture(
    scope="module",
    params=[
        (mode, *code)
        for mode in ("gundam", "gundam_m")
        for code in (("transformers", "flash"), ("transformers", "eager"), ("published", "flash"))
    ],
    ids="-".join,
)
def case(request: pytest.FixtureRequest) -> Case:
    mode, execution, attention = request.param
    model = load_cost_model([f"workload={mode}", f"execution={execution}", f"runtime.attention={attention}"])
    side = MODES[mode].image_size
    grids = [(columns, rows) for columns in range(1, 10) for rows in range(1, 9 // columns + 1) if columns * rows > 1]
    pages = {(columns, rows): model.page(columns * side, rows * side) for columns, rows in grids}
    assert {grid: page.layout[1:] for grid, page in pages.items()} == {grid: grid for grid in grids}
    assert len(pages) == 22
    return Case(model, model.page(640, 640), pages)


def test_tensor_core_flops_are_linear_in_the_crops(case: Case) -> None:
    first = case.without_crops.vision.tensor_core_flops
    two_crops = case.pages[1, 2].vision.tensor_core_flops - first
    for (columns, rows), page in case.pages.items():
        assert 2 * (page.vision.tensor_core_flops - first) == columns * rows * two_crops


def test_cuda_core_flops_are_affine_and_a_pass_makes_its_position_tables_once(case: Case) -> None:
    first = case.without_crops.vision.cuda_core_flops
    if case.crops_first:  # which hands on an empty view where there are no crops, and sums its pixels
        first -= 3 * case.model.workload.base_size**2
    one_view = case.pages[1, 3].vision.cuda_core_flops - case.pages[1, 2].vision.cuda_core_flops
    for (columns, rows), page in case.pages.items():
        assert page.vision.cuda_core_flops == first + once_a_pass(case) + columns * rows * one_view


def once_a_pass(case: Case) -> int:
    """Vector FLOPs of the operators that cost the same for two views and three: those of position tables."""
    size = case.model.workload.image_size
    flops = 0
    made = set()
    for part in ("image_encoder_vit", "vit_model"):
        both = [case.model.part(part, batch_size=views, img_size=size).operators() for views in (2, 3)]
        for two, three in zip(*both, strict=True):
            assert two.path == three.path
            if two.cuda_core_flops and two.cuda_core_flops == three.cuda_core_flops:
                flops += two.cuda_core_flops
                made.add(two.name)
    assert made <= {"upsample_linear", "upsample_bicubic", "arange", "add", "sub", "mul"}
    return flops


def test_traffic_is_affine_in_crops_and_newlines(case: Case) -> None:
    """Crops of several columns are brought into rows by a copy; a newline token is written, then joined to the rest.

    The published code joins a page's tokens twice: with the global view's, then as a list of one page.
    """
    side = case.tokens_a_side
    newline_bytes = (5 if case.crops_first else 3) * FEATURE_BYTES

    def rest(grid: Grid) -> int:
        columns, rows = grid
        newlines = side * rows * newline_bytes
        in_rows = columns * rows * side * side * 2 * FEATURE_BYTES if columns > 1 else 0
        return case.pages[grid].vision.io_bytes - newlines - in_rows

    one_view = rest((1, 3)) - rest((1, 2))
    assert one_view > 0
    for columns, rows in case.pages:
        assert rest((columns, rows)) == rest((1, 2)) + (columns * rows - 2) * one_view


def test_a_crop_pass_reads_the_weights_again(case: Case) -> None:
    """All but the separator; and the position ids where CLIP's table of 257 is taken as it is, at 1024 pixels.

    The published code looks its tables up, and reads what it takes from them.
    """
    first = case.without_crops.vision
    (again,) = {page.vision.io_weight_bytes - first.io_weight_bytes for page in case.pages.values()}
    if case.crops_first:
        assert again > 0
    else:
        position_ids = 257 * 8 if case.model.workload.image_size == 1024 else 0
        assert again == first.weight_bytes - FEATURE_BYTES + position_ids


def test_the_peak_is_the_larger_of_both_passes(case: Case) -> None:
    """The pass that runs second has the first one's results beside it: of a view or of each crop."""
    one_view = case.pages[1, 9].vision.activation_peak_bytes - case.pages[1, 8].vision.activation_peak_bytes
    branches = set()
    for (columns, rows), page in case.pages.items():
        crops = columns * rows
        global_pass = case.without_crops.vision.activation_peak_bytes
        crop_pass = crops * one_view
        if case.crops_first:  # SAM's map, CLIP's tokens and the projector's, all kept by name
            tokens = case.tokens_a_side**2
            global_pass += crops * (tokens * 1024 * 2 + (tokens + 1) * 1024 * 2 + tokens * FEATURE_BYTES)
        else:
            crop_pass += (case.model.workload.base_size // 64) ** 2 * (HIDDEN_BYTES + FEATURE_BYTES)
        assert page.vision.activation_peak_bytes == max(global_pass, crop_pass)
        branch = "crops" if crop_pass > global_pass else "global"
        assert page.vision.peak_path.startswith(f"{branch}.sam_model.blocks.2.attn")
        branches.add(branch)
    assert branches == {"global", "crops"}


def test_the_kv_cache_is_linear_in_tokens(case: Case) -> None:
    for page in (case.without_crops, *case.pages.values()):
        assert page.prefill.kv_bytes == (page.tokens.total + 10) * KV_BYTES_PER_TOKEN
    for output_tokens in (1, 2, 500):
        page = case.model.page(1275, 1650, output_tokens)
        assert page.decode.kv_bytes == (page.tokens.total + 10 + output_tokens) * KV_BYTES_PER_TOKEN
        assert page.decode.kv_added_bytes == output_tokens * KV_BYTES_PER_TOKEN


def test_tokens_are_crops_and_a_newline_a_row(case: Case) -> None:
    side = case.tokens_a_side
    for (columns, rows), page in case.pages.items():
        added = page.tokens.total - case.without_crops.tokens.total
        assert added == columns * rows * side * side + rows * side


def test_weights_do_not_depend_on_the_page(case: Case) -> None:
    unused = 0 if case.crops_first else 602_112  # a patch convolution that transformers does not have
    parameters = 95_569_152 + 303_177_728 - unused + 2_622_720 + 2 * 1280
    for page in (case.without_crops, *case.pages.values()):
        assert page.vision.weight_bytes == 2 * parameters
        assert page.prefill.weight_bytes == case.without_crops.prefill.weight_bytes == 2 * (3_336_106_240 - unused)
