"""The commands with `--model mineru2_5`, a checkpoint of `qwen2_vl`."""

import pytest

from modelmeter.cli.main import main


def test_a_page_is_its_layout_pass(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["page", "1275x1650", "--model", "mineru2_5", "--exact", "--explain"]) == 0
    text = capsys.readouterr().out
    assert "the page as 1036 x 1036, tokens 37 x 37 (layout pass alone)" in text
    assert "11,904,224,706,560" in text and "13,074,046,291,968" in text
    assert "each region is recognised in a pass of its own" in text
    assert main(["page", "1275x1650", "--model", "mineru2_5", "workload=page"]) == 0
    text = capsys.readouterr().out
    assert "layout pass" not in text and "46 x 59" in text


def test_a_page_of_any_ratio_has_a_layout_and_no_other_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "3000x10", "--model", "mineru2_5"]) == 0
    assert "37 x 37" in capsys.readouterr().out
    assert main(["page", "3000x10", "--model", "mineru2_5", "workload=page"]) == 2
    assert "aspect ratio above 200" in capsys.readouterr().err
