"""A page as a DataFrame: rows that sum to the stages, and steps that are the sum of the steps walked one by one."""

import sys
from collections import Counter
from typing import Any

import pandas as pd
import pytest

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.breakdown import stage_operators

SUMS = ["tensor_core_flops", "cuda_core_flops", "io_bytes", "io_weight_bytes", "io_activation_bytes", "io_kv_bytes"]

PAGES = {
    "flash": ("deepseek_ocr", ["workload=base"], 100),
    "one_step": ("deepseek_ocr", ["workload=tiny", "execution=published"], 1),
    "no_step": ("deepseek_ocr", ["workload=tiny"], 0),
    # a window of 128 and the prompt: steps before it is full and after
    "window": ("unlimited_ocr", ["execution=serving", "decoder.num_hidden_layers=2"], 300),
    "window_copied": ("unlimited_ocr", ["decoder.num_hidden_layers=2"], 300),
    "regions": ("mineru2_5", ["workload.regions=[[300,200],[500,90],[200,150]]", "decoder.num_hidden_layers=2"], 50),
    "batch": ("lighton_ocr", ["runtime.batch_size=3", "decoder.num_hidden_layers=2"], 7),
}


@pytest.mark.parametrize("model, overrides, steps", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("by", ["module", "operator"])
def test_rows_sum_to_their_stage(model: str, overrides: list[str], steps: int, by: str) -> None:
    page = load_cost_model(overrides, model=model).page(600, 800, output_tokens=steps)
    sums = page.to_pandas(by).groupby("stage")[SUMS].sum()
    stages = [stage for stage in ("vision", "prefill", "decode") if stage != "decode" or steps]
    assert set(sums.index) == set(stages)
    for stage in stages:
        assert sums.loc[stage].to_dict() == {name: getattr(page.stages()[stage], name) for name in SUMS}


def test_steps_together_are_the_steps_one_by_one() -> None:
    cost_model: Any = load_cost_model(["decoder.num_hidden_layers=2"], model="unlimited_ocr")
    page = cost_model.page(600, 800, output_tokens=135)  # its window is of 128
    moved: Counter[tuple[str, str]] = Counter()
    for generated in range(135):
        walk = cost_model.stage_walk("decode", context=page.seq_len + generated, generated=generated)
        for record in walk.records():
            moved[record.path, record.aten] += record.bytes_read + record.bytes_written
    found: Counter[tuple[str, str]] = Counter()
    for each in stage_operators(page, "decode"):
        found[each.record.path, each.record.aten] += each.cost.io_bytes
    assert found == moved


def test_stages_have_every_figure() -> None:
    page = load_cost_model(["workload=base"]).page(1275, 1650, output_tokens=10)
    frame = page.to_pandas()
    assert list(frame.index) == ["vision", "prefill", "decode", "total"] and frame.index.name == "stage"
    assert frame.loc["total"].to_dict() == page.total.as_dict()


def test_an_operator_says_where_it_stands_and_of_what_sizes() -> None:
    page = load_cost_model(["workload=base"]).page(1275, 1650, output_tokens=10)
    frame = page.to_pandas("operator")
    head = frame[(frame.stage == "decode") & (frame.module == "lm_head")].iloc[0]
    assert (head.operator, head.kernel_class, head["dtype"], head.times) == ("aten.mm.default", "gemm", "bfloat16", 10)
    assert head.inputs == ((1, 1280), (129280, 1280)) and head.outputs == ((1, 129280),)
    assert head.tensor_core_flops == 10 * 2 * 1280 * 129280
    modules = page.to_pandas("module")
    assert modules.loc[("decode", "lm_head"), "operators"] == 10
    assert isinstance(modules, pd.DataFrame)


def test_text_has_no_vision() -> None:
    text = load_cost_model().text(20, output_tokens=2)
    assert list(text.to_pandas().index) == ["prefill", "decode", "total"]
    assert set(text.to_pandas("module").index.get_level_values("stage")) == {"prefill", "decode"}


def test_without_pandas_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    page = load_cost_model(["workload=tiny"]).page(600, 800)
    with pytest.raises(ModelMeterError, match="to_pandas: by='modules' is unknown; did you mean \"module\""):
        page.to_pandas("modules")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModelMeterError, match=r"to_pandas needs pandas .*; pip install pandas, or take to_dict"):
        page.to_pandas()
