"""Requests on the command line: prompts without an image, a system prompt, a cached prefix, several pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from modelmeter.models.deepseek_ocr import load_cost_model

Capture = pytest.CaptureFixture[str]
ON = ("--device", "L4")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def printed(capsys: Capture, *arguments: str) -> str:
    status = main([*arguments])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def parsed(capsys: Capture, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(printed(capsys, *arguments, "--json"))
    return document


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_prompt_without_an_image_has_a_page(capsys: Capture) -> None:
    """Its figures are those of `CostModel.text`, its times those of a device without vision."""
    cost = load_cost_model().text(500, 20)
    (prompt,) = parsed(capsys, "page", "text:500", "--output-tokens", "20")["prompts"]
    assert prompt == {"source": "text:500"} | json.loads(json.dumps(cost.to_dict()))
    out = printed(capsys, "page", "TEXT:500", "--output-tokens", "20", *ON, "--explain")
    assert out.startswith("TEXT:500: a prompt of 500 tokens without an image\n")
    assert "tokens  500 prefill\n" in out
    assert "host 12.0 ms + prefill" in words(out)
    assert not {"vision", "views", "image tokens"} & set(out.splitlines()[8].split())
    times = parsed(capsys, "page", "text:500", "--output-tokens", "20", *ON)["times"]
    assert times["alone"]["figures"]["prefill_s"]["value"] > 0


def test_a_prompt_is_told_alone(capsys: Capture) -> None:
    refused = {
        ("page", "text:500", "letter"): "page: text:500 is a prompt without an image, which is told alone; of several",
        ("page", "text:500", "--memory"): "page: --memory looks into a page, and text:500 has none; leave it out.",
        ("page", "text:0"): "text:0 is no prompt; write its tokens, 1 or more, as in text:500.",
        ("page", "text:many"): "text:many is no prompt; write its tokens, 1 or more, as in text:500.",
        ("page", "text:9000"): "page text:9000: context: 9000 tokens of prompt",
        ("modes", "text:500"): "text:500 is a prompt without an image, and here only pages are read; modelmeter page,",
        ("report", "text:500"): "text:500 is a prompt without an image, and here only pages are read",
        (
            "throughput",
            "text:500",
            "--page-class",
            "letter",
        ): "throughput: text:500 is no page, and --page-class",
        ("throughput", "text:500", "--output-tokens", "9", "runtime.pages_per_request=2"): "prompt text:500: runtime.",
    }
    for arguments, start in refused.items():
        assert main([*arguments]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"error: {start}"), arguments
    Path("text:500").write_text("no image")
    assert main(["page", "./text:500"]) == 2
    assert "page text:500 is not an image" in capsys.readouterr().err


def test_pages_and_prompts_are_a_mixture(capsys: Capture) -> None:
    said = ("--output-tokens", "400", "--output-tokens", "50")
    document = parsed(capsys, "throughput", "letter@150", "text:500", *said, *ON)
    assert document["prompts"] == [{"source": "text:500"}]
    (result,) = document["results"]
    page, text = result["kinds"]
    assert (text["label"], text["prefill_tokens"], text["output_tokens"]) == ("text:500", 500, 50)
    alone = parsed(capsys, "throughput", "text:500", "--output-tokens", "50", *ON)["results"][0]["kinds"][0]
    assert text["prefill_s"] == alone["prefill_s"] < page["prefill_s"]
    out = printed(capsys, "simulate", "letter@150", "text:500", *said, *ON, "--rate", "0.1", "--requests", "20")
    assert "0.1 requests/s" in out


@pytest.mark.parametrize(
    "command",
    [
        ("page", "letter@150"),
        ("page", "text:100"),
        ("throughput", "letter@150", "--output-tokens", "50", *ON),
        ("simulate", "letter@150", "--output-tokens", "50", *ON, "--rate", "0.1", "--requests", "10"),
        ("plan", "letter@150", "--output-tokens", "50", *ON, "--pages", "1000/day", "--requests", "10"),
        ("fit", "letter@150", "--output-tokens", "50", *ON, "--precisions", "awq"),
        ("compare", "letter@150", "--models", "deepseek_ocr"),
    ],
    ids=" ".join,
)
def test_the_option_is_the_override(command: tuple[str, ...], capsys: Capture) -> None:
    by_key = printed(capsys, *command, "runtime.system_prompt_tokens=600", "--json")
    assert printed(capsys, *command, "--system-prompt-tokens", "600", "--json") == by_key
    assert printed(capsys, *command, "--json") != by_key
    assert main([*command, "--system-prompt-tokens", "6", "runtime.system_prompt_tokens=5"]) == 2
    assert "both say how long the system prompt is; leave one out." in capsys.readouterr().err


def test_a_hit_stands_beside_the_page(capsys: Capture) -> None:
    asked = ("letter@150", "--system-prompt-tokens", "500", "runtime.prefix_cached=0.9", *ON)
    out = words(printed(capsys, "page", *asked))
    assert "prefix 496 of these are cached for 90 % of requests (declared), whose prefill is " in out
    assert "prefix hits declared" in out
    (page,) = parsed(capsys, "page", *asked)["pages"]
    model = load_cost_model(["engine=vllm", "runtime.system_prompt_tokens=500", "runtime.prefix_cached=0.9"])
    hit = model.for_times().prefill_over_cache(model.for_times().page(1275, 1650), 496)
    assert page["prefix_hit"] == {"cached_tokens": 496, "prefill": json.loads(json.dumps(hit.as_dict()))}
    assert "prefix_hit" not in parsed(capsys, "page", "letter@150")["pages"][0]


def test_several_pages_of_a_request(capsys: Capture) -> None:
    out = words(printed(capsys, "page", "letter@150", "runtime.pages_per_request=4"))
    assert "6 crops of 640 x 640 in 2 columns x 3 rows (4 pages a request)" in out
    assert "tokens 4 x 903 image (273 global, 630 crops) + 10 prompt (declared) = 3622 prefill" in out
    assert "4 x 903 image + 10 prompt (declared) = 3,622 tokens in prefill" in words(
        str(load_cost_model(["runtime.pages_per_request=4"]).page(1275, 1650))
    )
    asked = ("throughput", "letter@150", *ON, "runtime.pages_per_request=2")
    by_class = parsed(capsys, *asked, "--page-class", "letter")["results"][0]["kinds"][0]
    of_page = parsed(capsys, *asked[:-1], "--page-class", "letter")["results"][0]["kinds"][0]
    assert by_class["output_tokens"] == pytest.approx(2 * of_page["output_tokens"])


@pytest.mark.parametrize(
    "command, start",
    [
        (("compare", "letter@150", "--models", "deepseek_ocr"), "compare"),
        (("fit", "letter@150", "--output-tokens", "50", *ON), "fit"),
        (("report", "letter@150", "-o", "report.md"), "report"),
        (("plan", "letter@150", "--output-tokens", "50", *ON, "--pages", "1000/day"), "plan"),
        (("laws", "-o", "laws.json"), "laws"),
        (("corpus", "sizes.csv"), "corpus"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_takes_a_page_a_request(command: tuple[str, ...], start: str, capsys: Capture) -> None:
    Path("sizes.csv").write_text("width,height\n1275,1650\n")
    assert main([*command, "runtime.pages_per_request=2"]) == 2
    said = f"{start}: runtime.pages_per_request=2, and here every page is a request of its own; leave it at 1."
    assert said in words(capsys.readouterr().err)
