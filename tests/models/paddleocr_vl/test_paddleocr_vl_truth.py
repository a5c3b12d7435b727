"""The published model over a letter page, and the laws of its pages; figures of real modules are in tests/measured."""

from itertools import product

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.paddleocr_vl import CHECKPOINTS, load_cost_model
from tests.models.law_checks import laws_of
from tests.models.walked import walked_prefill, walked_step, walked_vision

SMALL = ("vision.num_hidden_layers=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_the_whole_model_over_a_letter_page(checkpoint: str) -> None:
    model = load_cost_model([f"checkpoint={checkpoint}"])
    page = model.page(1275, 1650)
    assert model.parameters == 905_601_648
    assert (page.tokens.total, page.seq_len) == (46 * 59, 46 * 59 + 20)
    step = model.step(page.seq_len)
    flops = tuple(cost.tensor_core_flops for cost in (page.vision, page.prefill, step))
    assert flops == (23_743_503_949_824, 26_239_181_479_936, 1_124_712_448)
    assert page.prefill.kv_bytes == 18 * 2734 * 2 * 2 * 2 * 128
    # a run that derives positions and taps within the pass is 13 MB more traffic and 0.2 MB more peak: of each of
    # 10,856 patches two positions, four rows of the table and their weights, brought to the device
    assert page.prefill.io_bytes == pytest.approx(76.86e9, rel=2e-4)
    assert page.prefill.activation_peak_bytes == pytest.approx(462.3e6, rel=6e-4)


def test_checkpoints_say_what_is_unconfirmed() -> None:
    for name in CHECKPOINTS:
        labels = {each.figure: each.label for each in load_cost_model([f"checkpoint={name}"]).assumptions()}
        assert labels["prompt_tokens"] == "assumed" and labels["layout"] == "one pass over the whole page"
        assert ("checkpoint" in labels) == (name != "paddleocr_vl")


#: overrides, and laws of all pages: a page of one column, of one row, of one token stands apart, as squares of it are
#: no copy; to one kernel, also a page of so few patches that their four rows of positions are not the whole table
LAWS = {
    "default": ((), 4),
    "eager": (("runtime.attention=eager",), 4),
    "three pages": (("runtime.batch_size=3",), 4),
    "serving": (("execution=serving",), 5),
    "serving, two pages": (("execution=serving", "runtime.batch_size=2"), 5),
    # an engine makes angles for the longer side, be it rows or columns
    "vllm": (("execution=vllm",), 5),
    "sglang, two pages": (("execution=sglang", "runtime.batch_size=2"), 5),
}


@pytest.mark.parametrize(("overrides", "laws"), LAWS.values(), ids=LAWS)
def test_one_law_holds_for_all_pages(overrides: tuple[str, ...], laws: int) -> None:
    model = load_cost_model([*SMALL, *overrides])
    model.page(1275, 1650, 2)
    model.page(1650, 1275, 2)
    with walked_operators() as names:
        for columns, rows in product((8, 9, 37, 46), (7, 11, 59)):
            model.layout_cost(MergedGrid(columns, rows), 2)
    assert names == []
    for columns, rows in ((1, 1), (1, 2), (2, 1), (5, 7)):
        grid = MergedGrid(columns, rows)
        page = model.layout_cost(grid)
        assert page.vision == walked_vision(model, grid), grid
        assert page.prefill == walked_prefill(model, page.seq_len, grid), grid
        assert model.step(page.seq_len) == walked_step(model, page.seq_len)
    assert laws_of(model, "vision") == laws_of(model, "prefill") == laws
