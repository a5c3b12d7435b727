"""Qianfan-OCR on the command line: a small one verified, a page's table, a time, what has no code is refused."""

import json
from pathlib import Path

import pytest

from modelmeter.cli.main import main
from tests.models.qianfan_ocr.small import OVERRIDES

MODEL = ("--model", "qianfan_ocr")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("program", ["vision", "end2end"])
def test_whole_pages(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("output_tokens=2",) if program == "end2end" else ()
    assert main(["verify", program, *MODEL, "sizes=[[84,84],[200,110]]", *steps, *OVERRIDES]) == 0
    out = capsys.readouterr().out
    assert "200x110: 200 x 110 pixels, grid 2x1, 3 views, 27 image tokens (thumbnail 9, tiles 18)" in out
    assert "2 of 2 pages verified" in out and "worst difference 0 (tolerance 0)" in out


def test_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "1275x1650", *MODEL, "--output-tokens", "5"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "qianfan_ocr (not all confirmed), workload=tiles" in told
    assert "3328 image (256 thumbnail, 3072 tiles) + 30 prompt (assumed) = 3358" in told
    assert main(["page", "1275x1650", *MODEL, "--explain"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "the model card says 4,096 tokens an image at most, which would be 16 views" in told
    assert "two of them are the markers around an image, however it is cut" in told


def test_a_time_has_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["throughput", "letter", *MODEL, "--device", "H100-SXM", "--output-tokens", "1000", "--json"]
    assert main([*command, "engine=vllm"]) == 0
    rate = json.loads(capsys.readouterr().out)["results"][0]["figures"]["pages_per_s"]
    assert rate["low"] < rate["value"] < rate["high"] and rate["origin"] == "estimate"


def test_pages_of_a_table_are_tallied_by_their_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pages.csv").write_text("width,height\n1275,1650\n448,448\n600,220\n1275,1650\n")
    assert main(["corpus", "pages.csv", *MODEL]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["3", "x", "4", "2", "50.00", "%"] in [row[:6] for row in rows]
    assert ["none", "1", "25.00", "%", "256"] in [row[:5] for row in rows]


def test_what_cannot_be_verified_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "end2end", "execution=vllm", *MODEL]) == 2
    assert "execution=vllm has no code here to measure; verify one of transformers" in capsys.readouterr().err
