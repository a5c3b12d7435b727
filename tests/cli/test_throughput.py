"""`modelmeter throughput`: its inputs, its tables, its JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from modelmeter.devices import PageKind, bundled_devices, compute_throughput, load_device
from modelmeter.devices.throughput import ORIGINS
from modelmeter.models.deepseek_ocr import CostModel, load_cost_model
from tests.devices.synthetic import write_device

Capture = pytest.CaptureFixture[str]

#: what three digits, as tables show of an estimate, leave of it
HALF_A_DIGIT = 5e-3


def served(*overrides: str) -> CostModel:
    """The model as the command takes it, unless another engine is named."""
    return load_cost_model(["engine=vllm", *overrides])


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def printed(capsys: Capture, *arguments: str) -> str:
    status = main(["throughput", *arguments])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def parsed(capsys: Capture, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(printed(capsys, *arguments, "--json"))
    return document


def refused(capsys: Capture, *arguments: str) -> str:
    assert main(["throughput", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(line.startswith("error: ") for line in captured.err.splitlines())
    return captured.err


def row(out: str, name: str) -> list[str]:
    cells = next(line.split() for line in out.splitlines() if line.split()[:1] == [name])
    return cells[1:]


def test_one_device_says_what_is_computed_and_where_it_comes_from(capsys: Capture) -> None:
    arguments = ("1275x1650", "--device", "a100-40g", "--output-tokens", "1000", "--price", "1.5")
    out = printed(capsys, *arguments, "--concurrency", "16")
    model = served()
    kind = PageKind(page=model.page(1275, 1650), output_tokens=1000, label="1275x1650")
    result = compute_throughput(model, load_device("A100-40G"), [kind], price_per_hour=1.5, in_flight=16)
    for figure in result.figures():
        stage, share, name = figure.name.partition("_share_")
        if share:  # a row a class of kernels, a column a stage
            cell = row(out, name)[["prefill", "decode"].index(stage)]
            assert float(cell) == pytest.approx(figure.value, rel=HALF_A_DIGIT)
            continue
        (line,) = (line for line in out.splitlines() if line.endswith(ORIGINS) and line.split()[0] == figure.name)
        value, *rest = line.split()[1:]
        if isinstance(figure.value, str):
            assert value == figure.value
            continue
        assert float(value.replace(",", "")) == pytest.approx(figure.value, rel=HALF_A_DIGIT)
        if figure.low is not None and figure.high is not None:
            ends = [float(each.replace(",", "")) for each in rest[:2]]
            assert ends == pytest.approx([figure.low, figure.high], rel=HALF_A_DIGIT)
            rest = rest[2:]
        assert " ".join(rest) == f"{figure.unit} {figure.origin}".strip()
    seconds = [float(cell) for cell in row(out, "1275x1650")[3:]]
    assert row(out, "1275x1650")[:3] == ["1", "913", "1,000"]
    figures = (result.prefill_s, result.decode_s, result.device_pages_per_s)
    assert seconds == pytest.approx([*figures], rel=HALF_A_DIGIT)
    assert result.concurrency is not None
    loop, *_ = result.concurrency.loops
    closed = [float(cell.replace(",", "")) for cell in row(out, "16")[2:]]
    assert closed[0] == pytest.approx(loop.requests_per_s, rel=HALF_A_DIGIT)
    assert closed[3:] == pytest.approx(
        [loop.requests_per_s * 1000, loop.ttft_s, loop.decode_s, loop.latency_s], rel=HALF_A_DIGIT
    )
    lines = " ".join(out.split())
    assert out.startswith("A100-40G: NVIDIA A100 40GB\nworkload  gundam, max_num=6 of engine=vllm: ")
    assert "settings execution=vllm " in lines
    assert "engine vllm, the default here; engine=NAME takes another" in lines
    assert "smallest bundled device that runs one such page at a time: RTX-3060-12GB " in lines
    for words in (*result.assumptions(), "the arrival of requests", "by convention cuda_core_flops", "published of "):
        assert words in lines


def test_a_bound_says_so_and_has_no_interval(capsys: Capture) -> None:
    out = printed(capsys, "1275x1650", "--device", "L4", "--output-tokens", "100", "engine=best")
    lines = " ".join(out.split())
    assert "engine best: the least that any could take, so rates are at most these, times at least" in lines
    assert row(out, "pages_per_day")[1:] == ["pages/day", "bound:", "at", "most"]
    assert row(out, "ttft_s")[1:] == ["s", "bound:", "at", "least"]
    assert (
        "at most" not in printed(capsys, "1275x1650", "--device", "L4", "--output-tokens", "100").split("smallest")[0]
    )


def test_pages_that_say_nothing_have_no_day(capsys: Capture) -> None:
    page = ("1275x1650", "--output-tokens", "0", "--device")
    out = printed(capsys, *page, "L4")
    assert "pages_per_day" not in out and "pages_per_s" in out
    several = printed(capsys, *page, "L4", "--device", "A10")
    assert row(several, "L4")[1:4] == ["-", "-", "-"]


def test_an_engine_is_asked_for_by_name(capsys: Capture) -> None:
    page = ("1275x1650", "--output-tokens", "100", "--device", "L40S")
    assert parsed(capsys, *page)["engine"] == "vllm"
    document = parsed(capsys, *page, "engine=sglang", "--concurrency", "4")
    (result,) = document["results"]
    assert (document["engine"], document["settings"]["execution"]) == ("sglang", "sglang")
    closed = result["concurrency"]
    assert (document["in_flight"], closed["in_flight"]) == (4, 4)
    figures = ["requests_per_s", "output_tokens_per_s", "ttft_s", "tpot_s", "latency_s"]
    assert list(closed) == ["in_flight", *figures]
    for name in figures:
        assert list(closed[name]) == ["value", "low", "high", "unit", "origin"]
        assert closed[name]["low"] < closed[name]["value"] < closed[name]["high"]
        assert closed[name]["origin"] == "estimate"
    assert parsed(capsys, *page)["results"][0]["concurrency"] is None
    slower = parsed(capsys, *page, "host.seconds_per_page=2")["results"][0]["figures"]
    assert (slower["limited_by"]["value"], slower["pages_per_s"]["value"]) == ("host", 0.5)
    assert slower["host_s"] == {"value": 2.0, "unit": "s/page", "origin": "given"}


def test_overrides_reach_the_model(capsys: Capture) -> None:
    arguments = ("1275x1650", "--device", "T4", "--output-tokens", "500", "--float32", "fp32", "--batch", "4")
    (half,) = parsed(capsys, *arguments, "runtime.dtype=float16", "workload=base")["results"]
    model = served("runtime.dtype=float16", "workload=base")
    kind = PageKind(page=model.page(1275, 1650), output_tokens=500)
    result = compute_throughput(model, load_device("T4"), [kind], batch_size=4)
    value, low, high = result.interval("pages_per_s")
    assert half["figures"]["pages_per_s"] == {
        "value": value,
        "low": low,
        "high": high,
        "unit": "pages/s",
        "origin": "estimate",
    }
    assert half["figures"]["batch_size"] == {"value": 4, "unit": "pages", "origin": "given"}
    assert "overrides runtime.dtype=float16 workload=base" in " ".join(
        printed(capsys, *arguments, "runtime.dtype=float16", "workload=base").split()
    )


def test_devices_side_by_side(capsys: Capture) -> None:
    names = ("A10", "H100-SXM", "RTX-3070", "T4", "CPU-Xeon-8480")
    devices = [part for name in names for part in ("--device", name)]
    out = printed(capsys, "1275x1650", "--output-tokens", "800:0.7,1500:0.3", "--concurrency", "2", *devices)
    assert out.startswith("1 page, 1,010 decode steps a page, after the prefill's own token\n")
    model = served()
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens={800: 7, 1500: 3})]
    for name in ("A10", "H100-SXM"):
        result = compute_throughput(model, load_device(name), kinds)
        assert result.tpot_s is not None
        batch, *cells, limit = row(out, name)
        rest = (result.output_tokens_per_s, result.ttft_s * 1000, result.tpot_s * 1000)
        assert [float(cell.replace(",", "")) for cell in cells] == pytest.approx(
            [*result.interval("pages_per_day"), *rest], rel=HALF_A_DIGIT
        )
        assert (batch, limit) == (str(result.batch_size), result.limited_by)
    for name in ("RTX-3070", "T4", "CPU-Xeon-8480"):
        assert row(out, name)[:2] == ["-", "-"]
    assert "2 on A10 " in out and "2 on T4" not in out
    lines = " ".join(out.split())
    assert "T4 device T4 lists no matmul peak for bf16 (it has fp16, fp32, int8); run the model" in lines
    assert "RTX-3070 device RTX-3070: 1 page at once needs " in lines and "engine=vllm has a pool of " in lines
    assert "CPU-Xeon-8480 device CPU-Xeon-8480 has no constants of " in lines
    assert "cost of" not in out


def test_every_bundled_device_has_a_row(capsys: Capture) -> None:
    out = printed(capsys, "1275x1650", "--output-tokens", "100", "engine=best")
    for device in bundled_devices():
        assert len(row(out, device.name)) == 8


def test_a_cpu_has_no_reserve_of_a_gpu(capsys: Capture) -> None:
    arguments = ("1275x1650", "engine=best", "--output-tokens", "10", "--batch", "1", "--device")
    out = printed(capsys, *arguments, "CPU-Xeon-8480")
    assert row(out, "reserve_bytes")[0] == "0"
    assert "are left free" not in out
    assert row(printed(capsys, *arguments, "L4"), "reserve_bytes")[0] == "1,073,741,824"
    told = printed(capsys, *arguments, "CPU-Xeon-8480", "runtime.reserve_bytes=5")
    assert row(told, "reserve_bytes")[0] == "5"


def test_serving_says_the_crops_that_it_counts_with(capsys: Capture) -> None:
    arguments = ("1275x1650", "--output-tokens", "10", "--device", "L4", "execution=serving")
    lines = " ".join(printed(capsys, *arguments).split())
    assert "max_num=9 (up to 9 crops; engines 6)" in lines
    assert "vLLM and SGLang cut at most 6 (MAX_CROPS in their processors" in lines
    assert "engines 6" not in printed(capsys, *arguments, "workload.max_num=6")


def test_prices(capsys: Capture) -> None:
    devices = ("--device", "A10", "--device", "L4")
    page = ("1275x1650", "--output-tokens", "100")
    out = printed(capsys, *page, *devices, "--price", "l4=0.5")
    assert "cost of" in out
    assert row(out, "A10")[-1] == "-"
    (cheap,) = (
        each for each in parsed(capsys, *page, *devices, "--price", "L4=0.5")["results"] if each["device"] == "L4"
    )
    figures = cheap["figures"]
    assert figures["price_per_hour"] == {"value": 0.5, "unit": "currency/hour", "origin": "given"}
    cost = 0.5 * 1000 / figures["pages_per_s"]["value"] / 3600
    assert figures["cost_per_1000_pages"]["value"] == pytest.approx(cost)  # floats, multiplied in another order
    assert row(out, "L4")[-1] == f"{cost:.3g}"
    assert "is for one device; with several write DEVICE=2" in refused(capsys, *page, *devices, "--price", "2")
    assert 'L40S is not asked for; did you mean "L4"' in refused(capsys, *page, *devices, "--price", "L40S=2")
    assert "--price L4=two is no price of an hour" in refused(capsys, *page, *devices, "--price", "L4=two")
    assert "is a second price of A10" in refused(capsys, *page, *devices, "--price", "A10=2", "--price", "a10=2")
    assert "--price -1 is no price of an hour" in refused(capsys, *page, "--device", "A10", "--price", "-1")


def test_a_corpus_of_several_inputs(capsys: Capture, write_pdf: Callable[..., Path]) -> None:
    letter = "/MediaBox [0 0 612 792]"
    write_pdf(letter, letter, "/MediaBox [0 0 300 300]")
    document = parsed(
        capsys,
        "page.pdf",
        "640x480",
        "--dpi",
        "150",
        "--device",
        "H200",
        *("--output-tokens", "900"),
        *("--output-tokens", "20"),
    )
    (result,) = document["results"]
    kinds = {kind["label"]: (kind["count"], kind["output_tokens"]) for kind in result["kinds"]}
    assert kinds == {"page.pdf, 1275x1650": (2, 900), "page.pdf, 625x625": (1, 900), "640x480": (1, 20)}
    assert result["figures"]["pages"]["value"] == 4
    assert result["figures"]["output_tokens"]["value"] == (3 * 900 + 20) / 4
    assert [(page["source"], page["dpi"]) for page in document["pages"]] == [
        *((f"page.pdf#page={n}", 150) for n in (1, 2, 3)),
        ("640x480", None),
    ]
    out = printed(capsys, "page.pdf", "--device", "H200", "--output-tokens", "9", "--dpi", "150", "workload=base")
    assert "page.pdf, 1275x1650       2       283        9" in out
    once = parsed(capsys, "page.pdf", "640x480", "--device", "H200", "--output-tokens", "7")["results"][0]
    assert {kind["output_tokens"] for kind in once["kinds"]} == {7}


def test_runaway_pages(capsys: Capture) -> None:
    arguments = ("1275x1650", "--device", "H200", "--output-tokens", "500")
    without = parsed(capsys, *arguments)["results"][0]
    (result,) = parsed(capsys, *arguments, "--runaway-share", "0.05")["results"]
    assert without["without_runaway"] is None
    assert result["without_runaway"]["figures"]["pages_per_s"] == without["figures"]["pages_per_s"]
    assert result["figures"]["output_tokens"]["value"] == 0.95 * 500 + 0.05 * (8192 - 913)
    assert result["figures"]["runaway_cost"]["value"] > 0.3
    assert "runaway_cost" in printed(capsys, *arguments, "--runaway-share", "0.05")


def test_json_says_all_that_the_result_rests_on(capsys: Capture, tmp_path: Path) -> None:
    write_device(tmp_path, name="Vast", memory_bytes=10**19)
    page = ("1275x1650", "engine=best", "--output-tokens", "10")
    document = parsed(capsys, *page, "--device", "slow.yaml", "--device", "T4", "--batch", "2", "--cache", "mean")
    assert (document["schema_version"], document["command"], document["model"]) == (1, "throughput", "deepseek_ocr")
    assert document["configuration"]["decoder"]["hidden_size"] == 1280
    assert (document["batch_size"], document["runaway_share"]) == (2, 0)
    assert (document["float32"], document["cache"], document["smallest_device"]) == ("fp32", "mean", "RTX-3070")
    assert {each["figure"] for each in document["assumptions"]} >= {"prompt_tokens", "io_weight_bytes"}
    assert any(sentence.startswith("the arrival") for sentence in document["not_modelled"])
    vast, other = document["results"]
    assert vast["device"] == "Vast"
    assert vast["figures"]["memory_bytes"] == {"value": str(10**19), "unit": "bytes", "origin": "given"}
    assert other["device"] == "T4"
    assert "lists no matmul peak for bf16" in other["error"]


def test_a_page_that_no_bundled_device_holds(capsys: Capture, tmp_path: Path) -> None:
    write_device(tmp_path, memory_bytes=10**15)
    reserve = "runtime.reserve_bytes=1000000000000"
    page = ("1275x1650", "engine=best", "--output-tokens", "10", reserve)
    assert parsed(capsys, *page, "--device", "slow.yaml")["smallest_device"] is None
    assert "one such page at a time: none" in " ".join(printed(capsys, *page, "--device", "slow.yaml").split())
    # a line for each device, of which the first are told, and one for what is the same for all
    *told, more = refused(capsys, *page).splitlines()
    assert len(told) == 2 and more == f"error: and {len(bundled_devices()) - 2} more."
    assert len(refused(capsys, *page, "--batch", "0").splitlines()) == 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "there is no page"),
        (["1275x1650"], "never assumed: add --output-tokens 1000"),
        (["none.png", "0x5", "--output-tokens", "1"], "none.png does not exist"),
        (["1x1", "2x2", "3x3", *["--output-tokens", "1"] * 2], "was given 2 times for 3 inputs"),
        (["1275x1650", "--output-tokens", "few"], "few is neither a whole number nor numbers with weights"),
        (["1275x1650", "--output-tokens", "8:1,9"], "8:1,9 is neither"),
        (["1275x1650", "--output-tokens", "8:1/0"], "8:1/0 is neither"),
        (["1275x1650", "--output-tokens", "8:nan"], "8:nan is neither"),
        (["1275x1650", "--output-tokens", "8:1,8:2"], "gives one number several weights"),
        (["1275x1650", "--output-tokens", "8:-1"], "weights are positive"),
        (["1275x1650", "--output-tokens", "-1"], "give a whole number from 0 on"),
        (["1275x1650", "--output-tokens", "9000"], "no room for 9000 output tokens"),
        (["1275x1650", "--output-tokens", "1", "--device", "A1000"], 'did you mean "A100'),
        (["1275x1650", "--output-tokens", "1", "--device", "T4"], "lists no matmul peak for bf16"),
        (["1275x1650", "--output-tokens", "1", "--device", "T4", "--device", "t4"], "there are 2 devices T4"),
        (["1275x1650", "--output-tokens", "999", "--device", "A10", "--batch", "999", "engine=best"], "a batch of up"),
        (["1275x1650", "--output-tokens", "999", "--device", "A10", "--batch", "999"], "engine.max_num_seqs=999"),
        (["1275x1650", "--output-tokens", "9", "--device", "A10", "--concurrency", "0"], "concurrency=0 is no number"),
        (["1275x1650", "--output-tokens", "9", "--device", "A10", "--concurrency", "257"], "give 256 or fewer, or"),
        (["1275x1650", "--output-tokens", "9", "host.seconds_per_page=-1"], "seconds_per_page=-1 is too small; give 0"),
        (["1275x1650", "--output-tokens", "9", "engine.gpu_memory_utilization=1.5"], "is too large; give 1 or less"),
        (
            ["1275x1650", "--output-tokens", "9", "--device", "A10", "engine.gpu_memory_utilization=0.3"],
            "engine.gpu_memory_utilization=0.3",
        ),
        (["1275x1650", "--output-tokens", "9", "--device", "CPU-Xeon-8480"], "has no constants of "),
        (["1275x1650", "--output-tokens", "9", "engine=vllm", "execution=published"], "leave one of them out"),
        (["1275x1650", "--output-tokens", "9", "engine=vlm"], 'did you mean "vllm"'),
        (["1275x1650", "--output-tokens", "1", "--batch", "0"], "batch_size=0 is no number of pages"),
        (
            ["1275x1650", "--output-tokens", "1", "--runaway-share", "1"],
            "1 is no share; give a number from 0 to below 1",
        ),
        (["1275x1650", "--output-tokens", "1", "--cache", "mein"], 'did you mean "mean"'),
        (["1275x1650", "--output-tokens", "1", "--float32", "bf16"], "the options are fp32, tf32"),
        (["1275x1650", "--output-tokens", "1", "runtime.batch_size=3"], "are --batch 3"),
        (["1275x1650", "--output-tokens", "1", "workload=gundem"], 'did you mean "gundam"'),
        (
            ["1275x1650", "--output-tokens", "1", "workload=base", "decoder.max_position_embeddings=200"],
            "page 1275x1650: ",
        ),
        (["1275x1650", "--output-tokens", "1", "--model", "deepseek"], "deepseek_ocr"),
    ],
)
def test_what_cannot_be_answered_is_refused(capsys: Capture, arguments: list[str], words: str) -> None:
    assert words in refused(capsys, *arguments)


SIZES = """width,height,document_type,said
1275,1650,letter,700
600,220,stamp,30
600,220,letter,900
2000,100,,50
x,5,stamp,5
"""


def corpus(capsys: Capture, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    (tmp_path / "sizes.csv").write_text(SIZES)
    assert main(["throughput", "sizes.csv", "--device", "H200", "--json", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == "left out: sizes.csv#5: width x is no number\n"
    document: dict[str, Any] = json.loads(captured.out)
    assert document["corpora"] == [{"source": "sizes.csv", "pages": 4, "left_out": 1, "files_not_read": {}}]
    return document


def of_kinds(*kinds: tuple[int, int, str, Any]) -> float:
    """Pages a second of kinds of one page each."""
    model = served()
    pages = [
        PageKind(page=model.page(width, height), output_tokens=said, label=label)
        for width, height, label, said in kinds
    ]
    return compute_throughput(model, load_device("H200"), pages).pages_per_s


@pytest.mark.parametrize("engine", ["vllm", "best"])
def test_times_say_which_experts_they_count(engine: str, capsys: Capture) -> None:
    page = ("1275x1650", "--output-tokens", "10", "--device", "H100-SXM", "--batch", "4", f"engine={engine}")
    text = " ".join(printed(capsys, *page).split())
    assert "runtime.experts_hit=uniform" in text and "experts_hit=uniform io_weight_bytes: assumes uniform" in text
    assert "experts_hit=max" not in text
    document = parsed(capsys, *page)
    assert document["settings"]["runtime.experts_hit"] == "uniform"
    assert document["configuration"]["runtime"]["experts_hit"] is None
    told = {each["label"] for each in document["assumptions"]}
    assert "experts_hit=uniform" in told and "experts_hit=max" not in told
    asked = parsed(capsys, *page, "runtime.experts_hit=max")
    assert asked["settings"]["runtime.experts_hit"] == "max"
    assert asked["results"][0]["figures"]["decode_s"]["value"] > document["results"][0]["figures"]["decode_s"]["value"]


def test_a_reserve_is_assumed_where_no_engine_has_its_own(capsys: Capture) -> None:
    page = ("1275x1650", "--output-tokens", "10", "--device", "H100-SXM")
    figures = [
        {each["figure"] for each in parsed(capsys, *page, f"engine={engine}")["assumptions"]}
        for engine in ("vllm", "best")
    ]
    assert ["reserve_bytes" in each for each in figures] == [False, True]


def test_a_corpus_of_thousands_of_layouts(capsys: Capture, tmp_path: Path) -> None:
    """A model whose layouts are grids of patches, with the engine that goes without saying."""
    lines = [f"{600 + 14 * column},{600 + 14 * row}" for column in range(66) for row in range(80)]
    (tmp_path / "sizes.csv").write_text("width,height\n" + "\n".join(lines), encoding="utf-8")
    arguments = ("sizes.csv", "--model", "lighton_ocr", "--device", "H100-SXM", "--output-tokens", "100")
    (result,) = parsed(capsys, *arguments)["results"]
    assert sum(kind["count"] for kind in result["kinds"]) == len(lines) == 5280
    text = " ".join(printed(capsys, "640x480", *arguments[1:]).split())
    assert "engine vllm, the default here; engine=NAME takes another" in text
    assert result["figures"]["pages_per_s"]["value"] > 0


def test_a_corpus_is_its_pages(capsys: Capture, tmp_path: Path) -> None:
    (result,) = corpus(capsys, tmp_path, "--output-tokens", "400")["results"]
    expected = of_kinds(*((*size, "", 400) for size in ((1275, 1650), (600, 220), (600, 220), (2000, 100))))
    assert result["figures"]["pages_per_s"]["value"] == expected
    assert {kind["label"] for kind in result["kinds"]} == {"sizes.csv"}


def test_output_tokens_by_document_type(capsys: Capture, tmp_path: Path) -> None:
    said = ("--output-tokens", "letter=800:0.5,1000:0.5", "--output-tokens", "stamp=30", "--output-tokens", "50")
    (result,) = corpus(capsys, tmp_path, "--by", "document_type", *said)["results"]
    letter = {800: 0.5, 1000: 0.5}
    kinds = (1275, 1650, "letter", letter), (600, 220, "letter", letter), (600, 220, "stamp", 30), (2000, 100, "", 50)
    assert result["figures"]["pages_per_s"]["value"] == of_kinds(*kinds)
    out = (main(["throughput", "sizes.csv", "--device", "H200", "--by", "document_type", *said]), capsys.readouterr())[
        1
    ]
    assert row(out.out, "letter")[:3] == ["2", "598", "900"]  # (913 + 283) / 2
    assert row(out.out, "stamp")[:3] == ["1", "283", "30"]


def test_output_tokens_of_a_column(capsys: Capture, tmp_path: Path) -> None:
    (result,) = corpus(capsys, tmp_path, "--output-tokens", "said")["results"]
    kinds = (1275, 1650, "", 700), (600, 220, "", 30), (600, 220, "", 900), (2000, 100, "", 50)
    assert result["figures"]["pages_per_s"]["value"] == of_kinds(*kinds)


EACH_GROUP = [part for name in ("letter", "stamp", "") for part in ("--output-tokens", f"{name}=5")]

BAD_CORPORA = {
    "a silent group": (["--by", "document_type", "--output-tokens", "letter=5"], "pages of no group, stamp say?"),
    "a silent page": (["5x5", "--by", "document_type", *EACH_GROUP], "how many output tokens has 5x5?"),
    "an unknown group": (["--by", "document_type", "--output-tokens", "later=5", "--output-tokens", "5"], '"letter"'),
    "a group twice": (["--by", "said", "--output-tokens", "30=5", "--output-tokens", "30=6"], "says 30 twice"),
    "no groups": (["--output-tokens", "letter=5"], "say with --by which column"),
    "a column": (["--output-tokens", "sad"], 'there is no column sad; did you mean "said"'),
    "a column for a page": (["5x5", "--output-tokens", "said"], "said is neither a whole number"),
    "unit": (["--output-tokens", "5", "--unit", "inches"], "unit=inches is unknown"),
}


@pytest.mark.parametrize("arguments, words", BAD_CORPORA.values(), ids=BAD_CORPORA)
def test_a_corpus_that_says_too_little(capsys: Capture, tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "sizes.csv").write_text(SIZES)
    assert words in refused(capsys, "sizes.csv", *arguments)


@pytest.mark.parametrize("option", ["--by", "--width", "--height", "--unit"])
def test_options_of_tables_are_refused_without_one(capsys: Capture, option: str) -> None:
    assert f"{option} points is for folders and tables" in refused(
        capsys, "5x5", option, "points", "--output-tokens", "5"
    )


def test_an_input_that_is_named_twice_counts_twice(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text(SIZES)
    inputs = ["sizes.csv", "600x220", "sizes.csv", "600x220"]
    assert main(["throughput", *inputs, "--output-tokens", "5", "--device", "L4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (corpus_pages, again), pages = ([each["pages"] for each in document["corpora"]], document["pages"])
    assert corpus_pages == again and len(pages) == 2
    kinds = document["results"][0]["kinds"]
    assert sum(kind["count"] for kind in kinds) == 2 * corpus_pages + 2


@pytest.mark.parametrize("weight", ["1e9999", "1e-9999", "1" * 41, "1e99999999"])
def test_weights_have_few_digits(weight: str, capsys: Capture) -> None:
    """The last one would take all memory as a number."""
    assert main(["throughput", "1275x1650", "--output-tokens", f"800:{weight},5:1", "--device", "H200"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "is neither a whole number nor numbers with weights" in captured.err


def test_a_model_over_two_devices(capsys: Capture) -> None:
    """Two cost twice as much an hour, and the title says that there are two; a card without a link is refused."""
    page = ("1275x1650", "--output-tokens", "100", "engine=vllm", "parallel.tensor=2")
    asked = (*page, "--device", "L40S", "--price", "0.5")
    assert printed(capsys, *asked).startswith("2 x L40S: NVIDIA L40S\n")
    (result,) = parsed(capsys, *asked)["results"]
    figures = result["figures"]
    assert (figures["devices"]["value"], figures["price_per_hour"]["value"]) == (2, 0.5)
    cost = 2 * 0.5 * 1000 / figures["pages_per_s"]["value"] / 3600
    assert figures["cost_per_1000_pages"]["value"] == pytest.approx(cost)
    assert "device M2-Max lists no link" in refused(capsys, *page, "--device", "M2-Max")
