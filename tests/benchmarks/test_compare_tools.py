"""The comparison with other tools: its rows, its table, and that its page and the reports show the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare_tools, counters
from benchmarks.compare_tools import cells, count_apart, missed, relative, report, said, table, write_tables
from benchmarks.counters import BIASES, CALLS, Count, counted, exact_parts, part_of
from benchmarks.workloads import WORKLOADS, Workload
from modelmeter.errors import ModelMeterError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((ROOT / "reports" / "comparison.json").read_text(encoding="utf-8"))

PARTS = {"linear layers": 1000, "attention": 200, "grouped experts": 30, BIASES: 7}


def row(flops: int, **others: Any) -> dict[str, Any]:
    return {
        "pass": "one",
        "tool": "counter",
        "flops": flops,
        "extras": {},
        "left_out": {},
        "count_seconds": 1.25,
        "process_seconds": 9.5,
        "peak_bytes": 360_000_000,
        "ran_on": "meta",
    } | others


def small_document(*rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "date": "2001-02-03",
        "cores": 4,
        "load": 1.5,
        "versions": {"counter": "1.2"},
        "exact": {"one": {"title": "a pass", "parts": PARTS}},
        "rows": list(rows),
    }


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flops, extras, text",
    [
        (1230, {}, "nothing"),
        (1030, {}, "attention"),
        (1000, {}, "attention, grouped experts"),
        (1237, {}, "nothing; adds additions of biases"),
        (1037, {}, "attention; adds additions of biases"),
        (1005, {"layer_norm": 5}, "attention, grouped experts; adds layer_norm (5)"),
        (1001, {}, "no sum of whole parts"),
    ],
)
def test_what_is_missed_follows_from_the_exact_difference(flops: int, extras: dict[str, int], text: str) -> None:
    assert missed(row(flops, extras=extras), PARTS) == text


def test_a_known_reason_stands_where_no_parts_explain_a_count() -> None:
    assert missed(row(3, tool="torchinfo"), PARTS) == compare_tools.REASONS["torchinfo"]


@pytest.mark.parametrize("name", ["vision_1x1024", "vision_6x640"])
def test_the_reason_given_for_fvcore_explains_its_count_but_for_the_rounding(name: str) -> None:
    parts = DOCUMENT["exact"][name]["parts"]
    (fvcore,) = (each for each in DOCUMENT["rows"] if (each["pass"], each["tool"]) == (name, "fvcore"))
    assert missed(fvcore, parts) == compare_tools.REASONS["fvcore"]
    assert fvcore["extras"].keys() == {"layer_norm"}
    products = fvcore["flops"] - fvcore["extras"]["layer_norm"]
    exact = compare_tools.exact_flops(parts) - parts["SAM attention"] - parts["CLIP attention"]
    assert 0 < abs(products - exact) < parts["relative positions"] / 1000


def test_what_a_tool_says_it_left_out() -> None:
    assert said(row(1, left_out={"aten._grouped_mm": 22, "aten.mul": 3})) == "`aten._grouped_mm`, among 2 operators"
    assert said(row(1, left_out={"aten.mul": 3})) == said(row(1)) == "no"


def test_errors_are_relative_to_the_measured_count() -> None:
    assert (relative(row(1230), 1230), relative(row(615), 1230)) == ("0", "-50.00 %")
    assert relative(row(1231), 1230) == "+0.08 %"


def test_a_row_of_the_table() -> None:
    assert cells(row(1030, left_out={"aten::_sdpa_scaled_dot_product": 1}), small_document()["exact"]["one"]) == [
        "a pass",
        "counter",
        "1,030",
        "-16.26 %",
        "attention",
        "`aten::_sdpa_scaled_dot_product`, among 1 operators",
        "1.25",
        "9.5",
        "360",
        "meta",
    ]


def test_a_tool_that_fails_has_a_row_with_its_error_and_no_zero() -> None:
    failed = {"pass": "one", "tool": "counter", "error": "TypeError: a | b", "process_seconds": 3.0}
    document = small_document(row(1230), failed)
    lines = table(document).splitlines()
    assert lines[-1] == "| a pass | counter | none | none | failed: TypeError: a \\| b |  |  | 3.0 |  | nothing |"
    assert len({line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}) == 1
    assert "1,230" in lines[-2]


def test_a_process_that_fails_is_a_row_with_its_last_line() -> None:
    result = count_apart("modelmeter", "no_such_pass", None)
    assert result["error"] == "KeyError: 'no_such_pass'"
    assert "flops" not in result


def test_a_count_in_a_process_of_its_own() -> None:
    result = count_apart("modelmeter", "decode_913", None)
    assert result["flops"] == compare_tools.exact_flops(DOCUMENT["exact"]["decode_913"]["parts"])
    assert result["ran_on"] == "shapes"
    assert result["peak_bytes"] > 0


# -- counting ----------------------------------------------------------------------------------------------------------


def small_workload() -> Workload:
    import torch
    from torch import nn

    def build() -> tuple[nn.Module, torch.Tensor]:
        with torch.device("meta"):
            return nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(2), nn.Linear(4, 5)), torch.empty(1, 2, 3, 3)

    return Workload(title="small", build=build, analytic=lambda: 0)


CONVOLUTION = 2 * (3 * 4) * (2 * 2 * 2)  # 3 channels of 4 positions, each of 2 channels of 2 x 2
LINEAR = 2 * 3 * 4 * 5


def test_the_parts_of_a_measured_pass() -> None:
    assert exact_parts(*small_workload().build()) == {
        "convolutions": CONVOLUTION,
        "linear layers": LINEAR,
        BIASES: 2 * (3 * 4 + 3 * 5),
    }


def test_attention_is_told_apart_by_tower() -> None:
    operator = "aten._scaled_dot_product_flash_attention.default"
    assert part_of(operator, "vision_tower.sam_encoder.layers.2.attn") == "SAM attention"
    assert part_of(operator, "vision_tower.vision_encoder.encoder.layers.0.self_attn") == "CLIP attention"
    assert part_of(operator, "text.language_model.layers.0.self_attn") == "attention"


def test_what_fails_on_meta_is_tried_on_real_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    def wants_values(module: Any, tensor: Any) -> Count:
        return Count(flops=int(module(tensor).abs().sum()) + 7)

    monkeypatch.setitem(counters.COUNTERS, "picky", wants_values)
    result = counted("picky", small_workload())
    assert (result["flops"], result["ran_on"]) == (7, "real tensors")
    assert "meta" in result["meta_error"]


def test_what_fails_everywhere_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_module: Any, _tensor: Any) -> Count:
        raise TypeError("cannot\nat all")

    monkeypatch.setitem(counters.COUNTERS, "broken", broken)
    assert counted("broken", small_workload()) == {"error": "TypeError: cannot", "meta_error": "TypeError: cannot"}


def test_pytorchs_counter_on_a_small_pass() -> None:
    result = counted("torch", small_workload())
    assert (result["flops"], result["ran_on"]) == (CONVOLUTION + LINEAR, "meta")


# -- what is committed -------------------------------------------------------------------------------------------------


PAGE = Path("docs") / "other-tools.md"


def test_page_and_reports_show_what_was_counted(tmp_path: Path) -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    shown = table(DOCUMENT)
    assert page.split("<!-- comparison:begin -->")[1].split("<!-- comparison:end -->")[0].strip() == shown.strip()
    assert shown in (ROOT / "reports" / "comparison.md").read_text(encoding="utf-8")
    assert (ROOT / "reports" / "comparison.md").read_text(encoding="utf-8") == report(DOCUMENT)
    (tmp_path / "docs").mkdir()
    (tmp_path / PAGE).write_text(page, encoding="utf-8")
    write_tables(tmp_path, DOCUMENT)
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == page


def test_every_tool_has_a_row_for_every_pass() -> None:
    assert [(each["pass"], each["tool"]) for each in DOCUMENT["rows"]] == [
        (name, tool) for name in WORKLOADS for tool in CALLS
    ]


@pytest.mark.parametrize("name", WORKLOADS)
def test_this_librarys_count_is_the_measured_one(name: str) -> None:
    assert WORKLOADS[name].analytic() == compare_tools.exact_flops(DOCUMENT["exact"][name]["parts"])


def test_the_page_needs_its_markers(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"other-tools\.md: cannot be read"):
        write_tables(tmp_path, small_document())
    (tmp_path / "docs").mkdir()
    (tmp_path / PAGE).write_text("no markers\n", encoding="utf-8")
    with pytest.raises(ModelMeterError, match="comparison:begin"):
        write_tables(tmp_path, small_document())
    assert not (tmp_path / "reports").exists()
