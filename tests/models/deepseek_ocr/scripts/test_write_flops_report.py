"""The report on FLOPs by grid: what is committed follows from the model, and what is written from the list."""

import re
from collections import Counter
from pathlib import Path

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.models.deepseek_ocr.scripts.verify import write_flops_report
from modelmeter.models.deepseek_ocr.scripts.verify.write_flops_report import (
    REPORT,
    Verified,
    count_grids,
    mode_table,
    read_sizes,
    report_text,
    write_report,
)
from modelmeter.models.deepseek_ocr.vision_workload import MODES
from modelmeter.page_sizes import PageSize

COMMITTED = (Path(__file__).parents[4] / REPORT).read_text(encoding="utf-8")


def test_the_committed_report_is_what_the_model_says() -> None:
    """All of it but the measurement: the grids' pages are read back from it, and no difference is in it."""
    tables, pages = {}, Counter[str]()
    for mode, section in zip(MODES, COMMITTED.split("\n## ")[1:], strict=True):
        assert section.startswith(f"{mode}\n")
        counts, verified = {}, {}
        for line in section.splitlines()[4:]:
            cells = line.strip("| ").split(" | ")
            grid = (1, 1) if cells[0] == "no crops" else tuple(map(int, cells[0].split("x")))
            counts[grid] = int(cells[1])
            verified[grid] = Verified(figures=int(cells[-2]), worst=0, agrees=True)
            pages[mode] += int(cells[1])
        tables[mode] = mode_table(load_cost_model([f"workload={mode}"]), counts, verified)
    assert set(pages.values()) == {28}
    assert report_text("OmniDocBench", tables, 28, 10) == COMMITTED


def test_pages_are_counted_by_grid() -> None:
    sizes = [PageSize(source="", width=width, height=height) for width, height in ((600, 1200), (1, 1), (700, 1400))]
    assert count_grids(load_cost_model(), sizes) == {(1, 2): 2, (1, 1): 1}


def test_the_list_makes_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "sizes.csv"
    listed.write_text("source,page_id,width,height\nSome-a,p,600,1200\nOther,q,x,y\nSome-b,r,40,30\n")
    monkeypatch.setattr(write_flops_report, "MODES", ["tiny"])
    monkeypatch.setattr(write_flops_report, "REPORT", tmp_path / "flops.md")
    assert write_report([str(listed), "Some"]) == 0
    assert "tiny: 1 grids, worst difference 0" in capsys.readouterr().out
    written = (tmp_path / "flops.md").read_text()
    assert re.search(r"\| no crops \| 2 \| 73 \| 83 \| 268,307,824,640 \| .* \| 0 \|\n", written)
    assert str(tmp_path) not in written


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "cannot be read as CSV"),
        ("source,width\n", "lacks the columns height; source, width, height are read"),
        ("source,width,height\nb,1,1\n", "has no page whose source begins with a"),
        ("source,width,height\na,1,1\na,7,none\n", "line 3: width=7, height=none is no size in pixels"),
        ("source,width,height\na,0,5\n", "line 2: width=0, height=5 is no size"),
    ],
)
def test_a_list_that_cannot_be_used(text: str | None, message: str, tmp_path: Path) -> None:
    listed = tmp_path / "sizes.csv"
    if text is not None:
        listed.write_text(text)
    with pytest.raises(ModelMeterError, match=message):
        read_sizes(listed, "a")


@pytest.mark.parametrize("arguments", [[], ["-v"], ["a", "b", "c"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    with pytest.raises(ModelMeterError, match="give a CSV file of page sizes"):
        write_report(arguments)
