"""DeepSeek-OCR-2 on the command line: a small one verified, a page's table, what has no code is refused."""

import json
from pathlib import Path

import pytest

from modelmeter.cli.main import main
from tests.models.deepseek_ocr2.small import OVERRIDES

MODEL = ("--model", "deepseek_ocr2")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("program", ["vision", "end2end"])
def test_whole_pages(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("output_tokens=2",) if program == "end2end" else ()
    assert main(["verify", program, *MODEL, "sizes=[[640,480],[900,450]]", *steps, *OVERRIDES]) == 0
    out = capsys.readouterr().out
    assert "900x450: 900 x 450 pixels, grid 2x1, 3 views, 545 image tokens (global 257, local 288)" in out
    assert "2 of 2 pages verified" in out and "worst difference 0 (tolerance 0)" in out


def test_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "1275x1650", *MODEL, "--json", "--output-tokens", "5"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "deepseek_ocr2"
    assert document["pages"][0]["tokens"]["total"] == 1121


def test_what_cannot_be_verified_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "end2end", "execution=serving", *MODEL]) == 2
    assert "execution=serving has no code here to measure; verify one of transformers" in capsys.readouterr().err
