"""`modelmeter verify --model lighton_ocr`: a small one, of pages with a last row or column that is dropped."""

import json
from pathlib import Path

import pytest

from modelmeter.cli.main import main
from tests.models.lighton_ocr.small import OVERRIDES

MODEL = ("--model", "lighton_ocr")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("program", ["vision", "end2end"])
def test_whole_pages(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("output_tokens=3",) if program == "end2end" else ()
    assert main(["verify", program, *MODEL, "sizes=[[70,95],[56,42]]", *steps, *OVERRIDES]) == 0
    out = capsys.readouterr().out
    assert "70x95: 70 x 95 pixels, patches 5 x 7, 1 views, 6 image tokens (page 6)" in out
    assert "2 of 2 pages verified" in out and "worst difference 0 (tolerance 0)" in out


def test_grouped_heads_in_float32(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("sizes=[[70,95]]", "output_tokens=2", "runtime.dtype=float32", "runtime.batch_size=2")
    assert main(["verify", "end2end", *MODEL, "--json", *arguments, *OVERRIDES]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "lighton_ocr"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("end2end", "execution=serving"), "execution=serving has no code here to measure; verify one of transformers"),
        (("layers",), "the layers of model lighton_ocr are not verified one by one; verify end2end"),
    ],
)
def test_what_cannot_be_verified_is_refused(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *arguments, *MODEL]) == 2
    assert words in capsys.readouterr().err
