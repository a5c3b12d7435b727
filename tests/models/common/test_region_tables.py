"""Regions from a table, or of a typical page: what overrides they stand for, and what is refused, by line."""

import json
from pathlib import Path

import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.region_tables import declared

CSV = "page,width,height,left,top\n1,1000,60,140,90\n1,480,620,,\n2,300,24,0,0\n"
FEW = ["vision.num_hidden_layers=1", "decoder.num_hidden_layers=1", "decoder.vocab_size=100"]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "regions.csv").write_text(CSV)
    rows = [{"width": 1000, "height": 60, "left": 140, "top": 90}, {"width": 480, "height": 620}]
    (tmp_path / "one.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_table_stands_for_its_list(table: Path) -> None:
    listed = "workload.regions=[[1000,60,140,90],[480,620]]"
    assert declared("regions.csv@1") == [listed, "workload.regions_from='regions.csv@1'"]
    assert declared("one.json") == [listed, "workload.regions_from='one.json'"]
    assert declared("'regions.csv@2'") == ["workload.regions=[[300,24,0,0]]", "workload.regions_from='regions.csv@2'"]
    for value in ("[[1,2]]", "[]", "null", "${x}"):
        assert declared(value) is None
    for model in ("paddleocr_vl", "glm_ocr"):
        of_table, of_list = (load_cost_model([each], model=model) for each in ("workload.regions=one.json", listed))
        ours, theirs = of_table.page(1275, 1650, 9), of_list.page(1275, 1650, 9)
        assert (ours.prefill, ours.decode, ours.tokens) == (theirs.prefill, theirs.decode, theirs.tokens)
        (text,) = (each.text for each in of_table.assumptions() if each.figure == "layout")
        assert "2 regions of every page by workload.regions (one.json)" in text


def test_a_layout_pass_comes_before_the_regions_of_a_table(table: Path) -> None:
    page = load_cost_model(["workload.regions=one.json"], model="mineru2_5").page(1275, 1650)
    assert [name for name, *_ in page.parts] == ["layout", "regions.0", "regions.1"]


def test_a_typical_page_fills_its_size_and_is_assumed() -> None:
    model = load_cost_model([*FEW, "workload.regions=omnidocbench@1275x1650"], model="paddleocr_vl")
    regions = model.config.workload.regions
    assert len(regions) == 16 and {each[0] for each in regions} == {1275}
    assert sum(each[1] for each in regions) == 1650 and regions[-1][1] + regions[-1][3] == 1650
    labels = {each.figure: each for each in model.assumptions()}
    assert labels["layout"].label == "typical page assumed"
    assert "15.8 a page" in labels["layout"].text and "arXiv 2605.07492" in labels["layout"].text
    assert len(model.page(1275, 1650).parts) == 16


WRONG = {  # a table's content, what is said
    "no width": ("height\n5\n", "t.csv, line 2: width=None is no whole number of pixels"),
    "no number": ("width,height\n4,5\n4,a\n", "t.csv, line 3: height='a' is no whole number of pixels"),
    "negative": ("width,height\n4,-5\n", "t.csv, line 2: height='-5' is no whole number"),
    "nothing": ("width,height\n4,0\n", "t.csv, line 2: 4 x 0 pixels are no region"),
    "too much": ("width,height\n99999999999,5\n", "t.csv, line 2: width=99999999999 is more than"),
    "left alone": (
        "width,height,left,top\n4,5,6,\n",
        "t.csv, line 2: left is given alone; give left and top",
    ),
    "a column": (
        "width,height,depth\n4,5,6\n",
        "t.csv, line 2: there is no column 'depth'; there are page,",
    ),
    "a field too many": ("width,height\n4,5,6\n", "t.csv, line 2: there is no column None"),
    "empty": ("width,height\n", "t.csv has no region; give a row for each"),
    "several pages": (CSV, "t.csv has regions of 2 pages (1, 2), and they are one page's; name it, as in t.csv@1."),
}


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_by_line(
    table: Path, content: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (table / "t.csv").write_text(content)
    assert main(["page", "1275x1650", "--model", "paddleocr_vl", "workload.regions=t.csv"]) == 2
    assert f"workload.regions: {words}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("regions.csv@9", "regions.csv has no page 9; the options are 1, 2."),
        ("unnamed.csv@7", "unnamed.csv names no pages, so it is one page's; leave @7 out."),
        ("nothing.csv", "nothing.csv does not exist; check the path."),
        ("letters", "workload.regions=letters is neither a list of regions nor a table of them"),
        ("omnidocbench@1275x15", "a page of 15 pixels height has no room for 16 regions"),
        ("one.txt", "one.txt does not exist"),
    ],
)
def test_what_is_no_table_is_refused(table: Path, value: str, words: str) -> None:
    (table / "unnamed.csv").write_text("width,height\n600,400\n")
    with pytest.raises(ModelMeterError, match=words.replace(".", r"\.")):
        load_cost_model([f"workload.regions={value}"], model="paddleocr_vl")


def test_json_is_refused_by_region(table: Path) -> None:
    (table / "bad.json").write_text('[{"width": 4, "height": 5}, {"width": 4.5, "height": 5}]')
    with pytest.raises(ModelMeterError, match=r"bad\.json, region 1: width=4\.5 is no whole number of pixels"):
        declared("bad.json")
    (table / "bad.json").write_text('{"width": 4}')
    with pytest.raises(ModelMeterError, match="a list of mappings is expected"):
        declared("bad.json")
