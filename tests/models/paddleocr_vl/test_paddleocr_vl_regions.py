"""PaddleOCR-VL's page of regions: one pass for each, none over the page; all of it the sum of its passes."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.models.common.stage_cost import LARGEST, STAGES, SUMS

FEW = ("vision.num_hidden_layers=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
SIDES = ((1000, 60), (480, 620), (300, 24))
#: two of them with a place, and one without
REGIONS = "workload.regions=[[1000,60,140,90],[480,620,120,200],[300,24]]"


def load(*overrides: str) -> Any:
    return load_cost_model([*FEW, *overrides], model="paddleocr_vl")


@pytest.mark.parametrize("mode", ["page", "region"])
@pytest.mark.parametrize("others", [(), ("execution=vllm", "runtime.batch_size=2")], ids=["default", "vllm"])
def test_a_page_is_the_sum_of_its_regions(mode: str, others: tuple[str, ...]) -> None:
    model, region = load(f"workload={mode}", REGIONS, *others), load(f"workload={mode}", *others)
    page = model.page(1275, 1650, 70)
    steps = [share for _, share in page.passes(70)]
    passes = [region.page(*size, count) for size, count in zip(SIDES, steps, strict=True)]
    assert sum(steps) == 70
    for stage in (*STAGES, "total"):
        costs = [getattr(each, stage) for each in passes]
        for figure in (*SUMS, "io_bytes"):
            assert getattr(getattr(page, stage), figure) == sum(getattr(each, figure) for each in costs), figure
        for figure in ("activation_peak_bytes", *LARGEST):
            assert getattr(getattr(page, stage), figure) == max(getattr(each, figure) for each in costs), figure
    tokens = sum(each.tokens.total for each in passes)
    assert page.tokens.by_view() == {"regions": tokens}
    assert (page.layout, page.seq_len) == ((tokens, 1), tokens + 3 * 20)
    assert page.prefill.peak_path.startswith("regions.")


def test_shares_are_one_for_each_region() -> None:
    model = load(REGIONS, "workload.output_shares=[0,3,1]")
    assert [steps for _, steps in model.page(1275, 1650, 40).passes(40)] == [0, 30, 10]
    with pytest.raises(ModelMeterError, match="for 3 regions; give 3 numbers, one for each"):
        load(REGIONS, "workload.output_shares=[0,0,3,1]")


def test_the_real_modules_run_one_pass() -> None:
    package, model = model_package("paddleocr_vl"), load(REGIONS)
    for run in (package.whole_model, lambda model: package.real_page(model, model.page(1275, 1650), "cpu")):
        with pytest.raises(ModelMeterError, match="take each region as a page of its own"):
            run(model)


def test_every_output_says_what_is_counted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    given = ["1275x1650", "--model", "paddleocr_vl", "--output-tokens", "70"]
    assert main(["page", *given, "--explain"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1: the page as 1288 x 1652, tokens 46 x 59 (one pass over the whole page)" in text
    assert "the published pipeline has PP-DocLayout, a network of its own, find the regions" in text
    assert main(["page", *given, "--explain", REGIONS]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "3: regions as 1568 x 112, 476 x 616, 1372 x 112 (regions declared)" in text
    assert "tokens 794 image + 3 x 20 prompt (assumed) = 854 prefill" in text
    assert "none over the whole page; PP-DocLayout, which finds them, is not counted" in text
    assert main(["throughput", *given, REGIONS, "--device", "A100-80G", "--engine", "vllm"]) == 0
    assert "(regions declared)" in " ".join(capsys.readouterr().out.split())
    report = tmp_path / "report.json"
    assert main(["report", *given, REGIONS, "--format", "json", "-o", str(report)]) == 0
    views = json.loads(report.read_text())["sections"]["pages"]["page_1"]["data"]["views"]
    assert [each["name"] for each in views] == ["regions"] * 3
    assert views[0]["place"] == [140, 90, 1000, 60] and views[2]["place"] is None


def test_a_corpus_of_regions(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = tmp_path / "pages.csv"
    table.write_text("width,height\n1275,1650\n2000,2000\n900,900\n")
    assert main(["corpus", str(table), "--model", "paddleocr_vl", REGIONS]) == 0
    told = capsys.readouterr()
    assert "workload.regions reach to 1140 x 820 pixels, which is not within the page" in told.err
    assert "regions declared" in told.out
