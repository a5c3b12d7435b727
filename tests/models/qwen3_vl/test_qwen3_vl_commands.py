"""The commands with `--model qwen3_vl`, and the checkpoints trained from it."""

import json
from pathlib import Path

import pytest

from modelmeter.cli.main import main

MODEL = ("--model", "qwen3_vl")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def printed(capsys: Capture, *arguments: str) -> str:
    status = main(list(arguments))
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def test_a_page_is_told_in_words_of_its_model(capsys: Capture) -> None:
    text = printed(capsys, "page", "1275x1650", "--model", "chandra", "--output-tokens", "1000", "--exact", "--explain")
    assert "the page as 1280 x 1664, tokens 40 x 52" in text
    assert "+ 100 prompt (assumed) = 2180 prefill" in text
    assert "16,149,428,305,920" in text and "49,237,298,511,872" in text
    assert "its config.json and preprocessor_config.json were not at hand" in " ".join(text.split())
    assert "expert" not in text and "crop" not in text
    content = json.loads(printed(capsys, "page", "1275x1650", *MODEL, "--json"))
    assert content["pages"][0]["layout"] == {"columns": 40, "rows": 52}


def test_modes_side_by_side(capsys: Capture) -> None:
    text = printed(capsys, "modes", "640x480", *MODEL)
    assert "tokens, columns x rows" in text and "20 x 15" in text and "43 x 32" in text


def test_pages_that_the_preprocessor_refuses_are_left_out_of_a_corpus(capsys: Capture) -> None:
    Path("sizes.csv").write_text("width,height\n1275,1650\n3000,10\n2000,3000\n")
    assert main(["corpus", "sizes.csv", *MODEL]) == 0
    captured = capsys.readouterr()
    assert "2 pages from sizes.csv; 1 left out" in captured.out
    assert "40 x 52" in captured.out and "62 x 94" in captured.out
    assert "aspect ratio above 200" in captured.err


def test_a_report(capsys: Capture) -> None:
    printed(capsys, "report", "1275x1650", *MODEL, "-o", "report.html")
    text = Path("report.html").read_text()
    assert "deepstack_merger_list" in text and "40 x 52" in text
