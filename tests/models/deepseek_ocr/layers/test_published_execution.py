"""execution=published against the replica of the published code: every operator's bytes, peaks, FLOPs."""

from typing import Any

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import ImageEncoderViT, VitModel, load_cost_model
from modelmeter.walk import Walk
from tests.measured.account import digest
from tests.measured.recorded import recorded
from tests.measured.series.published import ARCHITECTURES, CASES, Prompt, Views


def figures(walk: Walk, given_bytes: int = 0, kv_bytes: int = 0) -> dict[str, Any]:
    """The figures of a walk as they are recorded; it was given a cache, and left one."""
    return {
        "flops": walk.tensor_core_flops,
        "peak_bytes": walk.peak_bytes,
        "peak_operator": walk.peak_operator,
        "resident_peak_bytes": given_bytes + walk.resident_peak_bytes,
        "kv_bytes": kv_bytes,
        "operators": digest((record.aten, record.bytes_read, record.bytes_written) for record in walk.records()),
    }


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if isinstance(case, Views)])
def test_vision_parts(name: str) -> None:
    case = CASES[name]
    common: Any = {"dtype": case.dtype, "attention": case.attention, "execution": "published"}
    sam, clip = (
        figures(part(batch_size=case.views, img_size=case.side, **common).walk())
        for part in (ImageEncoderViT, VitModel)
    )
    assert {"sam": sam, "clip": clip} == recorded("published", name)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if isinstance(case, Prompt)])
def test_a_prefill_of_the_decoder_and_the_step_after_it(name: str) -> None:
    case = CASES[name]
    assert isinstance(case, Prompt)
    runtime = {"dtype": case.dtype, "attention": case.attention, "batch_size": case.pages}
    overrides = [
        "execution=published",
        *(f"runtime.{key}={value}" for key, value in runtime.items()),
        *(f"decoder.{key}={value}" for key, value in ARCHITECTURES[case.architecture].items()),
    ]
    model = load_cost_model(overrides)
    pages, tokens = case.pages, case.tokens
    position_bytes = model.text(tokens).prefill.kv_bytes // tokens
    walk = model.model.decoder_walk(pages, tokens, model.experts_hit(pages * tokens))
    prefill = figures(walk, kv_bytes=tokens * position_bytes)
    walk, given_bytes, kv_bytes = model.model.decode_walk(pages, tokens, model.experts_hit(pages), "all")
    step = figures(walk, given_bytes, kv_bytes)
    assert (given_bytes, kv_bytes) == (tokens * position_bytes, (tokens + 1) * position_bytes)
    assert {"prefill": prefill, "step": step} == recorded("published", name)


@pytest.mark.parametrize("mode, side", [("gundam", 1024), ("tiny", 512), ("tiny workload.base_size=768", 768)])
def test_a_page_without_crops_has_zeros_in_float32_in_their_place(mode: str, side: int) -> None:
    """infer() makes them of base_size x base_size, without a type; the model sums them: are there crops?"""
    model = load_cost_model(["execution=published", *f"workload={mode}".split()])
    page = model.page(300, 300)
    own_pixels, crops = (
        record for record in model.stage_walk("vision", page=page).records() if record.aten == "aten.sum.default"
    )
    assert (crops.bytes_read, crops.bytes_written) == (3 * side * side * 4, 4)
    view = page.views[0].width
    assert (own_pixels.bytes_read, own_pixels.bytes_written) == (3 * view * view * 2, 2)


def test_parameters() -> None:
    assert load_cost_model(["execution=published"]).model.parameter_count() == 3_336_106_240


def test_rotary_and_head_are_the_only_other_flops() -> None:
    """FACTS: 12 products of 2 * 64 * S a prefill, and the head over all positions."""
    published, other = (load_cost_model([f"execution={name}"]) for name in ("published", "transformers"))
    tokens = 913
    rotary = 12 * 2 * 64 * tokens
    head = 2 * 1280 * 129280
    difference = published.text(tokens).prefill.tensor_core_flops - other.text(tokens).prefill.tensor_core_flops
    assert difference == rotary + (tokens - 1) * head
    step = published.step(tokens).tensor_core_flops - other.step(tokens).tensor_core_flops
    assert step == 12 * 2 * 64


def test_float32_wants_eager_attention() -> None:
    with pytest.raises(ModelMeterError, match=r"half precision only, and runtime.dtype=float32; set runtime.attention"):
        load_cost_model(["execution=published", "runtime.dtype=float32"]).text(10)


def test_experts_hit_on_average_are_rounded_once_a_layer() -> None:
    """The bytes of a layer's experts: their number times an expert's bytes, rounded once."""
    model = load_cost_model(["execution=published", "runtime.experts_hit=uniform"])
    most = load_cost_model(["execution=published"])
    expert = 3 * 1280 * 896 * 2
    layers = 11
    read = round(model.experts_hit(7) * expert)
    difference = most.text(7).prefill.io_weight_bytes - model.text(7).prefill.io_weight_bytes
    assert difference == layers * (42 * expert - read)
