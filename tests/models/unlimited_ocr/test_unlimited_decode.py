"""The law of decode steps in two pieces: sums in closed form, times, and what the cache holds."""

from fractions import Fraction
from functools import reduce
from itertools import accumulate
from operator import add

import pytest

from modelmeter.comparison import operator_sums
from modelmeter.devices import PageKind, Roofline, compute_throughput, load_device
from modelmeter.devices.decode import decode_time
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.stage_cost import SUMS, StageCost
from modelmeter.models.unlimited_ocr import load_cost_model

pytestmark = pytest.mark.slow  # seconds, not for every change

FEW = "decoder.num_hidden_layers=3"

#: overrides; the window is full after 128 steps, or after 20, which is no multiple of the 8 that rows are aligned to
MODELS = {
    "fused": [FEW],
    "eager": [FEW, "runtime.attention=eager"],
    "serving": [FEW, "execution=serving"],
    "vllm": [FEW, "execution=vllm"],
    "sglang, two pages": [FEW, "execution=sglang", "runtime.batch_size=2", "decoder.sliding_window=20"],
    "three pages": [FEW, "runtime.batch_size=3", "decoder.sliding_window=20"],
    "short window": [FEW, "decoder.sliding_window=20"],
}


@pytest.mark.parametrize("overrides", MODELS.values(), ids=MODELS)
def test_sums_are_those_of_the_steps_one_by_one(overrides: list[str]) -> None:
    model = load_cost_model(overrides)
    for prompt in (281, 287, 30):
        walked = []
        for generated in range(140):
            step = model.step(prompt + generated, generated)
            walk, given, held = model._step_walk(prompt + generated, generated) if generated % 9 < 2 else (None, 0, 0)
            if walk is not None:
                weights = model.model.forward_memory_weight()
                assert step == StageCost.of_walk(
                    walk, weight_bytes=weights, kv_bytes=held, kv_added_bytes=held - given, given_bytes=given
                )
            walked.append(step)
        for steps, together in enumerate(accumulate(walked), start=1):
            assert model.text(prompt, steps).decode == together


def test_the_published_step() -> None:
    model = load_cost_model()
    assert model.model.parameter_count() == 3_335_504_128  # of the checkpoint
    page = model.page(1275, 1650)
    assert page.seq_len == 1523
    assert page.vision.tensor_core_flops == 5_797_765_087_232
    assert page.prefill.tensor_core_flops == 7_185_255_165_952
    assert model.step(1523).tensor_core_flops == 1_241_825_280
    assert model.step(1523 + 128, 128) == model.step(1523 + 5000, 5000)


@pytest.mark.parametrize("execution", ["transformers", "vllm", "sglang", "serving"])
def test_the_cache_is_bounded_by_the_window(execution: str) -> None:
    model = load_cost_model([FEW, f"execution={execution}"])
    position = 2 * 3 * 1280 * 2
    held = [model.step(30 + generated, generated).kv_bytes // position for generated in (0, 1, 126, 127, 128, 4000)]
    assert held == [31, 32, 157, 158, 158, 158]
    added = [model.step(30 + generated, generated).kv_added_bytes // position for generated in (0, 127, 128, 4000)]
    assert added == [1, 1, 0, 0]


@pytest.mark.parametrize("overrides", [MODELS["fused"], MODELS["serving"]], ids=["fused", "serving"])
def test_times_are_those_of_the_steps_one_by_one(overrides: list[str]) -> None:
    model = load_cost_model(overrides)
    roofline = Roofline(load_device("A100-40G"))
    one_by_one = [
        roofline.stage(model.stage_walk("decode", context=33 + generated, generated=generated))
        for generated in range(150)
    ]
    for steps in (1, 2, 8, 9, 128, 129, 130, 150):
        assert decode_time(roofline, model, model.text(33), steps) == reduce(add, one_by_one[:steps])


def test_throughput_sums_the_steps_of_its_pages() -> None:
    model = load_cost_model([FEW, "engine=best", "runtime.experts_hit=max"])
    device = load_device("A100-40G")
    pages = [model.page(640, 480), model.page(1275, 1650)]
    kinds = [PageKind(page=page, output_tokens=steps) for page, steps in zip(pages, (140, 200), strict=True)]
    result = compute_throughput(model, device, kinds, batch_size=4)
    four, roofline = model.batched(4), Roofline(device)
    total = Fraction(0)
    for page, steps in zip(pages, (140, 200), strict=True):
        total += decode_time(roofline, four, page, steps).exact_seconds / 2
    assert result.steps_s == pytest.approx(float(total), rel=1e-9)
    assert result.memory.cache_bytes == 4 * model.step(1523 + 199, 199).kv_bytes


def test_the_longest_page_is_the_one_that_holds_most() -> None:
    """A short page with many steps has more tokens before its last one than a long page, and less cache."""
    model, device = load_cost_model([FEW]), load_device("A100-40G")
    kinds = [
        PageKind(page=model.page(640, 480), output_tokens=3000),
        PageKind(page=model.page(1275, 1650), output_tokens=10),
    ]
    result = compute_throughput(model, device, kinds, batch_size=2)
    assert result.memory.cache_bytes == 2 * model.step(1523 + 9, 9).kv_bytes


def test_operators_add_up_to_the_stage() -> None:
    model = load_cost_model([FEW])
    page = model.page(640, 480, 150)
    sums = operator_sums(model, page, 150, Roofline(load_device("A100-40G")))
    for figure in (*SUMS[:5], "io_bytes"):
        groups = [each.cost for (stage, _, _), each in sums.items() if stage == "decode"]
        assert sum(getattr(cost, figure) for cost in groups) == getattr(page.decode, figure)


def test_the_holders_of_the_last_step_are_its_peak() -> None:
    model = load_cost_model([FEW])
    for steps in (1, 128, 300):
        held = model.peak_holders("decode", 640, 480, steps)
        assert sum(each.nbytes for each in held) == model.step(283 + steps - 1, steps - 1).resident_peak_bytes


def test_more_generated_than_there_is_is_refused() -> None:
    with pytest.raises(ModelMeterError, match="step: generated=6 of context=5 tokens before the step"):
        load_cost_model([FEW]).step(5, 6)


def test_layouts_share_laws_and_agree_with_walks() -> None:
    model = load_cost_model([FEW])
    for size in ((1275, 1650), (3000, 400), (400, 3000), (640, 641), (700, 22000), (640, 480)):
        page = model.page(*size)
        for stage in ("vision", "prefill"):
            walk = model.stage_walk(stage, page=page)
            cost: StageCost = getattr(page, stage)
            assert (walk.tensor_core_flops, walk.peak_bytes, walk.peak_operator) == (
                cost.tensor_core_flops,
                cost.activation_peak_bytes,
                cost.peak_operator,
            )
            assert walk.bytes_read + walk.bytes_written == cost.io_bytes


def test_a_widthless_projector_is_refused() -> None:
    with pytest.raises(ModelMeterError, match=r"vision\.clip\.hidden_size=512 takes the 1024 channels"):
        load_cost_model(["vision.clip.hidden_size=512"])
