"""The commands with `--model qwen2_5_vl`, and the checkpoints trained from it."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from modelmeter.models.qwen2_5_vl import load_cost_model, restore_cost_model

MODEL = ("--model", "qwen2_5_vl")
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
    text = printed(capsys, "page", "1275x1650", "--model", "olmocr_2_7b", "--output-tokens", "1000", "--exact")
    assert "the page as 1008 x 1288, tokens 36 x 46" in text
    assert "+ 100 prompt (assumed) = 1756 prefill" in text
    assert "9,471,376,097,280" in text and "33,627,035,140,096" in text
    assert "expert" not in text and "crop" not in text
    assert "+ 12 prompt (declared)" in printed(capsys, "page", "1275x1650", *MODEL, "runtime.prompt_tokens=12")
    content = json.loads(printed(capsys, "page", "1275x1650", *MODEL, "--json"))
    assert content["pages"][0]["layout"] == {"columns": 36, "rows": 46}


def test_modes_side_by_side(capsys: Capture) -> None:
    text = printed(capsys, "modes", "1275x1650", *MODEL)
    assert "tokens, columns x rows" in text and "46 x 59" in text and "36 x 46" in text


def test_results_are_read_back(capsys: Capture) -> None:
    for name, override in (("a.json", "execution=transformers"), ("b.json", "execution=serving")):
        text = printed(capsys, "page", "640x480", *MODEL, override, "--output-tokens", "130", "--json")
        Path(name).write_text(text)
        document: dict[str, Any] = json.loads(text)
        restored = restore_cost_model(document["configuration"], prompt_tokens=100)
        assert restored.page(640, 480, 130) == load_cost_model([override]).page(640, 480, 130)
    assert "transformers -> serving" in printed(capsys, "diff", "a.json", "b.json")


def test_pages_that_the_preprocessor_refuses_are_left_out_of_a_corpus(capsys: Capture) -> None:
    Path("sizes.csv").write_text("width,height\n1275,1650\n3000,10\n2000,3000\n")
    assert main(["corpus", "sizes.csv", *MODEL]) == 0
    captured = capsys.readouterr()
    assert "2 pages from sizes.csv; 1 left out" in captured.out
    assert "36 x 46" in captured.out and "31 x 46" in captured.out
    assert "aspect ratio above 200" in captured.err


def test_a_report(capsys: Capture) -> None:
    printed(capsys, "report", "1275x1650", *MODEL, "-o", "report.html")
    text = Path("report.html").read_text()
    assert "merger" in text and "36 x 46" in text


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("execution=published", "there is no such execution"),
        ("workload=gundam", "the options are"),
        ("vision.window_size=20", "hold no token of 28"),
        ("vision.fullatt_block_indexes=[40]", "are no blocks of vision.depth=32; give numbers from 0 to 31"),
        ("workload.min_pixels=99999999", "min_pixels"),
        ("runtime.experts_hit=uniform", "the decoder is dense and has no experts"),
        ("runtime.prompt_tokens=128000", "exceed decoder.max_position_embeddings=128000"),
    ],
)
def test_what_the_model_has_not_is_refused(capsys: Capture, override: str, words: str) -> None:
    assert main(["page", "640x480", *MODEL, override]) == 2
    assert words in capsys.readouterr().err
