"""The published model over a letter page, and the laws of its pages; figures of real modules are in tests/measured."""

from itertools import product

import pytest

from benchmarks.walked import walked_operators
from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.merged_grid import MergedGrid
from tests.models.glm_ocr.small import OVERRIDES
from tests.models.law_checks import laws_of
from tests.models.walked import walked_prefill, walked_vision

N, TEXT = 4 * 46 * 59, 46 * 59 + 20


def test_the_whole_model_over_a_letter_page() -> None:
    model = load_cost_model(model="glm_ocr")
    page = model.page(1275, 1650)
    assert (page.tokens.total, page.seq_len) == (2714, TEXT)
    step = model.step(page.seq_len)
    flops = tuple(cost.tensor_core_flops for cost in (page.vision, page.prefill, step))
    assert flops == (20_516_160_012_288, 24_179_404_832_768, 1_522_401_280)
    # closed forms: the tower, its merger, the decoder, the head over the last position
    tower = 2 * N * 1176 * 1024 + 24 * (8 * N * 1024**2 + 6 * N * 1024 * 4096 + 4 * N * N * 1024)
    merger = 2 * 2714 * (4 * 1024 * 1536 + 1536**2 + 3 * 1536 * 4608)
    assert page.vision.tensor_core_flops == tower + merger
    products = 2 * 1536 * 2048 * 2 + 4 * 1536 * 1024 + 6 * 1536 * 4608
    decoder = 16 * (TEXT * products + 4 * TEXT**2 * 2048) + 2 * 1536 * 59392
    assert page.prefill.tensor_core_flops == tower + merger + decoder
    assert page.prefill.kv_bytes == 16 * TEXT * 2 * 2 * 8 * 128
    assert round(page.prefill.io_bytes / 1e9, 2) == 117.58
    # 436.6 MB where the positions of patches, [N, 2] in int64, are made within the pass; here they come with the page
    assert round((page.prefill.activation_peak_bytes + N * 2 * 8) / 1e6, 1) == 436.6


def test_parameters_are_the_published_ones() -> None:
    assert load_cost_model(model="glm_ocr").parameters == 1_107_405_824


#: overrides, and laws of all pages: a page of one token stands apart where there is one page
LAWS = {
    "default": ((), 2),
    "eager": (("runtime.attention=eager",), 2),
    "three pages": (("runtime.batch_size=3",), 1),
    "serving": (("execution=serving",), 2),
    "serving, two pages": (("execution=serving", "runtime.batch_size=2"), 1),
}


@pytest.mark.parametrize(("overrides", "laws"), LAWS.values(), ids=LAWS)
def test_one_law_holds_for_all_pages(overrides: tuple[str, ...], laws: int) -> None:
    model = load_cost_model([*OVERRIDES, *overrides], model="glm_ocr")
    model.page(1275, 1650, 2)
    with walked_operators() as names:
        for columns, rows in product((2, 5, 37, 46), (3, 4, 59)):
            model.layout_cost(MergedGrid(columns, rows), 2)
    assert names == []
    for columns, rows in ((1, 1), (1, 2), (2, 1), (5, 7)):
        grid = MergedGrid(columns, rows)
        page = model.layout_cost(grid)
        assert page.vision == walked_vision(model, grid), grid
        assert page.prefill == walked_prefill(model, page.seq_len, grid), grid
    assert laws_of(model, "vision") == laws_of(model, "prefill") == laws


def test_sizes_that_do_not_fit_together() -> None:
    with pytest.raises(ModelMeterError, match=r"mrope_section=\[16, 24, 24\] sums to 64, and decoder.head_dim=96"):
        load_cost_model(["decoder.head_dim=96"], model="glm_ocr")
    with pytest.raises(ModelMeterError, match="tokens of 1024 elements"):
        load_cost_model(["vision.out_hidden_size=1024"], model="glm_ocr")
