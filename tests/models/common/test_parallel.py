"""Models split over devices: one device's weights, FLOPs, cache and collectives, by hand and beside smaller models."""

import re
from collections import Counter
from typing import Any

import pytest

from benchmarks import precision as report
from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.walk import OperatorRecord

#: bytes of DeepSeek-OCR in bfloat16, and of one of two devices: all parameters; less half of CLIP's GEMMs, 24 layers of
#: query, key and value with biases, the projection, and the MLP with the first bias; less half of the decoder but its
#: norms (25 x 1280) and routers (11 x 64 x 1280)
PARAMETERS = 3_336_106_240
CLIP = 24 * (3 * 1024 * 1025 + 1024 * 1024 + 4096 * 1025 + 4096 * 1024)
DECODER = 2_934_734_080 - 25 * 1280 - 11 * 64 * 1280

HIDDEN, VOCABULARY, LAYERS = 1280, 129_280, 12


def cost(*overrides: str, model: str = "deepseek_ocr") -> Any:
    return load_cost_model(list(overrides), model=model)


def collectives(records: list[OperatorRecord]) -> Counter[tuple[str, int, int]]:
    """Collectives by name, bytes that every device has in the end, and devices."""
    return Counter((each.name, each.bytes_written, each.ranks) for each in records if each.kind == "collective")


def records(model: Any, stage: str, **asked: Any) -> list[OperatorRecord]:
    return list(model.stage_walk(stage, **asked).records())


