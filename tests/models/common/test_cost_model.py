"""`CostModel` of all models, on the toy: pages, prompts, memory, what is told of a dense decoder, pickling."""

from __future__ import annotations

import pickle

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Views
from modelmeter.models.common.stage_cost import STAGES
from modelmeter.units import ITEMSIZE
from tests.toy_model import CostModel, load_cost_model, restore_cost_model
from tests.toy_model.workload import Grid

#: of the toy: widths and inner widths of tower and decoder, values of a patch, rows of the embedding
D, F, H, G, PATCH, VOCAB = 24, 40, 32, 56, 3 * 28 * 28, 97
KV = 2 * 2 * 8 * 2 * ITEMSIZE["bfloat16"]  # keys and values, KV heads, their width, layers


@pytest.fixture(scope="module")
def model() -> CostModel:
    return load_cost_model()


def test_a_page_by_hand(model: CostModel) -> None:
    page = model.page(8 * 28, 5 * 28, output_tokens=2)
    assert (page.layout, page.tokens.total, page.seq_len) == (Grid(8, 5), 40, 50)
    windows = 2 * 16**2 + 2 * 4**2  # two whole windows of 16 patches, two below of 4: keys times queries
    block = 2 * 40 * (3 * D * D + D * D + 2 * D * F) + 4 * windows * D
    assert page.vision.tensor_core_flops == 2 * 40 * PATCH * D + 2 * block + 2 * 40 * D * H
    layer = 2 * 50 * (2 * H * H + 2 * H * 16 + 3 * H * G) + 4 * 50 * 50 * H
    assert page.prefill.tensor_core_flops == page.vision.tensor_core_flops + 2 * layer + 2 * H * VOCAB
    assert (page.prefill.kv_bytes, page.total.kv_bytes) == (50 * KV, 52 * KV)
    assert page.views == (Views("page", 1, height=140, width=224, columns=1, rows=1, tokens=40),)
    assert page.total == page.prefill + page.decode


def test_parameters_by_hand(model: CostModel) -> None:
    tower = PATCH * D + D + 2 * (4 * D * D + 4 * D + 2 * D * F + F + D + 4 * D)
    text = 2 * VOCAB * H + H + 2 * (2 * H * H + 2 * H * 16 + 3 * H * G + 2 * H)
    assert model.parameters == tower + D * H + H + text
    assert model.page(600, 600).total.weight_bytes == 2 * model.parameters


def test_a_dense_decoder_says_nothing_of_experts(model: CostModel) -> None:
    assert "runtime.experts_hit" not in model.settings()
    assert not [each for each in model.assumptions() if "expert" in each.text]
    for declared in ("uniform", "3"):
        with pytest.raises(
            ModelMeterError, match=f"experts_hit={declared}, but the decoder is dense and has no expert"
        ):
            load_cost_model([f"runtime.experts_hit={declared}"])


@pytest.mark.parametrize("execution", ["transformers", "serving"])
def test_peak_holders_sum_to_the_peak(execution: str) -> None:
    model = load_cost_model([f"execution={execution}"])
    page = model.page(500, 700, output_tokens=3)
    for stage in STAGES:
        holders = model.peak_holders(stage, 500, 700, output_tokens=3)
        assert sum(holding.nbytes for holding in holders) == getattr(page, stage).resident_peak_bytes, stage


def test_layers_sum_to_their_stage(model: CostModel) -> None:
    page = model.page(500, 700)
    layers = model.prefill_layers(page.layout)
    assert sum(each.walk.tensor_core_flops for each in layers) == page.prefill.tensor_core_flops
    assert {each.path for each in layers if each.layer is not None} >= {"tower", "merger", "layers.0", "lm_head"}
    assert (
        sum(each.walk.tensor_core_flops for each in model.vision_layers(page.layout)) == page.vision.tensor_core_flops
    )


def test_memory() -> None:
    model = load_cost_model(["runtime.reserve_bytes=0"])
    vram, page = model.vram(500, 700, 100), model.page(500, 700, 100)
    assert vram.total_bytes == page.total.weight_bytes + page.prefill.resident_peak_bytes
    batch = model.largest_batch(5 * vram.total_bytes, 500, 700, 100)
    assert 5 <= batch < 20
    assert model.batched(batch).vram(500, 700, 100).fits(5 * vram.total_bytes)
    assert not model.batched(batch + 1).vram(500, 700, 100).fits(5 * vram.total_bytes)


def test_a_page_that_is_too_long_is_refused() -> None:
    model = load_cost_model(["decoder.max_position_embeddings=100"])
    with pytest.raises(ModelMeterError, match=r"exceed decoder.max_position_embeddings=100; take a smaller page"):
        model.page(1000, 1000)


def test_it_can_be_pickled_and_restored(model: CostModel) -> None:
    page = model.page(500, 700, 5)
    assert pickle.loads(pickle.dumps(model)).page(500, 700, 5) == page
    assert pickle.loads(pickle.dumps(load_cost_model))(()).page(500, 700, 5) == page
    configuration = {"workload": {"patch_size": 14}, "runtime": {"batch_size": 2, "prompt_tokens": 3}}
    restored = restore_cost_model(configuration, prompt_tokens=3)
    assert restored.page(500, 700) == load_cost_model(
        ["workload.patch_size=14", "runtime.batch_size=2", "runtime.prompt_tokens=3"]
    ).page(500, 700)
