"""The commands with `--model lighton_ocr`."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from modelmeter.models.lighton_ocr import load_cost_model, restore_cost_model
from modelmeter.report.corpus_tables import MAX_LAYOUTS

MODEL = ("--model", "lighton_ocr")
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
    text = printed(capsys, "page", "1275x1650", *MODEL, "--output-tokens", "1000", "--exact")
    assert "views   1: the page as 1190 x 1540, patches 85 x 110" in text
    assert "tokens  2310 image + 10 prompt (assumed) = 2320 prefill" in text
    assert "16,163,922,001,920" in text and "19,442,291,458,048" in text
    assert "+ 12 prompt (declared)" in printed(capsys, "page", "1275x1650", *MODEL, "runtime.prompt_tokens=12")
    assert "expert" not in text and "crop" not in text
    content = json.loads(printed(capsys, "page", "1275x1650", *MODEL, "--json"))
    assert content["pages"][0]["layout"] == {"columns": 85, "rows": 110}


def test_modes_side_by_side(capsys: Capture) -> None:
    text = printed(capsys, "modes", "1275x1650", *MODEL)
    assert "patches, columns x rows" in text


def test_results_are_read_back(capsys: Capture) -> None:
    for name, override in (("a.json", "execution=transformers"), ("b.json", "execution=serving")):
        text = printed(capsys, "page", "640x480", *MODEL, override, "--output-tokens", "130", "--json")
        Path(name).write_text(text)
        document: dict[str, Any] = json.loads(text)
        restored = restore_cost_model(document["configuration"], prompt_tokens=10)
        assert restored.page(640, 480, 130) == load_cost_model([override]).page(640, 480, 130)
    assert "transformers -> serving" in printed(capsys, "diff", "a.json", "b.json")


def test_a_corpus_of_many_sizes_lists_the_most_frequent(capsys: Capture) -> None:
    sizes = [(600 + 14 * (index % 30), 500 + 14 * (index // 30)) for index in range(600)]
    with open("sizes.csv", "w", newline="") as file:
        csv.writer(file).writerows([("width", "height"), *sizes, *sizes[:1] * 5])
    text = printed(capsys, "corpus", "sizes.csv", *MODEL, "--output-tokens", "200")
    assert f"The {MAX_LAYOUTS} layouts with the most pages, of 600; shares are of these pages." in text
    assert "43 x 36" in text
    content = json.loads(printed(capsys, "corpus", "sizes.csv", *MODEL, "--json"))
    assert len(content["layouts"]) == 600
    assert content["layouts"][0]["layout"] == {"patch_columns": 43, "patch_rows": 36}


def test_pages_of_less_than_a_token_are_left_out_of_a_corpus(capsys: Capture) -> None:
    Path("sizes.csv").write_text("width,height\n1275,1650\n3000,20\n")
    assert main(["corpus", "sizes.csv", *MODEL]) == 0
    captured = capsys.readouterr()
    assert "1 page from sizes.csv; 1 left out" in captured.out
    assert "110 x 1 patches has no square of 2 x 2" in captured.err


def test_a_report(capsys: Capture) -> None:
    printed(capsys, "report", "1275x1650", *MODEL, "-o", "report.html")
    text = Path("report.html").read_text()
    assert "patch_merger" in text and "85 x 110" in text


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("execution=published", "there is no such execution"),
        ("workload=gundam", "the options are page, squares"),
        ("workload.longest_edge=14", "leaves no token of 2 x 2 patches of 14 pixels; give 15 or more"),
        ("vision.num_attention_heads=24", "hidden_size=1024 does not divide by num_attention_heads=24 (remainder 16)"),
        ("vision.hidden_size=96", "heads of 6 elements do not divide by 4"),
        ("decoder.num_key_value_heads=5", "num_attention_heads=16 does not divide by num_key_value_heads=5"),
        ("runtime.experts_hit=uniform", "the decoder is dense and has no experts"),
        ("runtime.prompt_tokens=8000", "exceed decoder.max_position_embeddings=8192"),
    ],
)
def test_what_the_model_has_not_is_refused(capsys: Capture, override: str, words: str) -> None:
    assert main(["page", "640x480", *MODEL, override]) == 2
    assert words in capsys.readouterr().err