def test_weights_of_one_of_two_devices_by_hand() -> None:
    """vLLM splits CLIP and the decoder, SGLang the decoder alone; SAM and the projector are on both."""
    vllm, sglang = (cost(f"engine={name}", "parallel.tensor=2").model for name in ("vllm", "sglang"))
    assert vllm.forward_memory_weight() == 2 * (PARAMETERS - CLIP // 2 - DECODER // 2) == 3_436_249_600
    assert sglang.forward_memory_weight() == 2 * (PARAMETERS - DECODER // 2)


def test_flops_and_cache_of_one_of_two_devices() -> None:
    """All of a step but the routers is halved, and so is the cache, 61,440 bytes a position on one device."""
    one, two = (cost("engine=vllm", f"parallel.tensor={ranks}").page(1275, 1650, output_tokens=600) for ranks in (1, 2))
    routers = 600 * 11 * 2 * 64 * HIDDEN
    assert two.decode.tensor_core_flops == (one.decode.tensor_core_flops - routers) // 2 + routers
    assert (one.prefill.kv_bytes, two.prefill.kv_bytes) == (61_440 * one.seq_len, 30_720 * one.seq_len)
    clip = 24 * 2 * 12 * 1024 * 1024  # a position's FLOPs in CLIP's GEMMs; attention's are 4 x positions x 1024 a layer
    positions = {257: 1, 101: 6}
    split = sum(views * count * (clip + 24 * 4 * count * 1024) for count, views in positions.items())
    assert one.vision.tensor_core_flops - two.vision.tensor_core_flops == split // 2


def test_collectives_of_a_step_and_of_a_page_by_hand() -> None:
    """The embedding, each layer's attention and its MLP or experts: 25 sums; the logits are gathered.

    A page has them once more, and two sums in each of CLIP's 24 layers, of the global view and of all six crops.
    """
    model = cost("engine=vllm", "parallel.tensor=2")
    page = model.page(1275, 1650)
    logits = ("all_gather", 2 * VOCABULARY, 2)
    assert collectives(records(model, "decode", context=1000)) == {
        ("all_reduce", 2 * HIDDEN, 2): 2 * LAYERS + 1,
        logits: 1,
    }
    assert collectives(records(model, "prefill", page=page)) == {
        ("all_reduce", 2 * HIDDEN * page.seq_len, 2): 2 * LAYERS + 1,
        ("all_reduce", 2 * 1024 * 257, 2): 2 * 24,
        ("all_reduce", 2 * 1024 * 101 * 6, 2): 2 * 24,
        logits: 1,
    }


def test_weights_of_one_of_four_devices_beside_a_published_load() -> None:
    """14.2474 GiB on each rank of 4 GPUs (vllm#17469, a Qwen3 whose size is not said): Qwen3-30B-A3B as published.

    48 layers of 128 experts of 768, hidden 2048, 32 heads of 128, 4 KV heads, vocabulary 151936. What a load has beside
    weights, tables of the rotary embedding among it (10 MiB), is not among ours.
    """
    nbytes = report.qwen3_30b_a3b(4)
    attention = 2048 * (4096 + 2 * 512) + 4096 * 2048
    layer = attention + 3 * 128 * 768 * 2048
    whole = 128 * 2048 + 2 * 2048 + 2 * 128  # router and norms
    assert nbytes == 2 * (48 * (layer // 4 + whole) + 2048 + 2 * 151_936 // 4 * 2048)
    assert nbytes / 2**30 == pytest.approx(report.LOADED_OF_FOUR, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "halved"),
    [
        ("qwen3_vl_2b", {"num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 6144}),
        ("lighton_ocr_2_1b", {"num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 3072}),
        ("glm_ocr", {"num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 4608}),
    ],
)
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_device_runs_the_steps_of_a_model_of_half_the_heads_and_widths(
    name: str, halved: dict[str, int], engine: str
) -> None:
    """Whose figures are held against the real modules: the same GEMMs, attention, weights and cache."""
    whole = cost(f"engine={engine}", model=name)
    assert {key: getattr(whole.config.decoder, key) for key in halved} == halved
    sizes = {**halved, "vocab_size": whole.config.decoder.vocab_size}
    small = cost(f"engine={engine}", *(f"decoder.{key}={size // 2}" for key, size in sizes.items()), model=name)
    device = cost(f"engine={engine}", "parallel.tensor=2", model=name)

    def figures(model: Any) -> tuple[int, int, int]:
        step = model.step(1000)
        return (
            step.tensor_core_flops,
            step.kv_bytes,
            model.model.forward_memory_weight() - model.model.vision_weight_bytes(),
        )

    assert figures(device) == figures(small)


def test_fewer_kv_heads_than_devices_are_on_several() -> None:
    """PaddleOCR-VL has two: four devices have one each, so a device has half the cache, not a quarter."""
    one, four = (cost("engine=vllm", f"parallel.tensor={ranks}", model="paddleocr_vl") for ranks in (1, 4))
    assert 2 * four.step(1000).kv_bytes == one.step(1000).kv_bytes


def test_whole_experts() -> None:
    """Half of the experts in place of half of each: the same bytes and FLOPs, of experts that are twice as wide."""
    parts, whole = (cost("engine=vllm", "parallel.tensor=2", *more) for more in ([], ["parallel.expert=true"]))
    assert whole.model.forward_memory_weight() == parts.model.forward_memory_weight()
    assert whole.step(1000).tensor_core_flops == parts.step(1000).tensor_core_flops
    shapes = [
        next(each.inputs[3:5] for each in records(model, "decode", context=1000) if each.name == "fused_moe")
        for model in (parts, whole)
    ]
    assert shapes == [((64, 896, 1280), (64, 1280, 448)), ((32, 1792, 1280), (32, 1280, 896))]
    assert (parts.experts_hit(1), whole.experts_hit(1)) == (6, 3)


def test_images_shared_out() -> None:
    """The device that encodes a page has all of the vision encoder's FLOPs, and image tokens are gathered once."""
    one, two = (
        cost("engine=vllm", *more, model="qwen2_5_vl_3b")
        for more in ([], ["parallel.tensor=2", "parallel.encoder=data"])
    )
    page = two.page(1275, 1650)
    assert page.vision.tensor_core_flops == one.page(1275, 1650).vision.tensor_core_flops
    assert two.model.vision_weight_bytes() == one.model.vision_weight_bytes()
    prefill = collectives(records(two, "prefill", page=page))
    assert prefill["all_gather", 2 * page.tokens.total * 2 * 2048, 2] == 1


@pytest.mark.parametrize("key", ["runtime.pages_per_request", "runtime.batch_size"])
@pytest.mark.parametrize("name", ["qwen3_vl_2b", "glm_ocr"])
def test_pages_of_a_pass_are_shared_out(name: str, key: str) -> None:
    """Of three pages the busier of two devices encodes two; both get all image tokens, padded to four pages'."""
    split = ["engine=vllm", "parallel.tensor=2", "parallel.encoder=data"]
    own = cost("engine=vllm", f"{key}=2", model=name).page(1275, 1650)
    two = cost(*split, f"{key}=3", model=name)
    page = two.page(1275, 1650)
    assert page.vision.tensor_core_flops == own.vision.tensor_core_flops
    gathered = [count for count in collectives(records(two, "vision", page=page)).items() if "gather" in count[0][0]]
    text = two.model.text
    width = two.config.decoder.hidden_size * (1 + text.levels)
    assert gathered == [(("all_gather", 4 * own.tokens.total * width * 2, 2), 1)]


def test_what_gathers_on_the_way() -> None:
    """Qwen2-VL's vLLM gathers query, key and value of all patches in every block, GLM-OCR's one GEMM of its merger."""
    qwen = cost("engine=vllm", "parallel.tensor=2", model="qwen2_vl")
    page = qwen.page(1275, 1650)
    patches = 4 * page.tokens.total  # two by two of them are a token
    gathered = {
        key[1]: count for key, count in collectives(records(qwen, "prefill", page=page)).items() if "gather" in key[0]
    }
    assert gathered[2 * patches * 3 * 1280] == qwen.config.vision.depth
    glm = cost("engine=vllm", "parallel.tensor=2", model="glm_ocr")
    page = glm.page(1275, 1650)
    assert collectives(records(glm, "prefill", page=page))["all_gather", 2 * page.tokens.total * 1536, 2] == 1


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["engine=vllm", "parallel.tensor=4"],
            "parallel: tensor=4, but num_attention_heads=10 does not divide by it (remainder 2), and engines refuse "
            "that; parallel.tensor may be 1 or 2 here.",
        ),
        (["engine=sglang", "parallel.tensor=5"], "intermediate_size=6848 does not divide by it (remainder 3)"),
        (["parallel.tensor=2"], "execution=transformers runs this model on one device; take execution=vllm"),
        (["engine=vllm", "parallel.expert=true"], "parallel.tensor=1 is one device, which has everything"),
        (
            ["engine=sglang", "parallel.tensor=2", "parallel.expert=true"],
            "execution=sglang gives no device whole experts of this model; take execution=vllm",
        ),
        (
            ["engine=vllm", "parallel.tensor=2", "parallel.encoder=data"],
            "shares out no images of this model as far as it is modelled",
        ),
        (["engine=sglang", "parallel.tensor=2", "parallel.encoder=weights"], "has the vision encoder whole on each"),
        (
            ["engine=vllm", "parallel.tensor=2", "precision=awq"],
            "leaves each device 448 of a matrix's 896 inputs, which precision=awq has in groups of 128",
        ),
        (["engine=vllm", "parallel.tensor=2", "precision=gguf_q4_k_m"], "640 of a matrix's 1280 inputs"),
        (["engine=vllm", "parallel.tensor=0"], "parallel.tensor=0"),
    ],
)
def test_what_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load_cost_model(overrides)


@pytest.mark.parametrize("model", ["lighton_ocr", "qwen3_vl", "paddleocr_vl", "glm_ocr"])
@pytest.mark.parametrize("engine", ["vllm", "best"])
def test_a_dense_decoder_has_no_experts_to_give(engine: str, model: str) -> None:
    with pytest.raises(ModelMeterError, match=r"the decoder is dense and has no experts; leave parallel\.expert out"):
        load_cost_model([f"engine={engine}", "parallel.tensor=2", "parallel.expert=true"], model=model)


def test_what_packs_whole_experts_only() -> None:
    """Groups of 128 do not fit half of an expert's 896, but whole experts."""
    assert cost(
        "engine=vllm", "parallel.tensor=2", "parallel.expert=true", "precision=awq"
    ).model.forward_memory_weight()


def test_it_is_said() -> None:
    model = cost("engine=vllm", "parallel.tensor=2", "parallel.expert=true")
    assert model.settings().items() >= {"parallel.tensor": 2, "parallel.expert": True}.items()
    assert {"one of 2 devices", "experts shared out"} <= {each.label for each in model.assumptions()}
    assert "parallel.tensor" not in cost("engine=vllm").settings()
