"""Idefics3 on the command line: a small one verified, a page's table, what has no code is refused."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from modelmeter.cli.main import main
from tests.models.idefics3.small import OVERRIDES

MODEL = ("--model", "idefics3")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("program", ["vision", "end2end"])
def test_whole_pages(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("output_tokens=2",) if program == "end2end" else ()
    assert main(["verify", program, *MODEL, "sizes=[[640,480],[900,150]]", *steps, *OVERRIDES]) == 0
    out = capsys.readouterr().out
    assert "900x150: 900 x 150 pixels, grid 4x1, 5 views, 80 image tokens (thumbnail 16, tiles 64)" in out
    assert "2 of 2 pages verified" in out and "worst difference 0 (tolerance 0)" in out


def test_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "1275x1650", *MODEL, "--json", "--output-tokens", "5"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "idefics3"
    (page,) = document["pages"]
    assert (page["tokens"]["total"], page["prefill_tokens"]) == (1088, 1157)


def test_the_tokens_line_counts_the_markers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "1275x1650", *MODEL]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1088 image (64 thumbnail, 1024 tiles) + 69 prompt (assumed) = 1157 prefill" in out


def test_a_prompt_that_was_counted_is_told_from_the_markers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A result whose prompt a tokenizer counted is what this version makes of it, so that its operators are known."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    counted = (f"runtime.tokenizer_path={tmp_path}", 'runtime.prompt="<image>Convert this page."')
    assert main(["page", "1275x1650", *MODEL, *OVERRIDES, *counted, "--json"]) == 0
    result = tmp_path / "result.json"
    result.write_text(capsys.readouterr().out)
    (page,) = json.loads(result.read_text())["pages"]
    assert page["prefill_tokens"] == page["tokens"]["total"] + 5 + 39  # begin, three words and a dot; the markers
    assert main(["diff", str(result), str(result)]) == 0
    assert "is not what this version computes" not in capsys.readouterr().out
