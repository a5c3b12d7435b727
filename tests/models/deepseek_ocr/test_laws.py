"""A stage's law against its walk: the same figures by two routes, the peak's place included, for sizes of all kinds."""

from functools import reduce
from operator import add
from typing import Final

import pytest

from modelmeter.models.common.tiles import candidate_grids
from modelmeter.models.deepseek_ocr import CostModel, ViewLayout, load_cost_model
from modelmeter.models.deepseek_ocr.vision_workload import layout_kinds
from tests.models.walked import walked_prefill, walked_step, walked_vision

GRIDS: Final = ((1, 1), (2, 3), (3, 2), (1, 2), (2, 1), (9, 1), (1, 5), (2, 2), (4, 2), (3, 3))
#: prompts without an image: one token, those that hit few experts, one for each way that rows pad to
PROMPTS: Final = (1, 2, 7, 10, 11, 12, 100, 913, 2004)
CONTEXTS: Final = (0, 1, 2, 15, 913, 4001)

CONFIGURATIONS: Final = {
    "default": (),
    "eager": ("runtime.attention=eager",),
    "float32": ("runtime.dtype=float32",),
    "float32-eager": ("runtime.dtype=float32", "runtime.attention=eager"),
    "published": ("execution=published",),
    "published-eager": ("execution=published", "runtime.attention=eager"),
    "serving": ("execution=serving",),
    "serving-float32": ("execution=serving", "runtime.dtype=float32"),
    "serving-two-pages": ("execution=serving", "runtime.batch_size=2"),
    "vllm": ("execution=vllm",),
    "vllm-two-pages": ("execution=vllm", "runtime.batch_size=2", "runtime.experts_hit=uniform"),
    "vllm-all-positions": ("execution=vllm", "runtime.head=all", "workload.image_size=720"),
    "sglang": ("execution=sglang",),
    "sglang-two-pages": ("execution=sglang", "runtime.batch_size=2", "runtime.head=none"),
    "sglang-float32": ("execution=sglang", "runtime.dtype=float32"),
    "three-pages": ("runtime.batch_size=3",),
    "published-two-pages": ("execution=published", "runtime.batch_size=2"),
    "gundam_m": ("workload=gundam_m",),
    "base": ("workload=base",),
    "other-tiles": ("workload.image_size=720",),
    "head-all": ("runtime.head=all",),
    "uniform": ("runtime.experts_hit=uniform",),
    "seven-experts": ("runtime.experts_hit=7",),
    "unusual": (
        "workload.min_num=4",
        "workload.max_num=4",
        "workload.image_size=656",
        "runtime.prompt_tokens=0",
        "vision.projector.n_embed=24",
        "decoder.hidden_size=24",
        "decoder.num_attention_heads=3",
        "decoder.num_key_value_heads=1",
        "decoder.n_routed_experts=5",
        "decoder.num_experts_per_tok=2",
        "decoder.num_hidden_layers=2",
    ),
    "other-decoder": (
        "decoder.num_key_value_heads=2",
        "decoder.n_routed_experts=9",
        "decoder.num_hidden_layers=3",
        "runtime.head=none",
    ),
}


@pytest.fixture(scope="module", params=CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def model(request: pytest.FixtureRequest) -> CostModel:
    return load_cost_model(request.param)


def layouts(model: CostModel) -> list[ViewLayout]:
    """Layouts of every kind that the workload has."""
    if not model.workload.crop_mode:
        return [ViewLayout(1, 1, 1)]
    return [ViewLayout(1 + columns * rows * (columns * rows > 1), columns, rows) for columns, rows in GRIDS]


def test_pages(model: CostModel) -> None:
    for layout in layouts(model):
        page = model.layout_cost(layout)
        assert page.vision == walked_vision(model, layout), layout
        assert page.prefill == walked_prefill(model, page.seq_len, layout), layout


def test_prompts(model: CostModel) -> None:
    for tokens in PROMPTS:
        assert model.text(tokens).prefill == walked_prefill(model, tokens, None), tokens


def test_steps(model: CostModel) -> None:
    for context in CONTEXTS:
        assert model.step(context) == walked_step(model, context), context


def test_runs_of_steps(model: CostModel) -> None:
    for start, steps in ((1, 2), (5, 9), (913, 1), (913, 2), (913, 3), (1270, 20), (1281, 5)):
        one_by_one = [walked_step(model, start + index) for index in range(steps)]
        assert model.text(start, steps).decode == reduce(add, one_by_one), (start, steps)


def test_batches_share_laws_and_keep_their_own_figures() -> None:
    model = load_cost_model()
    for pages in (1, 2, 3, 11, 64):
        batch = model.batched(pages)
        for context in (1, 913, 2000):
            assert batch.step(context) == walked_step(batch, context), (pages, context)
        layout = ViewLayout(7, 2, 3)
        page = batch.layout_cost(layout, 3)
        assert page.prefill == walked_prefill(batch, page.seq_len, layout)
        assert page.decode == reduce(add, [walked_step(batch, page.seq_len + index) for index in range(3)])


@pytest.mark.parametrize("pages", [1, 2, 64])
def test_a_run_of_steps_before_any_step(pages: int) -> None:
    model = load_cost_model()
    batch = model.batched(pages)
    for start, steps in ((5, 2), (913, 7), (1279, 4)):
        decode = batch._decode(start, steps)
        assert decode == reduce(add, [walked_step(batch, start + index) for index in range(steps)]), (start, steps)


def test_every_kind_of_layout_is_learnt_with_the_first_page() -> None:
    workload = load_cost_model().workload
    kinds = {(layout.w_crop > 1, layout.h_crop > 1) for layout in layout_kinds(workload)}
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}
    assert {layout[1:] for layout in layout_kinds(workload)[1:]} <= {
        grid[:2] for grid in candidate_grids(workload.min_num, workload.max_num)
    }
    assert layout_kinds(load_cost_model(["workload=base"]).workload) == [ViewLayout(1, 1, 1)]
