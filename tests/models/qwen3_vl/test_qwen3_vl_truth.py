"""Published checkpoints over a letter page, by figures of another harness; those of real modules: tests/measured."""

from itertools import product

import pytest

from benchmarks.walked import walked_operators
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.qwen3_vl import load_cost_model
from tests.models.law_checks import check_pace, check_prompts_and_steps, laws_of
from tests.models.walked import walked_prefill, walked_vision

#: checkpoints, their parameters, and of a page of 1275 x 1650 and 100 prompt tokens: FLOPs of vision, prefill and a
#: step, KV bytes of a token, and traffic (GB) and peak (MB) of the prefill. The harness had 10 MB more of traffic and
#: 0.1 MB more of peak, since it let the library derive positions of a grid within the pass, on the host.
WHOLE = {
    "qwen3_vl_2b": (
        2_127_532_032,
        (12_274_882_314_240, 19_510_078_734_336, 3_941_171_200),
        28 * 2 * 8 * 128 * 2,
        (74.67, 452.4),
    ),
    "qwen3_vl_4b": (
        4_437_815_808,
        (12_309_778_923_520, 30_954_893_475_840, 9_330_950_144),
        36 * 2 * 8 * 128 * 2,
        (107.00, 596.7),
    ),
    "qwen3_vl_8b": (
        8_767_123_696,
        (16_149_428_305_920, 49_237_298_511_872, 16_422_600_704),
        36 * 2 * 8 * 128 * 2,
        (139.49, 710.2),
    ),
}


@pytest.mark.parametrize("checkpoint", WHOLE)
def test_whole_models_over_a_letter_page(checkpoint: str) -> None:
    parameters, flops, kv_of_a_token, (traffic, peak) = WHOLE[checkpoint]
    model = load_cost_model([f"checkpoint={checkpoint}"])
    page = model.page(1275, 1650)
    step = model.step(page.seq_len)
    assert (model.parameters, page.seq_len) == (parameters, 2180)
    assert flops == tuple(cost.tensor_core_flops for cost in (page.vision, page.prefill, step))
    assert page.prefill.kv_bytes == 2180 * kv_of_a_token
    assert round(page.prefill.io_bytes / 1e9, 2) == traffic
    assert round(page.prefill.activation_peak_bytes / 1e6, 1) == peak


SMALL = (
    "vision.depth=3",
    "vision.deepstack_visual_indexes=[0,2]",
    "decoder.num_hidden_layers=3",
    "decoder.vocab_size=1000",
)

#: overrides, and laws of all pages: a page of one token stands apart where there is one page; so do small pages, in
#: which less than the table of positions is read, and where SGLang orders tokens, those of one column or one row
LAWS = {
    "default": ((), 2),
    "eager": (("runtime.attention=eager",), 2),
    "three pages": (("runtime.batch_size=3",), 1),
    "no features": (("vision.deepstack_visual_indexes=[]",), 2),
    "serving": (("execution=serving",), 3),
    "serving, features of every block": (("execution=serving", "vision.deepstack_visual_indexes=[0,1,2]"), 3),
    "vllm, two pages": (("execution=vllm", "runtime.batch_size=2"), 2),
    "vllm, no features": (("execution=vllm", "vision.deepstack_visual_indexes=[]"), 3),
    "sglang, two pages": (("execution=sglang", "runtime.batch_size=2"), 4),
    "sglang, no features": (("execution=sglang", "vision.deepstack_visual_indexes=[]"), 4),
}


@pytest.mark.parametrize(("overrides", "laws"), LAWS.values(), ids=LAWS)
def test_one_law_holds_for_all_pages(overrides: tuple[str, ...], laws: int) -> None:
    model = load_cost_model([*SMALL, *overrides])
    model.page(1275, 1650, 2)
    with walked_operators() as names:
        for columns, rows in product((2, 5, 37, 46), (3, 4, 59)):
            model.layout_cost(MergedGrid(columns, rows), 2)
    assert names == []
    for columns, rows in ((1, 1), (1, 2), (2, 1), (5, 7), (40, 3)):
        grid = MergedGrid(columns, rows)
        page = model.layout_cost(grid)
        assert page.vision == walked_vision(model, grid), grid
        assert page.prefill == walked_prefill(model, page.seq_len, grid), grid
    assert laws_of(model, "vision") == laws_of(model, "prefill") == laws


def test_prompts_and_steps() -> None:
    check_prompts_and_steps(load_cost_model(SMALL), 913)


def test_the_pace() -> None:
    check_pace(load_cost_model)
