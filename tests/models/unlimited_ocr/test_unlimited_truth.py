"""transformers' own modules on the meta device, and the account beside them: the difference is 0."""

from collections.abc import Iterator

import pytest

from modelmeter.models.common import StageCost
from modelmeter.models.unlimited_ocr import load_cost_model
from modelmeter.models.unlimited_ocr.reference.page import PageReference
from modelmeter.reference.measurement import Measurement

#: steps on both sides of the window of 128
STEPS = (0, 1, 126, 127, 128, 129, 200)

#: layers (None: all), type, attention, pages, grid (None: no image), prompt, steps; grouped heads run fused alone, the
#: library's own eager form fails on them
CASES = {
    "whole": (None, "bfloat16", "flash", 1, (3, 4), 10, (0, 128)),
    "tiles, two pages": (2, "bfloat16", "flash", 2, (2, 1), 10, (0, 127, 128)),
    "tiles, eager": (2, "bfloat16", "eager", 1, (1, 2), 10, (0, 1, 128)),
    "no tiles, float32": (2, "float32", "eager", 1, (1, 1), 10, (0, 128)),
    "text": (2, "bfloat16", "flash", 1, None, 30, STEPS),
    "text, aligned": (2, "bfloat16", "flash", 2, None, 32, STEPS),
    "text, eager": (3, "bfloat16", "eager", 1, None, 31, STEPS),
    "text, float32": (2, "float32", "flash", 2, None, 300, STEPS),
    "text, float32, eager": (2, "float32", "eager", 2, None, 29, STEPS),
    "text, grouped heads": (2, "bfloat16", "flash", 2, None, 31, (0, 1, 128)),
    "text, grouped heads, float32": (2, "float32", "flash", 1, None, 32, (0, 1, 128)),
    "text, float16": (2, "float16", "flash", 1, None, 45, (0, 1, 127, 128)),
}


def figures(cost: StageCost) -> dict[str, int | str]:
    """What both sides have."""
    return {
        "flops": cost.tensor_core_flops,
        "traffic": cost.io_bytes,
        "traffic of weights": cost.io_weight_bytes,
        "traffic of the cache": cost.io_kv_bytes,
        "live peak": cost.activation_peak_bytes,
        "at": cost.peak_operator,
        "resident peak": cost.resident_peak_bytes,
        "cache": cost.kv_bytes,
        "cache added": cost.kv_added_bytes,
        "weights": cost.weight_bytes,
    }


def measured(stage: Measurement) -> dict[str, int | str]:
    """The same of a measurement."""
    return {
        "flops": stage.flops,
        "traffic": stage.io_bytes,
        "traffic of weights": stage.traffic.weight_bytes,
        "traffic of the cache": stage.traffic.kv_bytes,
        "live peak": stage.activation_peak_bytes,
        "at": stage.peak_operator,
        "resident peak": stage.resident_peak_bytes,
        "cache": stage.kv_bytes,
        "cache added": stage.kv_added_bytes,
        "weights": stage.weight_bytes,
    }


def both_sides(case: str) -> Iterator[tuple[str, StageCost, Measurement]]:
    """Each stage of a case: the account's figures and the measured ones."""
    layers, dtype, attention, pages, grid, prompt, steps = CASES[case]
    overrides = {"dtype": dtype, "attention": attention, "batch_size": pages, "prompt_tokens": prompt}
    sizes: dict[str, int] = {"num_hidden_layers": layers} if layers else {}
    if "grouped heads" in case:
        sizes["num_key_value_heads"] = 5
    model = load_cost_model(
        [f"runtime.{name}={value}" for name, value in overrides.items()]
        + [f"decoder.{name}={value}" for name, value in sizes.items()]
    )
    reference = PageReference(dtype, attention, **sizes)
    assert model.model.parameter_count() == reference.parameter_count
    hit = int(model.experts_hit(pages))
    if grid is None:
        inputs, seq_len, cost = reference.text_inputs(prompt, pages), prompt, model.text(prompt).prefill
    else:
        tiles = grid[0] * grid[1] if grid != (1, 1) else 0
        page = model.layout_cost(model.workload.layout_of((tiles, *grid)))
        inputs, seq_len, cost = (
            reference.inputs(pages=pages, grid=grid, prompt_tokens=prompt),
            page.seq_len,
            page.prefill,
        )
        yield "vision", page.vision, reference.vision(inputs)
    assert tuple(inputs.token_ids.shape) == (pages, seq_len)
    stage, cache = reference.prefill(inputs, experts_hit=int(model.experts_hit(pages * seq_len)))
    yield "prefill", cost, stage
    done = 0
    for generated in steps:
        reference.skip(cache, generated - done, pages=pages)
        step = reference.decode_step(cache, pages=pages, experts_hit=hit)
        yield f"step {generated}", model.step(seq_len + generated, generated), step
        done = generated + 1


@pytest.mark.parametrize("case", CASES)
def test_the_account_is_what_the_modules_do(case: str) -> None:
    for name, cost, stage in both_sides(case):
        assert (name, figures(cost)) == (name, measured(stage))


def test_the_parameters_are_those_of_the_checkpoint() -> None:
    assert load_cost_model().model.parameter_count() == 3_335_504_128
