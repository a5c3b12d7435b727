"""The published model over a letter page, and the laws of its pages; figures of real modules are in tests/measured."""

from itertools import product

import pytest

from benchmarks.walked import walked_operators
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.hunyuan_vl import load_cost_model
from tests.models.law_checks import check_pace, check_prompts_and_steps, laws_of
from tests.models.walked import walked_prefill, walked_vision

SMALL = ("vision.num_hidden_layers=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")


def test_published_figures() -> None:
    """Those that another harness measured of the published model, before this package was written, as far as shown.

    It made token ids and four coordinates of each position within the call that it measured: 40 bytes a position.
    """
    model = load_cost_model()
    # the checkpoint's index says so many bytes of weights, in bfloat16
    assert 2 * model.parameters == 1_992_416_224
    page = model.page(1275, 1650)
    step = model.step(2174)
    assert page.seq_len == 2174
    flops = tuple(cost.tensor_core_flops for cost in (page.vision, page.prefill, step))
    assert flops == (15_575_760_764_928, 18_310_678_417_408, 1_505_529_856)
    assert f"{page.prefill.io_bytes / 1e9:.2f}" == "48.62"
    assert f"{(page.prefill.activation_peak_bytes + 40 * 2174) / 1e6:.1f}" == "347.5"
    assert f"{page.prefill.kv_bytes / 1e6:.1f}" == "213.7"
    assert page.prefill.kv_bytes == 24 * 2174 * 2 * 8 * 128 * 2


def test_flops_in_closed_form() -> None:
    """From the published sizes, without the layers: what `test_published_figures` has, of pages of other shapes."""
    model = load_cost_model()
    for columns, rows in ((40, 52), (1, 9), (94, 12)):
        patches, tokens = 4 * columns * rows, rows * (columns + 1) + 2
        block = 8 * patches * 1152**2 + 4 * patches * 1152 * 4304 + 4 * patches**2 * 1152
        squares = 2 * columns * rows * (4 * 1152 * 2304 + 2304 * 4608)
        vision = 2 * patches * 768 * 1152 + 27 * block + squares + 2 * rows * (columns + 1) * 4608 * 1024
        prompt = tokens + 40
        layer = 2 * prompt * 1024 * (2048 + 2 * 1024 + 2048 + 3 * 3584) + 4 * prompt**2 * 2048
        page = model.layout_cost(MergedGrid(columns, rows))
        assert page.vision.tensor_core_flops == vision
        assert page.prefill.tensor_core_flops == vision + 24 * layer + 2 * 1024 * 120818


#: overrides; of all pages but those of a single column or row, where strides say less, one page has one law, several
#: have three, by what their peak is in: the table of positions being resized, or what comes after
LAWS = {
    "default": (),
    "eager": ("runtime.attention=eager",),
    "three pages": ("runtime.batch_size=3",),
    "vllm": ("execution=vllm",),
    "vllm, two pages": ("execution=vllm", "runtime.batch_size=2"),
    "serving": ("execution=serving",),
    "serving, two pages": ("execution=serving", "runtime.batch_size=2"),
}


@pytest.mark.parametrize("overrides", LAWS.values(), ids=LAWS)
def test_pages_are_arithmetic(overrides: tuple[str, ...]) -> None:
    model = load_cost_model([*SMALL, *overrides])
    for columns, rows in ((2, 2), (5, 68), (20, 26), (64, 64)):
        model.layout_cost(MergedGrid(columns, rows), 2)

    with walked_operators() as names:
        for columns, rows in product((2, 5, 40, 106), (3, 4, 76)):
            model.layout_cost(MergedGrid(columns, rows), 2)
    assert names == [] and laws_of(model, "vision") <= (1 if model.batch_size == 1 else 3)
    for columns, rows in ((1, 1), (1, 2), (2, 1), (1, 9), (5, 7), (9, 1)):
        grid = MergedGrid(columns, rows)
        page = model.layout_cost(grid)
        assert page.vision == walked_vision(model, grid), grid
        assert page.prefill == walked_prefill(model, page.seq_len, grid), grid
    assert max(laws_of(model, "vision"), laws_of(model, "prefill")) <= 7


@pytest.mark.parametrize("execution", ["transformers", "vllm", "serving"])
def test_prompts_and_steps_are_arithmetic(execution: str) -> None:
    check_prompts_and_steps(load_cost_model([*SMALL, f"execution={execution}"]), 2174)


def test_pace() -> None:
    check_pace(load_cost_model)


WRONG = {
    "vision.num_attention_heads=7": "hidden_size=1152 does not divide by num_attention_heads=7 (remainder 4)",
    "vision.patch_size=14": "workload.patch_size=16 differs from vision.patch_size=14",
    "vision.out_hidden_size=512": "vision.out_hidden_size=512 differs from decoder.hidden_size=1024; set both",
    "decoder.mrope_section=[16,16,16]": "sums to 48, and decoder.head_dim=128; let it sum to half of a head",
    "decoder.mrope_section=[32,32]": "decoder.mrope_section",
}


@pytest.mark.parametrize(("override", "said"), WRONG.items(), ids=WRONG)
def test_sizes_that_do_not_fit_are_refused(override: str, said: str) -> None:
    with pytest.raises(ModelMeterError) as refused:
        load_cost_model([override])
    assert said in str(refused.value)
