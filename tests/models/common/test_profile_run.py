"""What vLLM's profile run holds: beside lines that engines printed, and beside hand counts."""

import pytest

from benchmarks.engine_limits import PRINTED
from modelmeter import load_cost_model
from modelmeter.memory import GIB
from modelmeter.models import model_package
from modelmeter.models.common.profile_run import (
    DECODER,
    SAMPLER,
    VISION,
    EncoderBudget,
    ProfileRun,
    logit_bytes,
    outside_pool_bytes,
    profile_run,
    token_bytes,
)

#: what a row of the report is off by at most; of the one with images it is said that it is not explained
EXPLAINED = {each.what: each for each in PRINTED if "with images" not in each.what}


@pytest.mark.parametrize("name", EXPLAINED)
def test_activations_that_vllm_printed_are_the_samplers(name: str) -> None:
    printed = EXPLAINED[name]
    assert printed.nbytes / GIB == pytest.approx(printed.gib, rel=0.025 if printed.sampler == "sort" else 0.05)
    assert printed.nbytes / GIB < printed.gib  # small buffers are left out


def test_fewer_rows_are_sorted_as_one() -> None:
    assert [logit_bytes("sort", rows) for rows in (127, 128)] == [50, 38]
    assert logit_bytes("kernel", 127) == logit_bytes("kernel", 128) == 14


def run(overrides: list[str], tokens: int, requests: int, sampler: str = "sort") -> ProfileRun:
    return load_cost_model(["engine=vllm", *overrides]).profile_run(tokens, requests, sampler)


def test_the_budget_that_vllm_printed_of_deepseek_ocr() -> None:
    """unslothai/unsloth#3555: "a budget of 2048 tokens, and profiled with 2 image items"."""
    found = run([], 2048, 256)
    assert found.budget == EncoderBudget(tokens=2048, image_tokens=693, images=2)
    assert found.layout == (5, 2, 2)  # of 1280 x 1280: four crops and the page, 16 x 17 + 20 x 21 + 1 tokens


def test_the_parts_of_a_run_by_hand() -> None:
    """The sampler's bytes by hand; an image's views as the walk of such a page has them, two in a row."""
    found = run([], 2048, 256)
    kept = 2 * 693 * 1280 * 2
    assert found.sampler_bytes == kept + (2048 + 2 * 256) * 1280 * 2 + 256 * 129_280 * 38
    page = load_cost_model(["engine=vllm"]).batched(2).page(1280, 1280)
    assert found.vision_bytes == page.vision.resident_peak_bytes
    assert (found.peak_part, found.peak_bytes) == (SAMPLER, found.sampler_bytes)
    # the decoder's largest: its logits, half and single precision, beside hidden states
    assert found.decoder_bytes - kept > 256 * 129_280 * 6
    assert found.decoder_bytes - kept < 256 * 129_280 * 6 + 4 * 2048 * 1280 * 2


def test_few_requests_leave_the_images_to_decide() -> None:
    found = run([], 2048, 16)
    assert found.peak_part == VISION
    assert found.parts[VISION] > found.parts[SAMPLER] > 0
    assert run([], 8192, 1, "kernel").parts[DECODER] > run([], 8192, 1, "kernel").parts[SAMPLER]


def test_a_budget_holds_one_image_at_least() -> None:
    assert EncoderBudget.of(512, 693, 693, 256) == EncoderBudget(tokens=693, image_tokens=693, images=1)
    assert EncoderBudget.of(4096, 693, 903, 3).images == 3  # no more than requests


def test_keys_and_values_are_in_the_pool() -> None:
    """What a pass holds beside them does not grow with layers that are alike, and all that it writes is theirs."""
    found = {}
    for layers in (3, 7):
        model = load_cost_model(["engine=vllm", f"decoder.num_hidden_layers={layers}"])
        walk = model.stage_walk("prefill", page=model.text(640))
        written = sum(record.kv_bytes for record in walk.records() if record.kind != "attention")
        assert written == model.text(640).prefill.kv_bytes == layers * 640 * 2 * 1280 * 2
        found[layers] = outside_pool_bytes(walk), walk.peak_bytes
    assert found[3][0] == found[7][0]
    assert found[3][1] < found[7][1]


#: model: checkpoint, tokens of the largest image that its processor's limits allow
LARGEST = {
    "qwen2_5_vl": ("qwen2_5_vl_7b", 12_845_056 // 28**2),
    "olmocr": ("olmocr_2_7b", 12_845_056 // 28**2),  # whatever its client scales a page to
    "qwen3_vl": ("qwen3_vl_2b", 16_777_216 // 32**2),
    "paddleocr_vl": ("paddleocr_vl", 2_822_400 // 28**2),
    "mineru": ("mineru2_5", 1_605_632 // 28**2),
    "deepseek_ocr2": ("deepseek_ocr2", 256 + 4 * 144 + 1),
    "unlimited_ocr": ("unlimited_ocr", 16 * 17 + 80 * 41 + 1),
    "glm_ocr": ("glm_ocr", 78 * 78),  # the square root of 9,633,792 / 2 pixels is 78.4 tokens of 28
    "qianfan_ocr": ("qianfan_ocr", (12 + 1) * 256),
}


@pytest.mark.parametrize("checkpoint, tokens", LARGEST.values(), ids=LARGEST)
def test_the_largest_image_of_a_processor(checkpoint: str, tokens: int) -> None:
    found = load_cost_model(["engine=vllm"], model=checkpoint).profile_run(2048, 256, "sort")
    assert found.budget is not None
    assert (found.budget.image_tokens, found.budget.tokens) == (tokens, max(2048, tokens))
    assert found.vision_bytes > found.budget.images * tokens * 2


def test_an_image_that_nobody_has_read_is_not_guessed() -> None:
    model = load_cost_model(["engine=vllm"], model="lighton_ocr")
    assert model.profiled_layout is None
    found = profile_run(model, 2048, 256, "sort")
    assert (found.layout, found.budget, found.vision_bytes) == (None, None, 0)


def test_features_of_deeper_layers_are_kept_beside_an_image_token() -> None:
    model = model_package("qwen3_vl").load_cost_model(["engine=vllm"])
    assert token_bytes(model) == 4 * model.config.decoder.hidden_size * 2  # three layers take some


@pytest.mark.parametrize("model", ["deepseek_ocr", "qwen2_5_vl_3b"])
def test_a_run_is_that_of_its_settings_whatever_requests_hold(model: str) -> None:
    """vLLM's dummies are single images and texts of their own: no system prompt, nor several pages."""

    def of(*overrides: str) -> ProfileRun:
        found: ProfileRun = load_cost_model(["engine=vllm", *overrides], model=model).profile_run(2048, 64, "sort")
        return found

    assert of("runtime.system_prompt_tokens=2000", "runtime.prefix_cached=0.9") == of()
    assert of("runtime.pages_per_request=2") == of()


def test_a_device_of_several_samples_from_all_logits() -> None:
    """Each has gathered them: its part of the head is half, what it samples from is not."""
    one, two = run([], 2048, 256), run(["parallel.tensor=2"], 2048, 256)
    assert two.sampler_bytes == one.sampler_bytes
