"""Schemes of quantisation in models: weights against published files and by hand, the KV cache, what is refused."""

import re
from math import prod

import pytest

from benchmarks import precision as report
from modelmeter import load_cost_model, models
from modelmeter.errors import ModelMeterError
from modelmeter.layers.quantisation import SCHEMES
from modelmeter.models.common.engines import served
from modelmeter.models.common.precision import left_unpacked
from modelmeter.models.common.vision_language import VisionLanguageModel

#: bytes of DeepSeek-OCR's bfloat16 file beside its tensors, header and tokenizer, from the size of that file
HEADER = 5_243_712
#: routers and norms of its decoder, which a file has as float32
FLOAT32 = 933_120

#: GGUF files of its decoder: counted by hand, tensor by tensor, and as rounded where they are published
BY_HAND = {"unquantised": 5_876_578_112, "gguf_q4_k_m": 1_950_326_592}
PUBLISHED_GIB = {"gguf_q4_k_m": 1.82, "gguf_q5_k_s": 1.95, "gguf_q6_k": 2.43}
PUBLISHED_GB = {"gguf_q4_k_m": 1.95, "gguf_q8_0": 3.13}


def decoder_file(scheme: str) -> int:
    """Bytes of a GGUF file of DeepSeek-OCR's decoder."""
    model: VisionLanguageModel = load_cost_model(["engine=vllm", f"precision={scheme}"]).model
    return model.forward_memory_weight() - model.vision_weight_bytes() + 2 * FLOAT32 + HEADER


def test_files_of_the_decoder_are_those_published() -> None:
    files = {name: decoder_file(name) for name in {*BY_HAND, *PUBLISHED_GIB, *PUBLISHED_GB}}
    assert {name: files[name] for name in BY_HAND} == BY_HAND
    for name, gib in PUBLISHED_GIB.items():
        assert files[name] / 2**30 == pytest.approx(gib, abs=0.005)
    for name, gb in PUBLISHED_GB.items():
        assert files[name] / 1e9 == pytest.approx(gb, abs=0.005)


