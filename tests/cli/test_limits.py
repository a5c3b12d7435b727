"""`modelmeter limits`: the pool by lines, what holds now and as advised, whether memory runs out, and the command."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main

Capture = pytest.CaptureFixture[str]
PAGE = ["limits", "1275x1650", "--output-tokens", "1000", "--device"]


def answered(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert main([*PAGE, *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def screen(capsys: Capture, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setenv("COLUMNS", "300")
    assert main([*PAGE, *arguments]) == 0
    return capsys.readouterr().out


def test_the_lines_of_the_pool_sum_to_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = screen(capsys, monkeypatch, "L4").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("KV pool"))
    figures = {
        line.split("  ")[0]: int(line.split("  ", 1)[1].split()[0].replace(",", ""))
        for line in lines[start + 2 : start + 9]
    }
    share, pool = figures["x 0.9 of it"], figures["= pool"]
    assert figures["memory of the device"] == 24_152_899_584 and share == 24_152_899_584 * 9 // 10
    left = share + sum(nbytes for name, nbytes in figures.items() if name.startswith("- "))
    assert 0 <= left - pool < 16 * figures["a token"] == 16 * 61_440
    assert figures["- profile run: sampler"] == -1_267_737_600


def test_the_answer_in_json(capsys: Capture) -> None:
    document = answered(capsys, "L4")
    now, advised = document["now"], document["advised"]
    assert document["engine"] == "vllm" and document["device"] == "L4"
    assert now["settings"]["max_num_seqs"] == 256
    assert (now["pool"]["tokens"], now["pages_in_pool"]) == (214_960, 111)
    assert now["profile_run"]["peak_part"] == "sampler" and now["profile_run"]["layout"] == [5, 2, 2]
    assert now["encoder_budget"] == {"tokens": 2048, "image_tokens": 903, "images": 2}
    assert now["encoder_cache_bytes"] == 2048 * 2560
    assert now["images"]["layout"] == [7, 2, 3]
    assert advised["pages_at_once"] == advised["settings"]["max_num_seqs"]
    assert document["out_of_memory"].startswith("none to come: encoding 2 images at once (crops 2 x 3)")
    assert set(document["reasons"]) == set(advised["settings"])


def test_the_server_is_started_with_what_is_advised(capsys: Capture) -> None:
    for engine, start, flag in (
        ("vllm", "vllm serve deepseek-ai/DeepSeek-OCR", "--max-num-seqs"),
        ("sglang", "python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-OCR", "--max-running-requests"),
    ):
        document = answered(capsys, "L4", "--engine", engine)
        words = shlex.split(document["server"])
        assert document["server"].startswith(start)
        assert words[words.index(flag) + 1] == str(document["advised"]["settings"]["max_num_seqs"])
        assert "--kv-cache-dtype" not in words


def test_requests_of_several_pages_are_told_as_such(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    told = screen(capsys, monkeypatch, "L4", "runtime.pages_per_request=4")
    assert "longest requests (4,622 tokens) in the pool" in told and "requests at once" in told
    assert "pages at once" not in told and "page's prefill" not in told


@pytest.mark.parametrize(("engine", "kind"), [("vllm", "fp8"), ("sglang", "fp8_e4m3")])
def test_the_server_keeps_the_cache_that_the_pool_is_of(capsys: Capture, engine: str, kind: str) -> None:
    assert f" --kv-cache-dtype {kind} " in answered(capsys, "L4", "--engine", engine, "precision.kv=fp8")["server"]


#: how the screen says it, by overrides on an RTX 3060
VERDICTS = {
    "covered": ((), "none to come: encoding 2 images at once", "in its sampler, 467.3 MB in its images (crops 2 x 2)"),
    "beyond": (("engine.max_num_seqs=8",), "none to come", "77.11 MB come from the 1.288 GB that it left alone"),
    "may": (
        ("engine.max_num_seqs=8", "engine.gpu_memory_utilization=0.95"),
        "may come",
        "567.1 MB stay for context and graphs, less than 1.074 GB; engine.gpu_memory_utilization=0.91 leaves enough",
    ),
    "to_come": (
        ("engine.max_num_seqs=8", "engine.gpu_memory_utilization=1.0"),
        "to come",
        "77.11 MB more than there is; engine.gpu_memory_utilization=0.91 leaves enough",
    ),
    "given": (("engine.reserve_bytes=900000000",), "may come", "engine.reserve_bytes leaves 310.0 MB for that"),
    "decoder": (
        ("engine.max_num_seqs=1", "engine.max_num_batched_tokens=8000"),
        "none to come",
        "profile run held",
    ),
    "sglang": (("engine=sglang",), "none to come", "sglang profiles nothing and reserves nothing for that"),
}


@pytest.mark.parametrize("overrides, beginning, words", VERDICTS.values(), ids=VERDICTS)
def test_whether_memory_runs_out(capsys: Capture, overrides: tuple[str, ...], beginning: str, words: str) -> None:
    told = answered(capsys, "RTX-3060-12GB", *overrides)["out_of_memory"]
    assert told.startswith(beginning)
    assert words in told


def test_a_model_whose_image_nobody_has_read(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    out = screen(capsys, monkeypatch, "L4", "--model", "lighton_ocr")
    assert "which image it takes of this model nobody has read" in out
    assert "profile run: vision" not in out and "profile run: images" not in out


def test_the_screen_fits_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in (("L4",), ("L4", "--engine", "sglang"), ("H100-SXM", "--model", "unlimited_ocr")):
        assert main([*PAGE, *arguments]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_pages_of_a_table(capsys: Capture, tmp_path: Path) -> None:
    table = tmp_path / "pages.csv"
    table.write_text("width,height,kind\n1275,1650,letter\n600,600,stamp\n", encoding="utf-8")
    arguments = ["limits", str(table), "--by", "kind", "--device", "L4", "--json"]
    assert main([*arguments, "--output-tokens", "letter=1000", "--output-tokens", "stamp=2000"]) == 0
    assert json.loads(capsys.readouterr().out)["longest_tokens"] == 283 + 2000


def test_every_line_is_explained(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    out = screen(capsys, monkeypatch, "L4", "--explain")
    for line in ("requests of max_model_len", "beyond the engine's share", "room for context and graphs", "decided by"):
        assert out.count(line) >= 2
    assert "by convention" in out


REFUSED = {
    ("--explain", "--json"): "--explain is of the screen",
    ("--engine", "transformers"): "engine=transformers allocates no pool",
    ("engine.max_model_len=10000",): "engine.max_model_len=10000 is more than the 8192 positions",
    ("engine.gpu_memory_utilization=0.3",): "give engine.gpu_memory_utilization=0.359 or more",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_is_refused(arguments: tuple[str, ...], capsys: Capture) -> None:
    assert main([*PAGE, "L4", *arguments]) == 2
    assert REFUSED[arguments] in capsys.readouterr().err
