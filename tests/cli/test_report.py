"""`modelmeter report`: where it writes, in which format, and that an error leaves nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modelmeter.cli.main import main
from modelmeter.cli.report import SentNames
from modelmeter.models.deepseek_ocr import load_cost_model
from tests.conftest import WritePdf
from tests.devices.synthetic import write_device

Capture = pytest.CaptureFixture[str]
SMALL = "600x220"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


@pytest.mark.slow
def test_the_suffix_says_the_format(capsys: Capture, tmp_path: Path) -> None:
    for name in ("report.html", "own.md", "own.json"):
        arguments = ["report", SMALL, *([] if name == "report.html" else ["-o", name])]
        assert main(arguments) == 0
        size = (tmp_path / name).stat().st_size
        assert capsys.readouterr().out == f"{name}: a page of 600 x 220 pixels, {size:,} bytes\n"
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "own.md").read_text().startswith("# ModelMeter report\n")
    assert json.loads((tmp_path / "own.json").read_text())["command"] == "report"
    assert files(tmp_path) == {"report.html", "own.md", "own.json"}


def test_standard_output_and_a_format_of_its_own(capsys: Capture, tmp_path: Path) -> None:
    assert main(["report", SMALL, "-o", "-", "--format", "json", "--output-tokens", "3", "workload=tiny"]) == 0
    asked = json.loads(capsys.readouterr().out)["sections"]["configuration"]["asked"]["items"]
    values = {item["label"]: item["value"] for item in asked}
    assert (values["decode steps"], values["overrides"]) == (3, "workload=tiny")
    assert main(["report", SMALL, "-o", "page.txt", "--format", "markdown"]) == 0
    assert files(tmp_path) == {"page.txt"}


def test_a_pdf_and_a_device_of_ones_own(capsys: Capture, tmp_path: Path, write_pdf: WritePdf) -> None:
    write_pdf("/MediaBox [0 0 612 792]", "/MediaBox [0 0 612 792]", "/MediaBox [0 0 300 110]", name="two.pdf")
    write_device(tmp_path, matmul_flops_per_s={"bf16": 1e12, "fp32": 1e12})
    assert main(["report", "two.pdf", "--device", "slow.yaml", "-o", "-", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["subject"] == "3 pages: two.pdf"
    layouts = document["sections"]["pages"]["layouts"]["rows"]
    assert [(row["pages"], row["first"]) for row in layouts] == [(2, "two.pdf#page=1"), (1, "two.pdf#page=3")]
    assert document["sections"]["devices"]["devices"]["rows"][0]["device"] == "Slow (this report)"
    setup = {
        item["key"]: (item["value"], item["origin"]) for item in document["sections"]["overview"]["setup"]["items"]
    }
    assert setup["device"] == ("Slow", "A slow device")


@pytest.mark.slow
def test_a_corpus_is_its_pages(capsys: Capture, tmp_path: Path, write_pdf: WritePdf) -> None:
    (tmp_path / "scans").mkdir()
    write_pdf("/MediaBox [0 0 300 110]", name="scans/one.pdf")  # 600 x 220 pixels
    (tmp_path / "sizes.csv").write_text("width,height\n600,220\n1275,1650\n600,220\n")

    def sections(*inputs: str) -> dict[str, Any]:
        assert main(["report", *inputs, "-o", "-", "--format", "json", "--output-tokens", "2"]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {"subject": document["subject"]} | document["sections"]

    corpus = sections("1275x1650", "scans", "sizes.csv")
    singly = sections("1275x1650", "600x220", "600x220", "1275x1650", "600x220")
    assert corpus["subject"] == "5 pages: 1275x1650, scans, sizes.csv"
    assert corpus["stages"]["all_pages"] == singly["stages"]["all_pages"]
    layouts = corpus["pages"]["layouts"]["rows"]
    assert [(row["pages"], row["first"]) for row in layouts] == [(3, "scans/one.pdf#1"), (2, "1275x1650")]
    assert sections("sizes.csv")["subject"] == "3 pages: sizes.csv"


def test_a_column_says_what_each_page_says(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text("width,height,said\n600,220,3\n600,220,9\n1275,1650,3\n")
    assert main(["report", "sizes.csv", "--output-tokens", "said", "--json"]) == 0
    sections = json.loads(capsys.readouterr().out)["sections"]
    layouts = sections["pages"]["layouts"]["rows"]
    assert [(row["pages"], row["decode_steps"]) for row in layouts] == [(2, 6), (1, 3)]
    decode = {row["figure"]: row["decode"] for row in sections["stages"]["all_pages"]["rows"]}["tensor-core FLOPs"]
    model = load_cost_model(["engine=vllm"])
    pages = [model.page(600, 220, 3), model.page(600, 220, 9), model.page(1275, 1650, 3)]
    assert decode == sum(page.decode.tensor_core_flops for page in pages)
    assert main(["report", "sizes.csv", "--output-tokens", "none"]) == 2
    assert "there is no column none" in capsys.readouterr().err


def test_a_report_says_nothing_of_where_its_pages_lie(capsys: Capture, tmp_path: Path) -> None:
    """It is sent on: neither its folders nor its device's file are told."""
    outside = tmp_path / "outside" / "scans"
    outside.mkdir(parents=True)
    Image.new("L", (300, 200)).save(outside / "a.png")
    Image.new("L", (300, 200)).save(tmp_path / "b.png")
    peaks = {"bf16": 1e12, "fp32": 1e12}  # and no constants of kernels
    device = write_device(outside, matmul_flops_per_s=peaks, memory_bytes=10**11)
    asked = ["--device", str(device), "--title", "Scans of May", f"runtime.tokenizer_path={outside}", "-o"]
    inputs = [str(outside / "a.png"), str(tmp_path / "b.png")]
    for name in ("report.json", "report.html", "report.md"):
        assert main(["report", *inputs, *asked, name]) == 0, capsys.readouterr().err
        assert str(tmp_path) not in (tmp_path / name).read_text()
    document = json.loads((tmp_path / "report.json").read_text())
    assert "add kernels.copy to slow.yaml" in document["sections"]["overview"]["texts"][0]
    assert (document["title"], document["subject"]) == ("Scans of May", "2 pages: outside/scans/a.png, b.png")
    assert "<title>Scans of May: 2 pages: outside/scans/a.png, b.png</title>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "inputs, name",
    [
        (["/data/may/a.png"], "a.png"),
        (["/data/may/a.png", "/data/june/b.png"], "may/a.png"),
        (["/data/may/a.png", "c.png"], "a.png"),
    ],
)
def test_names_of_pages_elsewhere(inputs: list[str], name: str) -> None:
    sent = SentNames(inputs)
    assert sent.name(inputs[0]) == name
    assert sent.name(f"{inputs[0]}#page=2") == f"{name}#page=2"
    assert sent.name("in/c.png") == "in/c.png"


