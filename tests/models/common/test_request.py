"""What a request holds: several pages, a system prompt, a prefix that is cached, and what is refused."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest

from modelmeter import load_cost_model, models
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.request import Request, keeps_prefixes
from tests.models.walked import walked_prefill

#: pages of each model that are small enough for several of them in a request
SIZE = (300, 400)
#: by model and execution, where that is any
RUN = [(model, execution) for model in models.MODELS for execution in models.model_package(model).EXECUTIONS]
SEVERAL = [each for each in RUN if each[1] != "published"]


def model_of(name: str, execution: str, *keys: str) -> Any:
    overrides = [f"execution={execution}", *(f"runtime.{key}" for key in keys)]
    if name == "qianfan_ocr":  # 12 views of a page, however small
        overrides.append("workload.crop_to_patches=false")
    return load_cost_model(overrides, model=name)


@pytest.mark.parametrize("name, execution", SEVERAL)
def test_a_request_of_three_pages_is_vision_of_three_and_one_longer_prompt(name: str, execution: str) -> None:
    one = model_of(name, execution, "prompt_tokens=9")
    three = model_of(name, execution, "prompt_tokens=9", "pages_per_request=3", "system_prompt_tokens=5")
    page, request = one.page(*SIZE, 2), three.page(*SIZE, 2)
    assert (request.layout, request.tokens) == (page.layout, page.tokens)
    assert request.seq_len == 3 * page.tokens.total + 9 + 5
    for figure in ("tensor_core_flops", "weight_bytes"):
        assert getattr(request.vision, figure) == getattr(one.batched(3).page(*SIZE).vision, figure)
    # what comes after vision is a prompt of as many positions, whatever they stand for
    text = one.text(request.seq_len, 2)
    assert request.decode == text.decode
    assert request.prefill.tensor_core_flops - request.vision.tensor_core_flops == text.prefill.tensor_core_flops
    assert request.prefill.kv_bytes == text.prefill.kv_bytes


@pytest.mark.parametrize("name, execution", [each for each in SEVERAL if each[0] != "unlimited_ocr"])
def test_a_prefill_over_a_cache_computes_the_rest_alone(name: str, execution: str) -> None:
    model = model_of(name, execution, "system_prompt_tokens=48", "pages_per_request=2")
    page = model.page(*SIZE)
    cached = 32
    over = model.prefill_over_cache(page, cached)
    assert over.kv_bytes == page.prefill.kv_bytes
    assert over.kv_added_bytes * page.seq_len == page.prefill.kv_bytes * (page.seq_len - cached)
    assert over.tensor_core_flops < page.prefill.tensor_core_flops
    assert model.prefill_over_cache(page, 0) == page.prefill


@pytest.mark.parametrize("execution", ["transformers", "vllm"])
@pytest.mark.parametrize("name", ["deepseek_ocr", "qwen3_vl", "idefics3"])
def test_laws_of_requests_are_walks(name: str, execution: str) -> None:
    model = model_of(name, execution, "system_prompt_tokens=70", "pages_per_request=2")
    for size in (SIZE, (500, 300), (640, 640)):
        page = model.page(*size)
        for cached in (0, 1, 16, 33, 64, 70):
            walked = walked_prefill(model, page.seq_len, page.layout, cached)
            assert model.prefill_over_cache(page, cached) == walked, (size, cached)
    text = model.text(20)
    assert text.seq_len == 90
    assert model.prefill_over_cache(text, 64) == walked_prefill(model, 90, None, 64)


def test_attention_over_a_cache_by_hand() -> None:
    """Queries of the rest, keys of all; nothing else of a text depends on what is cached."""
    model = model_of("lighton_ocr", "serving", "system_prompt_tokens=64")
    decoder = model.config.decoder
    text = model.text(36)
    whole, over = text.prefill, model.prefill_over_cache(text, 64)
    per_score = 4 * decoder.num_attention_heads * decoder.head_dim * decoder.num_hidden_layers
    attention = per_score * 100 * 100, per_score * 36 * 100
    head = 2 * decoder.hidden_size * decoder.vocab_size
    linear = Fraction(whole.tensor_core_flops - head - attention[0], 100)
    assert over.tensor_core_flops == head + 36 * linear + attention[1]


def test_whole_blocks_are_cached() -> None:
    assert Request(system_tokens=47, block_size=16).cached_tokens == 32
    assert Request(system_tokens=47).cached_tokens == 47
    assert Request(system_tokens=15, block_size=16).cached_tokens == 0


def test_what_is_declared_is_said() -> None:
    plain = model_of("deepseek_ocr", "vllm")
    assert not dict(plain.request.settings())
    keys = ("system_prompt_tokens=500", "pages_per_request=2", "prefix_cached=0.75")
    model = load_cost_model(["engine=vllm", *(f"runtime.{key}" for key in keys)])
    assert dict(model.request.settings()).items() <= model.settings().items()
    labels = {each.label for each in model.assumptions()}
    assert {"system prompt declared", "2 pages a request", "prefix hits declared"} <= labels
    assert model.request.hit_share == Fraction(3, 4)
    assert model.request.cached_tokens == 496


REFUSED = {
    "a share of no prefix": (
        ["engine=vllm", "runtime.prefix_cached=0.5"],
        "system_prompt_tokens=0 fill no block of the cache (engine.block_size=16); declare",
    ),
    "less than a block": (
        ["engine=vllm", "runtime.prefix_cached=0.5", "runtime.system_prompt_tokens=15"],
        "system_prompt_tokens=15 fill no block",
    ),
    "code without a cache of prefixes": (
        ["runtime.prefix_cached=0.5", "runtime.system_prompt_tokens=500"],
        "execution=transformers keeps no prefixes; leave it out, or take execution=vllm or sglang.",
    ),
    "a bound": (
        ["engine=best", "runtime.prefix_cached=0.5", "runtime.system_prompt_tokens=500"],
        "execution=serving keeps no prefixes",
    ),
    "more than all": (
        ["engine=vllm", "runtime.prefix_cached=1.5", "runtime.system_prompt_tokens=500"],
        "runtime.prefix_cached=1.5 is too large; give 1 or less (it is a share of the requests).",
    ),
    "published code takes one image": (
        ["execution=published", "runtime.pages_per_request=2"],
        "pages_per_request=2, but the code of execution=published takes one image with each prompt; leave it out, or "
        "take execution=transformers or vllm or sglang or serving.",
    ),
    "no page": (["runtime.pages_per_request=0"], "runtime.pages_per_request=0 is too small; give 1 or more."),
}


@pytest.mark.parametrize("overrides, words", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load_cost_model(overrides)


def test_a_window_goes_on_with_no_cache() -> None:
    with pytest.raises(ModelMeterError, match="the decoder's window takes all positions behind its first pass"):
        load_cost_model(
            ["engine=vllm", "runtime.prefix_cached=1", "runtime.system_prompt_tokens=64"], model="unlimited_ocr"
        )


def test_only_what_requests_share_is_cached() -> None:
    model = model_of("deepseek_ocr", "transformers", "system_prompt_tokens=10")
    page = model.page(*SIZE)
    with pytest.raises(ModelMeterError, match=r"11 positions cached, but requests share .*=10; give at most these"):
        model.prefill_over_cache(page, 11)
    published = load_cost_model(["execution=published", "runtime.system_prompt_tokens=10"])
    with pytest.raises(ModelMeterError, match="execution=published masks a prompt as if nothing came before it"):
        published.prefill_over_cache(published.page(*SIZE), 10)


def test_how_many_pages_fit_is_said() -> None:
    model = load_cost_model(["workload=base", "runtime.pages_per_request=40"])
    with pytest.raises(ModelMeterError, match=r"; 29 of the 40 pages of a request \(runtime.pages_per_request\) fit"):
        model.page(1275, 1650)  # 273 tokens each: 8192 hold 29 and a prompt of 10


def test_regions_are_requests_of_their_own() -> None:
    model = load_cost_model(["workload.regions=[[300,400]]", "runtime.pages_per_request=2"], model="glm_ocr")
    with pytest.raises(ModelMeterError, match=r"each pass of a page with workload\.regions is a request of its own"):
        model.page(1275, 1650)


def test_an_engine_keeps_prefixes() -> None:
    kept = {
        each.name
        for name in models.MODELS
        for each in models.model_package(name).EXECUTIONS.values()
        if keeps_prefixes(each)
    }
    assert kept == {"vllm", "sglang"}
