"""Speculative decoding: steps of several positions against the real decoder, sums against a loop, and what is refused."""

from fractions import Fraction
from math import ceil, floor
from typing import Any

import pytest
import torch

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.speculation import Speculation
from modelmeter.models.common.stage_cost import SUMS
from modelmeter.reference.comparison import stage_row
from tests.models.glm_ocr.small import OVERRIDES as GLM

QWEN = ("vision.depth=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000", "workload=page")
SMALL = {"glm_ocr": GLM, "qwen2_vl": QWEN}


def drafted(k: int, accepted: float, draft: str = "ngram") -> tuple[str, ...]:
    return f"runtime.draft={draft}", f"runtime.draft_tokens={k}", f"runtime.accepted_tokens={accepted}"


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [(), ("runtime.attention=eager",), ("runtime.dtype=float32",)], ids=str)
@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize("model", SMALL)
def test_a_step_of_several_positions_is_the_real_decoders(model: str, pages: int, runtime: tuple[str, ...]) -> None:
    layout = MergedGrid(2, 1)
    for rows, prompt in ((2, 31), (4, 37), (6, 32)):  # contexts that a mask's rows are aligned to, and others
        overrides = (*SMALL[model], *runtime, f"runtime.batch_size={pages}", f"runtime.prompt_tokens={prompt}")
        whole: Any = model_package(model).whole_model(load_cost_model(overrides, model=model))
        _, cache = whole.prefill(whole.inputs(layout), experts_hit=0, head="last")
        token_ids = torch.empty(pages, rows, dtype=torch.long, device="meta")
        measured = whole.page._pass(token_ids, cache, None, "all")
        ours: Any = load_cost_model((*overrides, *drafted(rows - 1, 1.5)), model=model)
        walk = ours.stage_walk("decode", context=2 + prompt)
        row = stage_row(
            "step", ours.step(2 + prompt), [walk], [measured], lambda path, run: whole.place(path, run, layout)
        )
        wrong = [each for each in row.figures() if not each.agrees(0)]
        assert row.agrees(0), (rows, wrong, row.peak_operator, row.peak_path)