def test_a_price_alone_is_the_devices(capsys: Capture) -> None:
    assert main(["report", SMALL, "--output-tokens", "9", "--price", "2", "--price", "L4=0.5", "--json"]) == 0
    sections = json.loads(capsys.readouterr().out)["sections"]
    rows = {row["device"]: row["cost_per_1000_pages"] for row in sections["devices"]["devices"]["rows"]}
    assert {device for device, cost in rows.items() if cost is not None} == {"H100-SXM (this report)", "L4"}
    assert sections["overview"]["texts"][0].endswith(").") and "At 2 an hour, 1000" in sections["overview"]["texts"][0]


def test_a_corpus_with_a_bad_page_is_refused(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text("width,height\n600,220\n600,0\n")
    assert main(["report", "sizes.csv"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "report: sizes.csv#2: " in captured.err and "a report needs every page" in captured.err
    assert files(tmp_path) == {"sizes.csv"}
    (tmp_path / "empty.png").touch()
    assert main(["report", "."]) == 2
    assert capsys.readouterr().err.startswith("error: report: page empty.png is empty (0 bytes); ")


def test_a_table_of_points(capsys: Capture, tmp_path: Path, write_pdf: WritePdf) -> None:
    (tmp_path / "sizes.csv").write_text("w,h\n612,792\n")
    (tmp_path / "in").mkdir()
    write_pdf("/MediaBox [0 0 300 110]", name="in/page.pdf")
    columns = ("--width", "w", "--height", "h", "--unit", "points", "--dpi", "72")
    assert main(["report", "sizes.csv", "in", *columns, "--json"]) == 0
    layouts = json.loads(capsys.readouterr().out)["sections"]["pages"]["layouts"]["rows"]
    assert [row["size"] for row in layouts] == ["612 x 792", "300 x 110"]


def test_a_corpus_without_a_page_is_refused(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text("width,height\n")
    assert main(["report", "sizes.csv"]) == 2
    assert capsys.readouterr().err == "error: report: there is no page in sizes.csv; give tables that have rows.\n"
    assert files(tmp_path) == {"sizes.csv"}


def test_json_on_standard_output(capsys: Capture, tmp_path: Path) -> None:
    assert main(["report", SMALL, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and json.loads(captured.out)["command"] == "report"
    assert main(["report", SMALL, "--format", "json", "-o", "-"]) == 0
    assert capsys.readouterr().out == captured.out
    assert main(["report", SMALL, "--json", "-o", "report.html"]) == 2
    assert "--json is --format json on standard output" in capsys.readouterr().err
    assert files(tmp_path) == set()


BAD = {
    "a page": (["none.png"], "page none.png does not exist"),
    "the second page": ([SMALL, "0x5"], "page size '0x5'"),
    "a suffix": ([SMALL, "-o", "report.pdf"], "the name report.pdf does not say the format"),
    "a device": ([SMALL, "--device", "H10"], "device H10 is unknown"),
    "a device without the peak": ([SMALL, "--device", "T4"], "device T4 lists no matmul peak for bf16"),
    "a price": ([SMALL, "--price", "none"], "report: --price H100-SXM=none is no price of an hour"),
    "a price of an unknown device": ([SMALL, "--price", "H10=2"], "--price H10=2: H10 is not asked for"),
    "a breakdown": ([SMALL, "--by", "kernel"], "report: costs are not broken down by kernel; "),
    "fewer than no tokens": (
        [SMALL, "--output-tokens", "-1"],
        "report: --output-tokens -1 is negative; give 0 or more",
    ),
    "a column of a page": (
        [SMALL, "--output-tokens", "said"],
        f"{SMALL} is no table with such a column; give a number",
    ),
    "an override": ([SMALL, "workload=huge"], "there is no such workload"),
    "a folder": ([SMALL, "-o", "folder.html"], "folder.html is a directory"),
    "too many tokens": ([SMALL, "--output-tokens", "9000"], "exceed decoder.max_position_embeddings"),
}


@pytest.mark.parametrize("arguments, words", BAD.values(), ids=BAD)
def test_an_error_leaves_nothing(arguments: list[str], words: str, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "report.html").write_text("an older report")
    assert main(["report", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert files(tmp_path) == {"folder.html", "report.html"}
    assert (tmp_path / "report.html").read_text() == "an older report"


def test_a_page_is_never_written_over(capsys: Capture, tmp_path: Path, write_pdf: WritePdf) -> None:
    page = write_pdf("/MediaBox [0 0 300 110]", name="page.pdf")
    before = page.read_bytes()
    assert main(["report", "page.pdf", "-o", "./page.pdf", "--format", "html"]) == 2
    assert "page.pdf is one of the inputs" in capsys.readouterr().err
    assert page.read_bytes() == before


OVERWRITING = {
    "page_of_a_folder": (["in", "-o", "in/a.png", "--format", "html"], "in/a.png"),
    "link_to_a_page_of_a_folder": (["in", "-o", "link.html"], "in/a.png"),
    "table_in_a_folder": (["in", "-o", "in/sizes.csv", "--format", "json"], "in/sizes.csv"),
    "table": (["in/sizes.csv", "-o", "in/../in/sizes.csv", "--format", "json"], "in/sizes.csv"),
    "device": (["5x5", "--device", "slow.yaml", "-o", "./slow.yaml", "--format", "json"], "slow.yaml"),
    "second_name_of_a_device": (["5x5", "--device", "slow.yaml", "-o", "hard.json"], "slow.yaml"),
    "folder": (["in", "-o", "in", "--format", "json"], None),
}


@pytest.mark.parametrize("arguments, kept", OVERWRITING.values(), ids=OVERWRITING)
def test_no_input_is_written_over(
    arguments: list[str], kept: str | None, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("L", (300, 200)).save("in/a.png")
    (tmp_path / "in" / "sizes.csv").write_text("width,height\n5,5\n")
    (tmp_path / "link.html").symlink_to("in/a.png")
    write_device(tmp_path, matmul_flops_per_s={"bf16": 1e12, "fp32": 1e12})
    (tmp_path / "hard.json").hardlink_to("slow.yaml")
    before = None if kept is None else (tmp_path / kept).read_bytes()
    monkeypatch.setattr("modelmeter.report.content.build_report", None)  # refused before anything is computed
    assert main(["report", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert ("is a directory" if kept is None else "is one of the inputs; give the output another name.") in err
    assert kept is None or (tmp_path / kept).read_bytes() == before


def test_a_report_beside_the_pages(capsys: Capture, tmp_path: Path) -> None:
    """A folder of pages may hold its report, and it may be written again."""
    (tmp_path / "in").mkdir()
    Image.new("L", (300, 200)).save("in/a.png")
    for _ in range(2):
        assert main(["report", "in", "-o", "in/report.json"]) == 0
    assert "in/report.json: in: 300 x 200 pixels" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="standard output has no such name here")
def test_standard_output_by_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", SMALL, "-o", "/dev/stdout", "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["command"] == "report"
