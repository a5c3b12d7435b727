"""`modelmeter page` on a device, in parts, as files: what is printed and written, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from modelmeter.cli.page import BY
from modelmeter.devices import PageKind, compute_throughput, load_device
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.report import parts

Capture = pytest.CaptureFixture[str]
PAGE = "700x500"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def printed(capsys: Capture, *arguments: str) -> str:
    status = main(["page", *arguments])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def parsed(capsys: Capture, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(printed(capsys, *arguments, "--json"))
    return document


def words(out: str) -> str:
    return " ".join(out.split())


def test_what_by_takes_is_what_parts_are_told_by() -> None:
    assert BY == parts.BY


def test_a_device_is_an_option_or_a_key(capsys: Capture) -> None:
    asked = (PAGE, "--output-tokens", "50")
    out = printed(capsys, *asked, "--device", "H100-SXM")
    assert printed(capsys, *asked, "device=H100-SXM") == out
    assert "execution=vllm (an engine's kernels, as read)" in words(out)
    assert "time on H100-SXM, engine vllm by default; estimates (low-high)" in words(out)
    chosen = printed(capsys, *asked, "--device", "H100-SXM", "--engine", "sglang")
    assert chosen == printed(capsys, *asked, "--device", "H100-SXM", "engine=sglang")
    assert "time on H100-SXM, engine sglang; " in words(chosen)
    bound = words(printed(capsys, *asked, "--device", "H100-SXM", "engine=best"))
    assert "engine best; bounds: times at least, rates at most alone " in bound


def test_a_model_whose_code_in_vllm_is_not_written_down_gets_a_bound(toy: str, capsys: Capture) -> None:
    out = printed(capsys, PAGE, "--device", "H100-SXM", "--model", toy)
    assert "engine best by default, as what vllm launches for this model is not written down; bounds" in words(out)
    assert " pages/s of prefill alone" in out and "a day" not in out


def test_the_engine_alone_decides_what_is_counted(capsys: Capture) -> None:
    assert "execution=vllm" in printed(capsys, PAGE, "--engine", "vllm")
    assert "execution=transformers" in printed(capsys, PAGE)


def test_a_file_called_as_the_key_is_a_page(capsys: Capture) -> None:
    Path("device=H100-SXM").write_text("no image")
    assert main(["page", PAGE, "device=H100-SXM"]) == 2
    assert "page device=H100-SXM is not an image" in capsys.readouterr().err


def test_json_has_the_times_of_throughput(capsys: Capture) -> None:
    document = parsed(capsys, PAGE, "--output-tokens", "50", "--device", "L4")
    model = load_cost_model(["engine=vllm"]).for_times()
    kinds = [PageKind(page=model.page(700, 500), output_tokens=50)]
    times = document["times"]
    assert (times["device"], times["engine"]) == ("L4", "vllm")
    for name, batch in (("alone", 1), ("most", None)):
        result = compute_throughput(model, load_device("L4"), kinds, batch_size=batch)
        value, low, high = result.interval("pages_per_s")
        figure = times[name]["figures"]["pages_per_s"]
        assert (figure["value"], figure["low"], figure["high"]) == pytest.approx((value, low, high))
        assert times[name]["figures"]["batch_size"]["value"] == result.batch_size
    assert document["settings"]["runtime.experts_hit"] == "uniform"


def test_a_device_that_cannot_says_why(capsys: Capture) -> None:
    out = words(printed(capsys, PAGE, "--device", "T4"))
    assert "time device T4 lists no matmul peak for bf16" in out
    assert "device T4 lists no" in parsed(capsys, PAGE, "--device", "T4")["times"]["error"]
    out = words(
        printed(capsys, PAGE, "--device", "RTX-3070", "--engine", "transformers", "decoder.n_routed_experts=128")
    )
    assert "time device RTX-3070: 1 page at once needs" in out
    assert "fit at once" not in out


@pytest.mark.parametrize("by", BY)
def test_parts_on_the_screen_and_as_json(by: str, capsys: Capture) -> None:
    asked = (PAGE, "--output-tokens", "5", "--by", by)
    out = printed(capsys, *asked, "--top", "2")
    assert max(map(len, out.splitlines())) <= 80
    assert out.count(" more  ") == 2 and "decode step 5 of 5, with " in out
    content = parsed(capsys, *asked)["parts"]
    assert content["by"] == by
    page = load_cost_model().page(700, 500)
    assert sum(part["tensor_core_flops"] for part in content["stages"]["prefill"]) == page.prefill.tensor_core_flops
    assert "seconds" not in content["stages"]["prefill"][0]
    timed = parsed(capsys, *asked, "--device", "H100-SXM")["parts"]["stages"]["decode_step"]
    assert all(part["seconds"] > 0 and part["bound"] in ("compute", "memory", "launch") for part in timed)
    out = printed(capsys, *asked, "--device", "H100-SXM")
    assert max(map(len, out.splitlines())) <= 80
    assert "time on H100-SXM, engine vllm by default; estimates of the operators' kernels" in words(out)


def test_a_page_of_several_passes_has_no_trace(capsys: Capture) -> None:
    asked = ("1275x1650", "--model", "mineru2_5", "workload.regions=[[600,400]]", "--device", "H100-SXM")
    assert main(["page", *asked, "--trace", "t.json"]) == 2
    assert "page: --trace is of a page of one pass; leave workload.regions out." in capsys.readouterr().err
    screen = words(printed(capsys, *asked))
    assert "workload=layout workload.regions=[[600,400]], execution=" in screen
    assert "(regions: assumed) + prefill" in screen
    assert "regions: assumed" not in words(printed(capsys, *asked[:3], *asked[4:]))


def test_who_holds_the_peak(capsys: Capture) -> None:
    page = load_cost_model().page(700, 500)
    out = printed(capsys, PAGE, "--memory", "--exact")
    (total,) = [line for line in out.splitlines() if line.startswith("all ")]
    assert f" {page.prefill.resident_peak_bytes:,} B " in total
    holders = parsed(capsys, PAGE, "--memory")["peak_holders"]
    assert holders["stage"] == "prefill"
    held = sum(each["nbytes"] for each in holders["holders"])
    assert held == holders["peak_bytes"] == page.prefill.resident_peak_bytes
    assert max(map(len, printed(capsys, PAGE, "--memory").splitlines())) <= 80


def test_files_are_written_and_told(capsys: Capture) -> None:
    out = printed(capsys, PAGE, "--csv", "operators.csv", "--device", "H100-SXM", "--trace", "page.json")
    assert f"\noperators.csv: {Path('operators.csv').stat().st_size:,} bytes\n" in out
    assert f"\npage.json: {Path('page.json').stat().st_size:,} bytes\n" in out
    with open("operators.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert json.loads(Path("page.json").read_text())["otherData"]["device"] == "H100-SXM"
    assert float(rows[0]["seconds"]) > 0
    streamed = printed(capsys, PAGE, "--csv", "-", "--device", "H100-SXM")
    assert streamed == Path("operators.csv").read_text()
    by_operator = csv.DictReader(io.StringIO(printed(capsys, PAGE, "--csv", "-", "--by", "operator")))
    assert {"name", "operators", "io_bytes"} <= set(by_operator.fieldnames or ())
    assert json.loads(printed(capsys, PAGE, "--trace", "/dev/stdout", "--device", "H100-SXM"))["traceEvents"]
    written = parsed(capsys, PAGE, "--csv", "again.csv")
    assert Path("again.csv").exists() and "pages" in written


def test_several_pages_have_a_line_each(capsys: Capture) -> None:
    out = printed(capsys, "640x480", "1275x1650", "--output-tokens", "100", "--device", "H100-SXM")
    assert max(map(len, out.splitlines())) <= 80
    listed = [line for line in out.splitlines() if line.startswith(("640x480", "1275x1650"))]
    assert len(listed) == 2 and all(line.endswith(("ms", " s")) for line in listed)
    assert (
        "the average alone " in out and "all 2 pages at that rate " in out and "so few never fill a batch" in words(out)
    )
    assert "memory at most 8.2" in words(out)
    larger, smaller = (load_cost_model(["engine=vllm"]).page(*size).total for size in ((1275, 1650), (640, 480)))
    assert larger.activation_peak_bytes > smaller.activation_peak_bytes
    assert f"peak {larger.activation_peak_bytes / 1e6:.1f} MB at " in words(out)


REFUSED = {
    "top": (("--top", "3"), "page: --top 3 is of what --by or --memory lists; add one of them."),
    "trace": (("--trace", "t.json"), "page: --trace is of times on a device; add one, as in --device H100-SXM."),
    "one_stream": (
        ("--csv", "-", "--json"),
        "page: --json and --csv - would share standard output; give a file's name.",
    ),
    "explain_json": (("--explain", "--json"), "page: --explain is of the screen; --json says its assumptions; leave"),
    "one_file": (("--csv", "a", "--trace", "./a", "device=L4"), "page: --csv and --trace would both write a; give two"),
    "devices": (("device=L4", "--device", "A10"), "page: A10 and L4 are 2 devices; give one, or set them side by side"),
    "engines": (("--engine", "vllm", "engine=best"), "page: --engine vllm and engine=best both name the engine; leave"),
    "engine_and_execution": (("--engine", "vllm", "execution=serving"), "engine=vllm launches execution=vllm, and "),
    "unknown_engine": (("--engine", "vlm"), 'engine=vlm: there is no such engine; did you mean "vllm"?'),
    "unknown_device": (("--device", "L44"), 'device L44 is unknown; did you mean "L4"?'),
    "several": (("640x480", "--by", "module"), "page: --by looks into one page, and there are pages of 2 sizes; give"),
    "batch": (
        ("--device", "L4", "runtime.batch_size=3"),
        "page: runtime.batch_size=3 makes one pass of several pages, ",
    ),
    "no_peak": (("--device", "T4", "--by", "module"), "device T4 lists no matmul peak for bf16"),
    "no_trace": (("--device", "T4", "--trace", "t"), "device T4 lists no matmul peak for bf16"),
}


@pytest.mark.parametrize("arguments, text", REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], text: str, capsys: Capture) -> None:
    assert main(["page", PAGE, *arguments]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == "" and line.startswith(f"error: {text}")
    assert list(Path().iterdir()) == []
