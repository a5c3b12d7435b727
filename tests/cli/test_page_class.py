"""--page-class: output tokens by the class of pages, in throughput, report and corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from modelmeter.cli.main import main
from modelmeter.output_tokens import estimate, samples

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def parsed(capsys: Capture, *arguments: str) -> dict[str, Any]:
    status = main([*arguments, "--json"])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    document: dict[str, Any] = json.loads(captured.out)
    return document


def refused(capsys: Capture, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def output_tokens(document: dict[str, Any]) -> float:
    """Of a page, of the first device."""
    tokens: float = document["results"][0]["figures"]["output_tokens"]["value"]
    return tokens


def assumed(document: dict[str, Any], figure: str = "output_tokens") -> list[str]:
    return [each["label"] for each in document["assumptions"] if each["figure"] == figure]


def test_pages_of_one_class_are_spread_around_its_median(capsys: Capture) -> None:
    """The mean of a log-normal distribution lies above its median."""
    document = parsed(capsys, "throughput", "1275x1650", "--device", "H100-SXM", "--page-class", "letter")
    tokens = estimate("letter", "deepseek")
    mean = sum(steps * share for steps, share in tokens.spread().items())
    assert output_tokens(document) == pytest.approx(float(mean), rel=1e-3)
    assert tokens.median < mean < 1.1 * tokens.median
    assert assumed(document) == ["page class letter"]
    assert document["results"][0]["figures"]["output_tokens"]["origin"] == "assumed"


def test_a_table_names_the_class_of_each_page(capsys: Capture, tmp_path: Path) -> None:
    """Two receipts and a letter; nothing is said of other classes."""
    Path("sizes.csv").write_text("width,height,kind\n1275,1650,letter\n600,1600,receipt\n600,1600,receipt\n")
    letter, receipt = estimate("letter", "deepseek"), estimate("receipt", "deepseek")
    document = parsed(capsys, "throughput", "sizes.csv", "--device", "H100-SXM", "--page-class", "kind")
    means = [float(sum(n * share for n, share in each.spread().items())) for each in (letter, receipt, receipt)]
    assert output_tokens(document) == pytest.approx(sum(means) / 3, rel=1e-3)
    assert assumed(document) == ["page class letter", "page class receipt"]

    counted = parsed(capsys, "corpus", "sizes.csv", "--page-class", "kind")
    assert counted["output_tokens"] == letter.median + 2 * receipt.median

    assert main(["report", "sizes.csv", "--page-class", "kind", "-o", "report.json"]) == 0
    text = Path("report.json").read_text()
    assert f"{letter.median:,} tokens at the median" in text


def test_a_class_that_does_not_exist_costs_its_row(capsys: Capture) -> None:
    """The others stand."""
    Path("sizes.csv").write_text("width,height,kind\n1275,1650,letter\n600,1600,receit\n600,1600,\n")
    assert main(["corpus", "sizes.csv", "--page-class", "kind"]) == 0
    said = capsys.readouterr().err
    assert "page class receit is none whose tokens are known" in said and 'did you mean "receipt"' in said
    assert "page class is missing" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--page-class", "leter"], 'is no class, and 1275x1650 is no table with such a column; did you mean "letter"'),
        (["--page-class", "letter", "--output-tokens", "9"], "both say how long texts are; give one of the two"),
        (["--language", "german"], "--language german is of pages whose class is said; add --page-class letter"),
        (["--page-class", "letter", "--language", "klingon"], "language klingon does not exist"),
        (["--page-class", "letter", "--text-format", "word"], "format word does not exist"),
        (["--page-class", "letter", "--tokenizers", "nowhere"], "--tokenizers nowhere is no folder"),
        (["--page-class", "letter", "--runaway-share", "nugat"], 'did you mean "nougat"'),
        (["--page-class", "letter", "--runaway-share", "1"], "1 is no share; give a number from 0 to below 1"),
        (["--page-class", "letter", "--model", "glm_ocr"], "throughput: glm_ocr: no source counts its tokenizer's"),
    ],
)
def test_what_is_refused(capsys: Capture, arguments: list[str], said: str) -> None:
    assert said in refused(capsys, "throughput", "1275x1650", "--device", "H100-SXM", *arguments)


def test_a_tokenizer_of_one_s_own_is_measured(capsys: Capture, tmp_path: Path) -> None:
    """One token a word: tokens a character are scaled by the sample's words beside the counted tokenizer's tokens."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder = tmp_path / "tokenizers" / "deepseek_ocr"
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    arguments = ("throughput", "1275x1650", "--device", "H100-SXM", "--page-class", "letter", "--text-format", "plain")
    document = parsed(capsys, *arguments, "--tokenizers", "tokenizers")
    words = len(samples()["prose"].text.split())
    counted = parsed(capsys, *arguments)
    ratio = output_tokens(document) / output_tokens(counted)
    assert ratio == pytest.approx(words / samples()["prose"].tokens, rel=0.01)


def test_a_published_share_of_runaways_says_where_it_is_from(capsys: Capture) -> None:
    """By its name, as the number would."""
    arguments = ("throughput", "1275x1650", "--device", "H100-SXM", "--output-tokens", "1000", "--runaway-share")
    document = parsed(capsys, *arguments, "old_prints")
    assert document["runaway_share"] == 0.054
    assert assumed(document, "runaway_share") == ["runaway share old_prints"]
    assert document["results"] == parsed(capsys, *arguments, "0.054")["results"]