def test_awq_of_a_dense_model_by_hand() -> None:
    """Qwen2.5-VL-7B: 28 layers, hidden 3584, 512 of keys and of values, MLP 18944; all else as it is."""
    whole, awq = (
        load_cost_model(["engine=vllm", *more], model="qwen2_5_vl_7b").model.forward_memory_weight()
        for more in ([], ["precision=awq"])
    )
    layer = 3584 * (3584 + 512 + 512) + 3584 * 3584 + 3 * 3584 * 18944
    group = 128 * 4 + 16 + 4
    assert whole - awq == 28 * (layer * 2 - layer // 128 * group // 8)
    assert awq / 1e9 == pytest.approx(6.92, abs=0.005)


def test_one_product_of_several_matrices_weighs_what_they_do() -> None:
    """vLLM joins query, key and value, and gate and up."""
    joined, apart = (
        load_cost_model([f"engine={name}", "precision=fp8_block"], model="qwen2_5_vl_3b").model
        for name in ("vllm", "transformers")
    )
    packed = [sum(each.nbytes for _, each in model.named_parameters() if each.packed) for model in (joined, apart)]
    assert packed[0] == packed[1]


def test_an_engines_experts_are_packed_and_a_librarys_parameters_are_not() -> None:
    engine, library = (load_cost_model([f"engine={name}", "precision=awq"]) for name in ("vllm", "transformers"))
    assert left_unpacked(engine.model) == ["layers.0.mlp.down_proj"]  # 6848 columns are no groups of 128
    experts = 11 * 64 * 3 * 1280 * 896
    decoders = [each.model.forward_memory_weight() - each.model.vision_weight_bytes() for each in (library, engine)]
    assert decoders[0] - decoders[1] == experts * 2 - experts // 128 * 532 // 8
    assert "layers.0.mlp.down_proj" in str([each.text for each in engine.assumptions()])


def test_what_is_not_packed_is_read_and_computed_as_before() -> None:
    plain, packed = (load_cost_model(["engine=vllm", *more]).page(1275, 1650, 100) for more in ([], ["precision=awq"]))
    assert packed.vision == plain.vision
    for stage in ("prefill", "decode"):
        before, after = getattr(plain, stage), getattr(packed, stage)
        assert after.tensor_core_flops == before.tensor_core_flops
        assert after.cuda_core_flops == before.cuda_core_flops
        assert (after.io_activation_bytes, after.io_kv_bytes) == (before.io_activation_bytes, before.io_kv_bytes)
        assert after.io_weight_bytes < before.io_weight_bytes / 1.5


def test_a_cache_in_fp8_is_half_as_large() -> None:
    for engine in ("vllm", "sglang", "best"):
        plain, fp8 = (
            load_cost_model([f"engine={engine}", *more]).page(1275, 1650, 100) for more in ([], ["precision.kv=fp8"])
        )
        assert 2 * fp8.decode.kv_bytes == plain.decode.kv_bytes
        assert 2 * fp8.decode.io_kv_bytes == plain.decode.io_kv_bytes
        assert fp8.decode.io_weight_bytes == plain.decode.io_weight_bytes
    assert fp8.prefill.kv_bytes == (903 + 10) * 12 * 2 * 1280


REFUSED = {
    ("precision=awk",): 'there is no such precision; did you mean "awq"',
    ("precision=fp16",): "no scheme packs are of the type runtime.dtype=float16",
    ("precision.kv=fp8",): "execution=transformers keeps keys and values as it makes them; take execution=vllm",
    ("precision=gguf_q8_0",): "gguf_q8_0, but execution=transformers has no kernels for it; take execution=vllm",
    ("precision=bnb_nf4", "engine=vllm"): "take execution=transformers or execution=published",
    ("precision=awq", "engine=vllm", "runtime.dtype=float32"): "its kernels take and give 16 bits",
    ("precision=awq", "runtime.load=float32_on_device"): "packed weights arrive as they lie",
    ("precision=unquantised", "precision.kv=int2"): r"precision.kv=.*int2",
}


@pytest.mark.parametrize("overrides", REFUSED, ids=" ".join)
def test_what_no_kernel_runs_is_refused(overrides: tuple[str, ...]) -> None:
    with pytest.raises(ModelMeterError, match=REFUSED[overrides]):
        load_cost_model(list(overrides))


def test_results_name_the_scheme() -> None:
    model = load_cost_model(["precision=awq", "precision.kv=fp8", "engine=vllm"])
    assert model.settings()["precision"] == "awq"
    assert model.settings()["precision.kv"] == "fp8"
    assert {"awq", "precision.kv=fp8"} <= {each.label for each in model.assumptions()}
    assert "precision" not in load_cost_model([]).settings()
    again = type(model).restore(model.to_dict()["configuration"], prompt_tokens=10)
    assert again.page(600, 800, 5) == model.page(600, 800, 5)


def test_every_scheme_is_run_by_some_execution_and_named_as_a_key_may_be() -> None:
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) and scheme.executions for name, scheme in SCHEMES.items())


def test_the_report_is_what_its_program_writes() -> None:
    assert report.REPORT.read_text(encoding="utf-8") == report.text()


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_takes_a_scheme(name: str) -> None:
    """Vision, norms and biases stay; the matrices of the decoder's layers are a byte a weight and two an output."""
    executions = models.model_package(name).EXECUTIONS
    (engine,) = served([], executions)
    if engine == "engine=transformers":
        engine = "engine=best" if "serving" in executions else pytest.skip("no execution has kernels of it")
    plain, packed = (load_cost_model([engine, *more], model=name) for more in ([], ["precision=fp8_channel"]))
    assert packed.model.vision_weight_bytes() == plain.model.vision_weight_bytes()
    matrices = [
        each.shape
        for path, each in plain.model.named_parameters()
        if path.startswith("layers.") and len(each.shape) > 1 and ".gate.weight" not in path
    ]
    saved = sum(prod(shape) - 2 * prod(shape[:-1]) for shape in matrices)
    assert plain.model.forward_memory_weight() - packed.model.forward_memory_weight() == saved
    before, after = plain.page(900, 1200, 10), packed.page(900, 1200, 10)
    assert after.vision == before.vision
    assert after.total.tensor_core_flops == before.total.tensor_core_flops
