"""The commands with `--model unlimited_ocr`."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from modelmeter.models.unlimited_ocr import load_cost_model, restore_cost_model

MODEL = ("--model", "unlimited_ocr")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status = main(list(arguments))
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def test_a_page_is_told_in_words_of_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "page", "1275x1650", *MODEL, "--output-tokens", "1000")
    assert "views   13: the page as 1024 x 1024, 12 local of 640 x 640 in 3 columns x 4 rows" in text
    assert "tokens  1513 image (273 global, 1240 local)" in text
    assert "crops" not in text.replace("crop_to_patches", "")
    assert ", no tiles" in printed(capsys, "page", "640x480", *MODEL)


def test_modes_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "modes", "1275x1650", *MODEL)
    assert "tiles, columns x rows" in text
    assert "crops" not in text


def test_results_are_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    for name, override in (("a.json", "execution=transformers"), ("b.json", "execution=serving")):
        text = printed(capsys, "page", "640x480", *MODEL, override, "--output-tokens", "130", "--json")
        Path(name).write_text(text)
        document: dict[str, Any] = json.loads(text)
        restored = restore_cost_model(document["configuration"], prompt_tokens=10)
        assert restored.page(640, 480, 130) == load_cost_model([override]).page(640, 480, 130)
    assert "transformers -> serving" in printed(capsys, "diff", "a.json", "b.json")


def test_a_corpus_has_the_models_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sizes.csv").write_text("width,height\n1275,1650\n600,220\n3000,400\n")
    text = printed(capsys, "corpus", "sizes.csv", *MODEL, "--output-tokens", "200")
    assert "15 x 2" in text


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("execution=published", "there is no such execution"),
        ("workload=gundam", "the options are tiles, whole"),
        ("decoder.sliding_window=1", "give 2 or more"),
        ("workload.downsample_ratio=2", "make one token of 4 x 4 patches"),
    ],
)
def test_what_the_model_has_not_is_refused(capsys: pytest.CaptureFixture[str], override: str, words: str) -> None:
    assert main(["page", "640x480", *MODEL, override]) == 2
    assert words in capsys.readouterr().err
