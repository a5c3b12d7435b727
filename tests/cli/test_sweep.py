"""`modelmeter sweep`: every combination has the figures that asking for it alone gives."""

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from matplotlib.figure import Figure
from PIL import Image

from modelmeter import load_cost_model as load_any
from modelmeter.cli.main import main
from modelmeter.cli.sweep import command
from modelmeter.devices import PageKind, compute_throughput, load_device
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.report import sweep_plot
from modelmeter.sweep import Result

Capture = pytest.CaptureFixture[str]

PAGE = "640x480"
DOCUMENT = (Path(__file__).parents[2] / "docs/sweeps.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(capsys: Capture, *arguments: str) -> str:
    assert main(["sweep", *arguments]) == 0
    return capsys.readouterr().out


def points(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    document = json.loads(printed(capsys, *arguments, "--json"))
    assert document["command"] == "sweep"
    found: list[dict[str, Any]] = document["points"]
    return found


def exact(value: Any) -> Any:
    """A figure of JSON; integers beyond 2^53 are text there."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def test_counts_are_those_of_each_page(capsys: Capture) -> None:
    found = points(
        capsys, PAGE, "1275x1650", "workload=tiny,gundam", "runtime.batch_size=range(1,4,2)", "output_tokens=0,50"
    )
    order = [(p, w, b, n) for p in (PAGE, "1275x1650") for w in ("tiny", "gundam") for b in (1, 3) for n in (0, 50)]
    settings = [
        tuple(each["settings"][key] for key in ("page", "workload", "runtime.batch_size", "output_tokens"))
        for each in found
    ]
    assert settings == order
    for (size, mode, batch, steps), each in zip(order, found, strict=True):
        model = load_cost_model([f"workload={mode}", f"runtime.batch_size={batch}"])
        width, height = map(int, size.split("x"))
        page = model.page(width, height, steps)
        figures = {name: exact(value) for name, value in each["figures"].items()}
        assert figures["image_tokens"] == page.tokens.total and figures["prefill_tokens"] == page.seq_len
        for stage, cost in page.stages().items():
            assert figures[f"{stage}_tensor_core_flops"] == cost.tensor_core_flops
            assert figures[f"{stage}_cuda_core_flops"] == cost.cuda_core_flops
            assert figures[f"{stage}_io_bytes"] == cost.io_bytes
        assert figures["kv_bytes"] == page.total.kv_bytes
        assert figures["memory_bytes"] == model.vram(width, height, steps).total_bytes
        assert each["refused"] is None


@pytest.mark.parametrize("key, batches", [("runtime.batch_size", [1, 5]), ("batch", [1, 5]), (None, [None])])
def test_times_are_those_of_each_device(key: str | None, batches: list[int | None], capsys: Capture) -> None:
    """Whatever is computed together for pages, output tokens and batches."""
    varied = [] if key is None else [f"{key}={','.join(map(str, batches))}"]
    found = points(capsys, PAGE, "1275x1650", "device=L4,H100-SXM", "output_tokens=7,90", *varied)
    model = load_cost_model(["engine=vllm"]).for_times()
    assert len(found) == 8 * len(batches)
    for each in found:
        settings, figures = each["settings"], each["figures"]
        page = model.page(*map(int, settings["page"].split("x")))
        kind = PageKind(page=page, output_tokens=settings["output_tokens"])
        batch = None if key is None else settings[key]
        alone = compute_throughput(model, load_device(settings["device"]), [kind], batch_size=batch)
        assert figures["batch_size"] == alone.batch_size and figures["fits"] == "yes"
        for name in ("pages_per_s", "page_latency_s", "ttft_s", "tpot_s", "output_tokens_per_s"):
            ends = [figures[f"{name}{end}"] for end in ("", "_low", "_high")]
            assert ends == pytest.approx(list(alone.interval(name)), rel=1e-9)
        assert figures["memory_bytes"] == alone.memory.total_bytes


def test_engines_are_an_axis_and_bring_what_they_count(capsys: Capture) -> None:
    found = points(capsys, PAGE, "--engine", "vllm,best", "--device", "L4", "--output-tokens", "5")
    assert [each["settings"]["engine"] for each in found] == ["vllm", "best"]
    assert found[0]["figures"]["pages_per_s_low"] < found[0]["figures"]["pages_per_s"]
    assert "pages_per_s" in found[1]["figures"] and "pages_per_s_low" not in found[1]["figures"]  # a bound


def test_the_documents_example_is_real(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    ((arguments, shown),) = re.findall(r"```console\n\$ modelmeter sweep (.*?)\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    assert printed(capsys, *arguments.split()) == shown


def test_pages_that_are_too_large_for_a_device_are_one_reason(capsys: Capture) -> None:
    asked = (PAGE, "batch=1,2", "device=RTX-3070,L4", "--output-tokens", "5")
    found = points(capsys, *asked)
    assert [each["figures"]["fits"] for each in found] == ["no", "no", "yes", "yes"]
    assert found[0]["refused"] != found[1]["refused"]
    out = " ".join(printed(capsys, *asked).split())
    assert f"[1] {found[0]['refused']} And 1 others: --csv FILE and --json." in out and "[2]" not in out


def test_what_is_refused_keeps_its_row(capsys: Capture) -> None:
    asked = (PAGE, "output_tokens=10,9000", "device=L4,T4,RTX-3070")
    found = points(capsys, *asked)
    reasons = [(each["refused"] or "").split()[:3] for each in found]
    assert len(found) == 6 and reasons[0] == []
    assert [each["figures"].get("fits") for each in found] == ["yes", None, None, None, "no", None]
    assert found[4]["refused"].startswith("device RTX-3070: 1 page at once needs ")
    assert found[2]["refused"].startswith("device T4 lists no matmul peak for bf16")
    assert all("exceed decoder.max_position_embeddings" in each["refused"] for each in found[1::2])
    assert found[4]["figures"]["image_tokens"] == found[0]["figures"]["image_tokens"] and found[1]["figures"] == {}
    out = printed(capsys, *asked)
    assert "[1]  context: " in out and "[2]  device T4 lists" in out.replace("[3]", "[2]")


def test_a_key_that_one_model_lacks_is_a_reason(capsys: Capture) -> None:
    found = points(capsys, PAGE, "--model", "deepseek_ocr,lighton_ocr_1b", "workload.base_size=640,1024")
    assert [each["settings"]["model"] for each in found] == ["deepseek_ocr"] * 2 + ["lighton_ocr_1b"] * 2
    assert [each["refused"] is None for each in found] == [True, True, False, False]
    assert "config key workload.base_size does not exist" in found[2]["refused"]


def test_the_table_fits_and_sorts(capsys: Capture) -> None:
    asked = ("1275x1650", "workload=tiny,base,gundam", "device=H100-SXM,L40S", "--output-tokens", "1000")
    out = printed(capsys, *asked, "--price", "H100-SXM=2", "--price", "L40S=1", "--sort", "-pages_per_s")
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("points  6 = 3 workload x 2 device\n") and "all     page=1275x1650 model=deepseek_ocr" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("tiny ", "base ", "gundam "))]
    assert len(rows) == 6
    rates = points(capsys, *asked, "--sort", "-pages_per_s")
    assert [row[:2] for row in rows] == [[e["settings"]["workload"], e["settings"]["device"]] for e in rates]
    values = [each["figures"]["pages_per_s"] for each in rates]
    assert values == sorted(values)


def test_a_key_is_a_head_of_several_lines(capsys: Capture) -> None:
    out = printed(capsys, PAGE, "workload.max_num=2,6")
    at = out.splitlines().index(next(line for line in out.splitlines() if line.startswith("workload.")))
    assert [line.split()[0] for line in out.splitlines()[at : at + 3]] == ["workload.", "max_", "num"]


def test_the_terms_behind_figures_are_told(capsys: Capture) -> None:
    assert "declared (prompt_tokens), experts_hit=max (io_weight_bytes)" in printed(capsys, PAGE, "workload=tiny,base")
    explained = printed(capsys, PAGE, "workload=tiny,base", "--explain")
    assert "io_bytes: what every operator reads and writes" in explained


def test_csv_has_every_figure(capsys: Capture) -> None:
    asked = (PAGE, "workload=tiny,base", "device=L4", "--output-tokens", "5")
    found = points(capsys, *asked)
    rows = list(csv.DictReader(io.StringIO(printed(capsys, *asked, "--csv", "-"))))
    assert [row["workload"] for row in rows] == ["tiny", "base"]
    for row, point in zip(rows, found, strict=True):
        figures = {name: str(value) for name, value in point["figures"].items()}
        assert {name: row[name] for name in figures} == figures and row["refused"] == ""
    out = printed(capsys, *asked, "--csv", "a.csv", "--columns", "image_tokens,pages_per_s")
    assert out.endswith(f"a.csv: {Path('a.csv').stat().st_size} bytes\n")
    assert Path("a.csv").read_text().splitlines()[0] == (
        "page,model,workload,device,output_tokens,image_tokens,pages_per_s,refused"
    )


def test_files_and_glob_are_values(capsys: Capture) -> None:
    Image.new("L", (300, 200)).save("a.png")
    found = points(capsys, "a.png", "300x200", "workload=glob([ti*,la*])")
    assert [(e["settings"]["page"], e["settings"]["workload"]) for e in found] == [
        ("a.png", "tiny"),
        ("a.png", "large"),
        ("300x200", "tiny"),
        ("300x200", "large"),
    ]
    assert found[0]["figures"] == found[2]["figures"]


def test_the_number_of_points_is_told_before(capsys: Capture) -> None:
    assert main(["sweep", PAGE, "runtime.prompt_tokens=10,20", "output_tokens=range(0,60)", "--csv", "-"]) == 0
    assert capsys.readouterr().err == "sweep: 120 = 2 runtime.prompt_tokens x 60 output_tokens points\n"


REFUSED = {
    "no_page": ((), "there is no page; give an image file"),
    "key": ((PAGE, "runtime.batchsize=1,2"), "config key runtime.batchsize does not exist"),
    "group": (
        (PAGE, "wrokload=tiny"),
        'wrokload=tiny is no file and no override: there is no wrokload; did you mean "',
    ),
    "choice": ((PAGE, "workload=tiny,bsae"), 'workload=bsae: there is no such workload; did you mean "base'),
    "value": ((PAGE, "runtime.dtype=bfloat17,int3"), "config: runtime.dtype"),
    "model": ((PAGE, "model=deepseek_ocr,deepsek"), "model deepsek does not exist; did you mean"),
    "device": ((PAGE, "device=L4,L44"), 'device L44 is unknown; did you mean "L4"?'),
    "nothing": ((PAGE, "workload="), 'override "workload=" has no values; write workload=a,b'),
    "glob": ((PAGE, "workload=glob(x*)"), 'override "workload=glob(x*)" has no values; the options are tiny, '),
    "interval": ((PAGE, "host.spread=interval(0,1)"), 'override "host.spread=interval(0,1)" is an interval, '),
    "twice": ((PAGE, "workload=tiny,tiny"), 'override "workload=tiny,tiny" says tiny 2 times; give each value once.'),
    "key_twice": ((PAGE, "workload=tiny", "workload=base"), "sweep: workload is given twice; write workload=A,B."),
    "page_twice": ((PAGE, PAGE), "sweep: page=640x480 is given 2 times; give each value once."),
    "device_twice": ((PAGE, "--device", "L4", "device=l4"), "sweep: device=L4 is given 2 times; give each value once."),
    "engines": ((PAGE, "--engine", "vllm", "engine=best"), "sweep: --engine vllm and engine=best both name the engine"),
    "steps": ((PAGE, "output_tokens=1,-1"), "sweep: output_tokens=-1 is no whole number from 0 on."),
    "batch": ((PAGE, "batch=0", "device=L4"), "sweep: batch=0 is no whole number from 1 on."),
    "batch_alone": ((PAGE, "batch=1,2"), "sweep: batch=1,2 are pages that decode together on a device; add one, "),
    "batches": (
        (PAGE, "batch=1", "runtime.batch_size=2", "device=L4"),
        "sweep: batch and runtime.batch_size both say how many pages decode together; leave one out.",
    ),
    "price": ((PAGE, "--price", "2"), "sweep: --price 2 is of a device; add one, as in device=H100-SXM."),
    "corpus": (("sizes.csv",), "sweep: sizes.csv is a corpus, and a sweep is of single pages; give sizes or files"),
    "column": ((PAGE, "--columns", "kv_byte"), 'sweep: --columns kv_byte: there is no such figure; did you mean "kv_'),
    "time_column": ((PAGE, "--columns", "ttft_s"), "sweep: --columns ttft_s is of times on a device; add one, as in "),
    "sort": ((PAGE, "--sort", "wrkload", "workload=tiny,base"), "sweep: --sort wrkload: there is no such figure; did "),
    "streams": ((PAGE, "--csv", "-", "--json"), "sweep: --json and --csv - would share standard output; give a file"),
    "long_range": (
        (PAGE, "runtime.prompt_tokens=range(0,1e12)"),
        'override "runtime.prompt_tokens=range(0,1e12)" stands for more than 10,000 values; give fewer',
    ),
    "points": (
        (PAGE, "runtime.prompt_tokens=range(1,301)", "output_tokens=range(0,100)"),
        "sweep: there are 30,000 = 300 runtime.prompt_tokens x 100 output_tokens points, and 10,000 at most are",
    ),
    "hydra": ((PAGE, "hydra.run.dir=a,b"), "hydra.run.dir=a,b is no file and no override"),
    "all": ((PAGE, "output_tokens=9000"), "context: "),
}


@pytest.mark.parametrize("arguments, text", REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], text: str, capsys: Capture) -> None:
    assert main(["sweep", *arguments]) == 2
    captured = capsys.readouterr()
    first, *_ = captured.err.splitlines()
    assert captured.out == "" and first.startswith(f"error: {text}")
    assert list(Path().iterdir()) == []


# -- plots ----------------------------------------------------------------------------------------------------------


def drawn(*arguments: str) -> tuple[Result, Figure]:
    """The figure that the command would write."""
    made: list[tuple[Result, Figure]] = []
    with pytest.MonkeyPatch.context() as patch:
        draw = sweep_plot.draw

        def keeping(result: Result, x: str, ys: Sequence[str]) -> Figure:
            made.append((result, draw(result, x, ys)))
            return made[-1][1]

        patch.setattr(sweep_plot, "draw", keeping)
        assert main(["sweep", *arguments, "--plot", "a.svg"]) == 0
    return made[0]


def test_latency_and_throughput_against_the_batch() -> None:
    result, figure = drawn("1275x1650", "workload=tiny,base", "batch=1,4,64", "device=L4", "--output-tokens", "100")
    above, below = figure.axes
    assert below.get_xlabel() == "pages that decode together"
    assert below.get_xscale() == "log" and [each.get_text() for each in below.get_xticklabels()] == ["1", "4", "64"]
    assert above.get_ylabel() == "seconds from a page's arrival to its last token" and below.get_ylabel() == "pages/s"
    for axes, name in ((above, "page_latency_s"), (below, "pages_per_s")):
        assert [line.get_label() for line in axes.get_lines()] == ["tiny", "base"]
        for line, mode, band in zip(axes.get_lines(), ("tiny", "base"), axes.collections, strict=True):
            found = [point for point in result.points if point.settings["workload"] == mode]
            assert list(line.get_xdata()) == [1, 4, 64]
            assert list(line.get_ydata()) == [point.figures[name] for point in found]
            ends = {y for point in found for y in (point.figures[f"{name}_low"], point.figures[f"{name}_high"])}
            assert ends == set(band.get_paths()[0].vertices[:, 1])
    assert [each.get_text() for each in figure.legends[0].get_texts()] == ["tiny", "base"]


def test_cost_against_tokens() -> None:
    """A figure along the axis: all that moves it is one line's points."""
    result, figure = drawn(
        "1275x1650", "workload=tiny,base,gundam", "output_tokens=0,10", "--x", "image_tokens", "--y", "total_io_bytes"
    )
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("image tokens", "traffic, total, GB")
    assert [line.get_label() for line in axes.get_lines()] == ["0", "10"]
    for line in axes.get_lines():
        found = [point for point in result.points if point.settings["output_tokens"] == line.get_label()]
        assert list(line.get_xdata()) == [73, 273, 903]
        assert list(line.get_ydata()) == [point.figures["total_io_bytes"] / 1e9 for point in found]


def test_words_along_the_axis_and_what_is_missing() -> None:
    _, figure = drawn(PAGE, "device=L4,RTX-3070,A10", "--output-tokens", "5", "--y", "ttft_s")
    (axes,) = figure.axes
    assert [each.get_text() for each in axes.get_xticklabels()] == ["L4", "RTX-3070", "A10"]
    (line,) = axes.get_lines()
    assert list(line.get_xdata()) == [0, 2]
    assert "1 of 3 points refused" in figure.get_suptitle()


def test_files_of_a_plot(capsys: Capture) -> None:
    asked = (PAGE, "workload=tiny,base", "output_tokens=0,5")
    for name in ("a.svg", "a.png", "a.html"):
        out = printed(capsys, *asked, "--plot", name)
        assert out.endswith(f"{name}: {Path(name).stat().st_size:,} bytes\n")
    svg, html = Path("a.svg").read_text(), Path("a.html").read_text()
    assert "<svg" in svg and "Matplotlib" not in svg and Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert html.count("<svg") == 1 and "What is declared, assumed or conventional" in html and "tiny" in html
    printed(capsys, *asked, "--plot", "b.svg", "--csv", "b.csv")
    assert Path("b.svg").read_bytes() == Path("a.svg").read_bytes() and Path("b.csv").exists()


REFUSED_PLOTS = {
    "suffix": (("--plot", "a.pdf"), "sweep: the name a.pdf does not say what to draw; end it in .svg, .png, .html."),
    "alone": (("--x", "workload"), "sweep: --x workload is of a plot; add --plot FILE.svg."),
    "y": (("--plot", "a.svg", "--y", "ttft"), "sweep: --y ttft: there is no such figure; "),
    "words": (("--plot", "a.svg", "--y", "limited_by", "device=L4"), "sweep: --y limited_by: there is no such figure;"),
    "lines": (
        ("--plot", "a.svg", "runtime.prompt_tokens=range(1,20)", "--x", "workload"),
        "sweep: the plot over workload would have 19 lines (runtime.prompt_tokens), and 16 can be told apart; give",
    ),
    "nothing_there": (
        ("--plot", "a.svg", "--y", "cost_per_1000_pages", "device=L4"),
        "sweep: no point has cost_per_1000_pages, so there is nothing to draw; --y names another figure.",
    ),
}


@pytest.mark.parametrize("arguments, text", REFUSED_PLOTS.values(), ids=REFUSED_PLOTS)
def test_plots_that_make_no_sense_are_refused(arguments: tuple[str, ...], text: str, capsys: Capture) -> None:
    assert main(["sweep", PAGE, "workload=tiny,base", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(f"error: {text}")
    assert list(Path().iterdir()) == []


def test_a_plot_of_one_point_and_one_without_matplotlib(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["sweep", PAGE, "--plot", "a.svg"]) == 2
    assert "sweep: --plot needs something that varies" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["sweep", PAGE, "workload=tiny,base", "--plot", "a.svg"]) == 2
    assert "pip install matplotlib, or leave --plot out" in capsys.readouterr().err


# -- the shell ------------------------------------------------------------------------------------------------------


COMPLETED = {
    "device=L40,H100": ["device=L40,H100-PCIe", "device=L40,H100-SXM"],
    "workload=tiny,b": ["workload=tiny,base"],
    "workload=ti": ["workload=tiny"],
    "engine=vllm,s": ["engine=vllm,sglang"],
    "model=deepseek_ocr,olm": ["model=deepseek_ocr,olmocr_2_7b"],
}


@pytest.mark.parametrize("incomplete, values", COMPLETED.items(), ids=COMPLETED)
def test_the_last_of_several_values_is_completed(incomplete: str, values: list[str]) -> None:
    context = click.Context(command)
    argument = next(each for each in command.params if each.name == "arguments")
    assert [item.value for item in argument.shell_complete(context, incomplete)] == values


def test_options_of_several_values_are_completed() -> None:
    context = click.Context(command)
    option = next(each for each in command.params if each.name == "device_names")
    assert [item.value for item in option.shell_complete(context, "L4,A100-8")] == ["L4,A100-80G"]


def test_pages_of_several_passes(capsys: Capture) -> None:
    """Each pass has decode steps of its own."""
    regions = "workload.regions=[[400,300],[500,200]],[[400,300]]"
    found = points(capsys, "800x600", "--model", "mineru2_5", regions, "device=L4", "output_tokens=10,30", "batch=1,2")
    assert len(found) == 8
    for each in found:
        settings = each["settings"]
        overrides = [f"workload.regions={settings['workload.regions']}", "engine=vllm"]
        model = load_any(overrides, model="mineru2_5").for_times()
        kind = PageKind(page=model.page(800, 600), output_tokens=settings["output_tokens"])
        alone = compute_throughput(model, load_device("L4"), [kind], batch_size=settings["batch"])
        assert each["figures"]["pages_per_s"] == pytest.approx(alone.pages_per_s, rel=1e-9)
