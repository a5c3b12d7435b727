"""The commands with `--model hunyuan_ocr`, and the programs."""

import json
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from modelmeter.cli.main import main


def test_a_page(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["page", "1275x1650", "--model", "hunyuan_ocr", "--exact"]) == 0
    text = capsys.readouterr().out
    assert "the page as 1280 x 1664, tokens 40 x 52" in text and "2134 image + 40 prompt (assumed)" in text
    assert "15,575,760,764,928" in text and "18,310,678,417,408" in text


@pytest.mark.slow
def test_whole_pages_are_those_of_the_real_modules(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    few = ("decoder.num_hidden_layers=2", "vision.num_hidden_layers=2", "decoder.vocab_size=1000")
    arguments = ("verify", "end2end", "--model", "hunyuan_vl", *few, "sizes=[[420,300]]", "output_tokens=2", "--json")
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    (page,) = result["pages"]
    assert (result["worst_difference"], len(page["steps"])) == (0, 2)
    assert page["stages"]["vision"]["peak_path"]["measured"].startswith("vit.")
