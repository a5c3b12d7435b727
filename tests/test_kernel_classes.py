"""Every operator that a walk records has a class of kernels; another one is refused."""

from collections import Counter

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.kernel_classes import CLASSES, kernel_class
from modelmeter.kernels import kernel_of
from modelmeter.models.deepseek_ocr import load_cost_model
from tests.devices.synthetic import operator

#: operators of each class in a decode step of one decoder layer without and one with experts, and lm_head
EXECUTIONS = ("transformers", "published", "vllm", "sglang", "serving")


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_every_operator_of_the_walks_has_a_class(execution: str) -> None:
    model = load_cost_model([f"execution={execution}", "decoder.num_hidden_layers=2"])
    page = model.page(1275, 1650)
    found: dict[str, Counter[str]] = {}
    for stage, walk in {
        "vision": model.stage_walk("vision", page=page),
        "prefill": model.stage_walk("prefill", page=page),
        "decode": model.stage_walk("decode", context=page.seq_len),
    }.items():
        found[stage] = Counter(kernel_class(record) for record in walk.records())
        assert found[stage].total() == walk.operator_count
        assert set(found[stage]) <= set(CLASSES)
    assert found["vision"]["convolution"] > 0
    assert found["vision"]["generation_attention"] == found["vision"]["moe"] == 0
    assert found["decode"]["bias_attention"] == found["decode"]["context_attention"] == 0
    for each in ("gemm", "elementwise", "copy"):
        assert all(stage[each] for stage in found.values()), each


def test_an_operator_of_another_kind_is_refused() -> None:
    unknown = operator("fft")._replace(kind="transform", path="model.layers.0")
    with pytest.raises(
        ModelMeterError, match=r"operator aten\.fft at model\.layers\.0 is of kind transform, which has"
    ):
        kernel_class(unknown)


@pytest.mark.parametrize("execution", ["transformers", "vllm"])
def test_a_prompt_over_a_cache_is_no_step(execution: str) -> None:
    """Its attention is a prefill's, told how many keys came before; a law's kernels have the same sizes."""
    model = load_cost_model([f"execution={execution}", "workload=tiny", "runtime.system_prompt_tokens=64"])
    page = model.page(640, 640)
    attention = {
        cached: [
            kernel_of(record)
            for record in model.stage_walk("prefill", page=page, cached=cached).records()
            if record.kind == "attention" and record.path.startswith("layers")
        ]
        for cached in (0, 48)
    }
    assert {kernel.kernel_class for kernels in attention.values() for kernel in kernels} == {"context_attention"}
    assert {(kernel.sizes["length"], kernel.sizes.get("before")) for kernel in attention[0]} == {(page.seq_len, None)}
    assert {(kernel.sizes["length"], kernel.sizes["before"]) for kernel in attention[48]} == {(page.seq_len - 48, 48)}
