"""Granite-Docling on the command line: a small one verified, a page's table, what has no code is refused."""

import json
from pathlib import Path

import pytest

from modelmeter.cli.main import main
from tests.models.granite_docling.small import OVERRIDES

MODEL = ("--model", "granite_docling")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("program", ["vision", "end2end"])
def test_whole_pages(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("output_tokens=2",) if program == "end2end" else ()
    assert main(["verify", program, *MODEL, "sizes=[[640,480],[900,300]]", *steps, *OVERRIDES]) == 0
    out = capsys.readouterr().out
    assert "900x300: 900 x 300 pixels, grid 9x3, 28 views, 112 image tokens (thumbnail 4, tiles 108)" in out
    assert "2 of 2 pages verified" in out and "worst difference 0 (tolerance 0)" in out


def test_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "1275x1650", *MODEL, "--json", "--output-tokens", "5"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "granite_docling"
    (page,) = document["pages"]
    assert (page["tokens"]["total"], page["prefill_tokens"]) == (832, 893)


def test_the_tokens_line_counts_the_markers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "1275x1650", *MODEL]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "832 image (64 thumbnail, 768 tiles) + 61 prompt (assumed) = 893 prefill" in out
