"""The components of a page: by hand, and that they sum to the stages they are parts of."""

import pytest

from modelmeter.models.common.components import component_titles, page_components
from modelmeter.models.deepseek_ocr import load_cost_model

SUMS = ("tensor_core_flops", "cuda_core_flops", "io_weight_bytes", "io_activation_bytes", "io_kv_bytes")


@pytest.mark.parametrize(
    "overrides",
    [[], ["runtime.attention=eager", "runtime.batch_size=3", "runtime.head=all"], ["execution=published"]],
    ids=["default", "eager", "published"],
)
@pytest.mark.parametrize("output_tokens", [0, 1, 40])
def test_components_sum_to_their_stage(overrides: list[str], output_tokens: int) -> None:
    model = load_cost_model(overrides)
    page = model.page(1275, 1650, output_tokens)
    parts = page_components(model, page, output_tokens)
    for stage, costs in parts.items():
        assert tuple(costs) == tuple(component_titles(model))
        for name in SUMS:
            assert sum(getattr(cost, name) for cost in costs.values()) == getattr(getattr(page, stage), name), name


def test_components_of_a_letter_page_by_hand() -> None:
    model = load_cost_model()
    seq_len, steps, width = 913, 5, 1280
    parts = page_components(model, model.page(1275, 1650, steps), steps)
    prefill = {name: cost.tensor_core_flops for name, cost in parts["prefill"].items()}
    decode = {name: cost.tensor_core_flops for name, cost in parts["decode"].items()}
    contexts = sum(seq_len + step + 1 for step in range(steps))
    mlp_token = 2 * 3 * width * 6848
    moe_token = 11 * 2 * width * (64 + 3 * 896 * (6 + 2))
    head_token = 2 * width * 129_280
    projections = 12 * 4 * 2 * width * width
    assert prefill == {
        "sam": 976_909_172_736 + 1_953_724_760_064,
        "clip": 161_715_683_328 + 372_028_538_880,
        "projector": 1_342_177_280 + 3_145_728_000,
        "attention": projections * seq_len + 12 * 2 * 2 * seq_len * seq_len * width,
        "mlp": mlp_token * seq_len,
        "moe": moe_token * seq_len,
        "head": head_token,
        "other": 0,
    }
    assert decode == {
        "sam": 0,
        "clip": 0,
        "projector": 0,
        "attention": projections * steps + 12 * 2 * 2 * contexts * width,
        "mlp": mlp_token * steps,
        "moe": moe_token * steps,
        "head": head_token * steps,
        "other": 0,
    }
