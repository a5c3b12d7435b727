"""`modelmeter page`: its inputs, its table, its JSON."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modelmeter.cli.main import main
from modelmeter.models.deepseek_ocr import load_cost_model

Capture = pytest.CaptureFixture[str]
STAGES = ("vision", "prefill", "decode", "total")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def image(path: str, width: int, height: int, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", (width, height)).save(path, exif=exif)


def printed(capsys: Capture, *arguments: str) -> str:
    status = main(["page", *arguments])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def parsed(capsys: Capture, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(printed(capsys, *arguments, "--json"))
    return document


def refused(capsys: Capture, *arguments: str) -> list[str]:
    assert main(["page", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def row(out: str, name: str) -> list[str]:
    """The cells of the table's row, with exact integers."""
    (line,) = (line for line in out.splitlines() if line.strip().startswith(name))
    return line.strip().removeprefix(name).removesuffix(" B").replace(" B ", " ").split()


def words(out: str) -> str:
    """What is printed, on one line."""
    return " ".join(out.split())


def test_the_table_says_what_the_cost_model_computes(capsys: Capture) -> None:
    asked = ("1275x1650", "--exact", "--output-tokens", "100", "runtime.dtype=float32", "workload=base")
    out = printed(capsys, *asked)
    page = load_cost_model(["workload=base", "runtime.dtype=float32"]).page(1275, 1650, output_tokens=100)
    stages = [getattr(page, stage) for stage in STAGES]
    figures = {
        "tensor-core FLOPs  ": "tensor_core_flops",
        "vector FLOPs (by convention)": "cuda_core_flops",
        "traffic (no cache)": "io_bytes",
        "weights (experts_hit=max)": "io_weight_bytes",
        "activation peak (tensors only)": "activation_peak_bytes",
        "KV cache  ": "kv_bytes",
    }
    for name, figure in figures.items():
        assert row(out, name) == [f"{getattr(stage, figure):,}" for stage in stages], name
    # SAM, CLIP and projector of one view of 1024, as PyTorch's counter has them
    assert stages[0].tensor_core_flops == 976_909_172_736 + 161_715_683_328 + 1_342_177_280
    total = stages[-1]
    assert f"peak {total.activation_peak_bytes:,} B at {total.peak_path} ({total.peak_operator})" in words(out)
    vram = load_cost_model(["workload=base", "runtime.dtype=float32"]).vram(1275, 1650, 100)
    assert f"memory {vram.total_bytes:,} bytes, " in words(out)
    assert f"weights {vram.weight_bytes:,} B, " in words(out)
    assert f"peak of prefill {vram.resident_peak_bytes:,} B" in words(out)

    more = printed(capsys, *asked, "--explain")
    assert more.startswith(out)
    behind = more.removeprefix(out)
    others = {
        "activations": "io_activation_bytes",
        "KV cache  ": "io_kv_bytes",
        "resident weights": "weight_bytes",
        "given KV cache included": "resident_peak_bytes",
    }
    for name, figure in others.items():
        assert row(behind[: behind.index("peak of vision")], name) == [
            f"{getattr(stage, figure):,}" for stage in stages
        ], name
    for stage, cost in zip(STAGES[:-1], stages, strict=False):
        assert f"peak of {stage} {cost.peak_path} ({cost.peak_operator})" in words(behind)
    assert f"memory {vram.describe()}" in words(behind)


def test_layout_views_and_tokens(capsys: Capture) -> None:
    told = words(printed(capsys, "1275x1650", "--explain"))
    assert "model deepseek_ocr, workload=gundam, execution=transformers, bfloat16 " in told
    assert "gundam: base_size=1024 image_size=640 crop_mode=true patch_size=16 downsample_ratio=4 min_num=2" in told
    assert "views 7: the page as 1024 x 1024, 6 crops of 640 x 640 in 2 columns x 3 rows " in told
    assert "tokens 903 image (273 global, 630 crops) + 10 prompt (declared) = 913 prefill " in told
    told = words(printed(capsys, "640x480", "workload.image_size=512", "runtime.batch_size=3"))
    assert "workload=gundam workload.image_size=512, execution=" in told
    assert "views 1: the page as 1024 x 1024, no crops" in told
    assert "bfloat16, 3 pages at once" in told
    assert "with runtime.batch_size=3 " in told


def test_what_is_declared_or_assumed_is_said(capsys: Capture) -> None:
    out = printed(capsys, "640x480")
    assert "output  0 decode steps, the prefill's token alone (--output-tokens N: N more)\n" in out
    assert "reserve (assumed) 1.074 GB" in words(out)
    labels = ("declared", "experts_hit=max", "by convention", "no cache", "tensors only")
    assert f"labels {'; '.join((*labels[:2], 'reserve assumed', *labels[2:]))} (--explain" in words(out)
    explained = printed(capsys, "640x480", "--explain")
    for label in labels:
        assert f"({label})" in out
        assert f"\n{label:<15}  " in explained
    asked = ("640x480", "--output-tokens", "1", "runtime.experts_hit=uniform", "runtime.prompt_tokens=5", "--explain")
    told = words(printed(capsys, *asked))
    assert "output 1 decode step, so 2 tokens with the prefill's " in told
    assert "273 image (273 global, 0 crops) + 5 prompt (declared) = 278 prefill " in told
    assert "weights (experts_hit=uniform)" in told
    assert "assumes uniform routing" in told
    assert "declared: weights of 9 experts" in words(printed(capsys, "640x480", "runtime.experts_hit=9", "--explain"))


def test_the_published_code_is_told_apart(capsys: Capture) -> None:
    out = printed(capsys, "1275x1650", "execution=published", "--explain")
    assert "execution=published (without autocast)" in out
    assert "\nwithout autocast  execution: the published infer() runs under CUDA autocast" in out
    assert "tiles of image_size" not in out
    for image_size, what in (("512", "puts a part of their features into the prompt"), ("768", "fails here")):
        asked = ("1275x1650", "execution=published", f"workload.image_size={image_size}", "--explain")
        out = printed(capsys, *asked)
        assert "\ntiles of image_size  layout: as in the published vLLM example; " in out
        assert f"the other published code cuts 640 all the same and {what} " in words(out)
        assert "tiles of image_size" in printed(capsys, *asked[:-1])


def test_serving_says_the_crops_that_it_counts_with(capsys: Capture) -> None:
    told = words(printed(capsys, "1920x1080", "execution=serving", "--explain"))
    assert "columns x 2 rows (up to 9 crops; engines 6) tokens 1093 image" in told
    assert "layout: counted with workload.max_num=9; vLLM and SGLang cut at most 6" in told
    six = printed(capsys, "1920x1080", "execution=serving", "workload.max_num=6")
    assert "tokens  483 image" in six and "engines 6" not in six


def test_loading_decides_where_it_takes_most(capsys: Capture) -> None:
    arguments = ("1275x1650", "--output-tokens", "100", "execution=published", "runtime.load=float32_on_device")
    told = words(printed(capsys, *arguments, "--explain"))
    assert "memory 14.749 GB (13.74 GiB): peak of load 7.003 GB, weights 6.672 GB, reserve (assumed) 1.074 GB" in told
    assert "memory 14,749,123,584 bytes, 14.749 GB (13.74 GiB): weights 6,672,212,480, peak of load" in told
    assert "float32_on_device load: all weights are on the device in float32" in told
    (page,) = parsed(capsys, *arguments)["pages"]
    assert page["vram"]["stage"] == "load" and list(page["stages"]) == ["vision", "prefill", "decode", "total"]
    assert "; load holds more: 7,003,169,280 bytes" in words(printed(capsys, *arguments, "--memory"))


def test_readable_figures(capsys: Capture) -> None:
    lines = printed(capsys, "640x480", "workload=base").splitlines()
    # 1,139,967,033,344 FLOPs of vision; a KV cache of 283 tokens x 12 layers x 2 x 1280 elements x 2 bytes = 17,387,520
    assert next(line for line in lines if line.startswith("tensor-core")).split()[2:4] == ["1.140", "T"]
    assert next(line for line in lines if line.startswith("KV cache")).split()[2:] == [
        *("0", "B"),
        *("17.39", "MB") * 3,
    ]


def test_what_most_of_the_work_is(capsys: Capture) -> None:
    """Shares of SAM, and of the decoder's layers with experts, which are all but its first, by the operators' paths."""
    model = load_cost_model()
    page = model.page(1275, 1650)
    records = list(model.stage_walk("prefill", page=page).records())
    sam = [record for record in records if ".sam_model." in record.path]
    moe = [record for record in records if re.match(r"layers\.[1-9]\d*\.mlp(\.|$)", record.path)]
    told = words(printed(capsys, "1275x1650"))
    flops, traffic = told.split("mostly FLOPs: ")[1].split("time ")[0].split("traffic: ")
    for part, name in ((sam, "SAM"), (moe, "decoder MoE")):
        share = sum(record.tensor_core_flops for record in part) / page.total.tensor_core_flops
        assert f"{name} {100 * share:.0f} %" in flops
        share = sum(record.bytes_read + record.bytes_written for record in part) / page.total.io_bytes
        assert f"{name} {100 * share:.0f} %" in traffic


def test_json_is_the_full_result(capsys: Capture) -> None:
    document = parsed(capsys, "1275x1650", "640x480", "--output-tokens", "100", "runtime.attention=eager")
    assert list(document) == [
        "schema_version",
        "command",
        "model",
        "configuration",
        "settings",
        "assumptions",
        "output_tokens",
        "pages",
        "totals",
    ]
    assert (document["schema_version"], document["command"], document["model"]) == (1, "page", "deepseek_ocr")
    assert document["configuration"]["runtime"]["attention"] == "eager"
    assert document["configuration"]["decoder"]["hidden_size"] == 1280
    assert document["settings"]["runtime.head"] == "last"
    assert {each["figure"] for each in document["assumptions"]} == {
        "prompt_tokens",
        "io_weight_bytes",
        "reserve_bytes",
        "cuda_core_flops",
        "io_bytes",
        "activation_peak_bytes",
    }
    assert document["output_tokens"] == 100
    model = load_cost_model(["runtime.attention=eager"])
    for entry, (width, height) in zip(document["pages"], [(1275, 1650), (640, 480)], strict=True):
        page = model.page(width, height, output_tokens=100)
        assert (entry["source"], entry["width"], entry["height"]) == (f"{width}x{height}", width, height)
        assert entry["layout"] == page.layout._asdict()
        assert entry["tokens"] == page.tokens._asdict()
        assert entry["prefill_tokens"] == page.tokens.total + 10
        assert entry["dpi"] is None
        vram = model.vram(width, height, 100)
        assert entry["vram"] == vars(vram) | {"total_bytes": vram.total_bytes}
        assert entry["stages"] == {stage: getattr(page, stage).as_dict() for stage in STAGES}


def test_json_loses_no_digit(capsys: Capture) -> None:
    wide = ("1275x1650", "vision.sam.mlp_dim=100000")
    one = parsed(capsys, *wide)["pages"][0]["stages"]["vision"]
    many = parsed(capsys, *wide, "runtime.batch_size=500")["pages"][0]["stages"]["vision"]
    assert isinstance(one["tensor_core_flops"], int)
    assert many["tensor_core_flops"] == str(500 * one["tensor_core_flops"])


def test_images(capsys: Capture) -> None:
    image("page.png", 1275, 1650)
    image("turned.jpg", 1650, 1275, orientation=6)
    pages = parsed(capsys, "page.png", "turned.jpg")["pages"]
    assert [(page["source"], page["width"], page["height"]) for page in pages] == [
        ("page.png", 1275, 1650),
        ("turned.jpg", 1275, 1650),
    ]


def test_pdf_pages(capsys: Capture, write_pdf: Callable[..., Path]) -> None:
    letter = "/MediaBox [0 0 612 792]"
    write_pdf(letter, f"{letter} /Rotate 90", letter, letter, "/MediaBox [0 0 100.25 99]", letter)
    pages = parsed(capsys, "page.pdf")["pages"]
    assert [page["source"] for page in pages] == [f"page.pdf#page={number}" for number in range(1, 7)]
    assert [(page["width"], page["height"]) for page in pages] == [
        (1224, 1584),
        (1584, 1224),
        (1224, 1584),
        (1224, 1584),
        (201, 198),
        (1224, 1584),
    ]
    assert {page["dpi"] for page in pages} == {144}
    out = printed(capsys, "page.pdf", "--dpi", "72")
    assert "PDF     pages at 72 dpi\n" in out
    listed = out[out.index("page.pdf") : out.index("together")].splitlines()
    assert [line.strip().split("  ")[0] for line in listed[1:4]] == ["pages 1, 3-4, 6", "page 2", "page 5"]
    assert [re.findall(r"\d+x\d+", line) for line in listed[1:4]] == [["612x792"], ["792x612"], ["101x99"]]
    # 4 x (7 views, 903 tokens), 7 views of 893 for the one across, and a view of 273
    assert "together 6 pages of page.pdf: 36 views, 4,778 image tokens, 0 decode steps; " in words(out)


def test_frames_of_a_tiff_are_pages(capsys: Capture) -> None:
    frames = [Image.new("L", size) for size in ((1275, 1650), (640, 480), (1275, 1650))]
    frames[0].save("scan.tiff", save_all=True, append_images=frames[1:])
    document = parsed(capsys, "scan.tiff", "1275x1650", "--output-tokens", "7")
    assert [(page["source"], page["width"]) for page in document["pages"]] == [
        ("scan.tiff#page=1", 1275),
        ("scan.tiff#page=2", 640),
        ("scan.tiff#page=3", 1275),
        ("1275x1650", 1275),
    ]
    (total,) = document["totals"]
    assert (total["source"], total["pages"], total["views"], total["output_tokens"]) == ("scan.tiff", 3, 15, 21)
    flops = [int(page["stages"]["total"]["tensor_core_flops"]) for page in document["pages"][:3]]
    assert int(total["stages"]["total"]["tensor_core_flops"]) == sum(flops)
    largest = document["pages"][0]["stages"]["total"]
    for figure in ("kv_bytes", "activation_peak_bytes", "weight_bytes"):
        assert total["stages"]["total"][figure] == largest[figure]
    out = printed(capsys, "scan.tiff", "--exact")
    assert "\n  pages 1, 3  1275x1650" in out
    assert "together 3 pages of scan.tiff: 15 views, 2,079 image tokens, 0 decode steps; " in words(out)


@pytest.mark.parametrize("command", ["page", "modes", "throughput", "report"])
def test_max_pixels(command: str, capsys: Capture) -> None:
    image("page.png", 40, 30)
    more = {"throughput": ["--output-tokens", "9", "--device", "H100-SXM"], "report": ["-o", "-", "--format", "json"]}
    arguments = [command, "page.png", *more.get(command, [])]
    assert main([*arguments, "--max-pixels", "1199"]) == 2
    captured = capsys.readouterr()
    assert "page page.png has more pixels than max_pixels=1199: 40 x 30; raise the limit (--max-pixels)" in captured.err
    assert captured.out == ""
    assert main([*arguments, "--max-pixels", "1200"]) == 0


def test_damaged_metadata_says_nothing() -> None:
    with pytest.warns(UserWarning):
        Image.new("L", (40, 30)).save("page.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x02\0\xff\xff")
        Image.open("page.jpg").close()
    command = [sys.executable, "-m", "modelmeter", "page", "page.jpg", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (json.loads(done.stdout)["pages"][0]["width"], done.stderr) == (40, "")


# Arguments with "=" and files of that name.


def test_a_file_with_an_equals_sign_is_a_page(capsys: Capture) -> None:
    image("scan=1.png", 30, 20)
    Image.new("L", (40, 20)).save("workload=base", format="PNG")
    document = parsed(capsys, "scan=1.png", "./workload=base", "workload=tiny")
    assert [page["width"] for page in document["pages"]] == [30, 40]
    assert document["configuration"]["workload"]["base_size"] == 512


def test_a_file_that_is_also_an_override_is_refused(capsys: Capture) -> None:
    Path("workload=base").touch()
    assert refused(capsys, "5x5", "workload=base") == [
        "error: workload=base is an override and also the name of a file; write ./workload=base for the file."
    ]


def test_an_equals_sign_in_a_folder_is_no_override(capsys: Capture) -> None:
    Path("a=b").mkdir()
    image("a=b/page.png", 30, 20)
    Path("folder").mkdir()
    assert parsed(capsys, "a=b/page.png")["pages"][0]["width"] == 30
    assert "folder/x=1.png does not exist" in refused(capsys, "folder/x=1.png")[0]


def test_a_size_is_a_size_even_where_a_file_has_its_name(capsys: Capture) -> None:
    Image.new("L", (30, 20)).save("640x480", format="PNG")
    pages = parsed(capsys, "640x480", "./640x480")["pages"]
    assert [(page["width"], page["height"]) for page in pages] == [(640, 480), (30, 20)]


BAD_ARGUMENTS = {
    "no_page": (
        ("workload=base",),
        "there is no page; give an image file, a PDF, or a size as in 1275x1650 or A4@200.",
    ),
    "missing_file": (("none.png",), "page none.png does not exist; check the path"),
    "directory": (("folder",), "page folder is a directory; give an image file"),
    "not_an_image": (("text.txt",), "page text.txt is not an image in a format that is read; give a PNG"),
    "not_a_pdf": (("text.pdf",), "page text.pdf is no PDF, is damaged or has no page; make or copy the file anew."),
    "no_width": (("0x5",), "page size '0x5': width 0 is out of range; a side has 1 to 2147483647 pixels."),
    "huge": (("2147483648x1",), "page size '2147483648x1': width 2147483648 is out of range"),
    "fraction": (("640.5x480",), "page size '640.5x480': width 640.5 is fractional; give a whole number of pixels."),
    "too_large": (
        ("bomb.png", "--max-pixels", "100"),
        "page bomb.png has more pixels than max_pixels=100: 11 x 10; raise the limit (--max-pixels)",
    ),
    "misspelt_key": (("5x5", "runtime.dtyp=float32"), "config key runtime.dtyp does not exist"),
    "misspelt_group": (
        ("5x5", "workloda=base"),
        'workloda=base is no file and no override: there is no workloda; did you mean "workload=base"?',
    ),
    "misspelt_choice": (
        ("5x5", "workload=gundem"),
        'workload=gundem: there is no such workload; did you mean "gundam"',
    ),
    "missing_file_with_equals_sign": (
        ("scan=2.png",),
        "scan=2.png is no file and no override: there is no scan; the options are vision",
    ),
    "added_key": (("5x5", "+scale=2"), "+scale=2 is no file and no override"),
    "wrong_type": (("5x5", "runtime.batch_size=x"), "config: runtime.batch_size='x' is no whole number"),
    "impossible": (("5x5", "runtime.batch_size=0"), "config: runtime.batch_size=0 is too small; give 1 or more."),
    "not_hydras_grammar": (("5x5", "runtime.dtype=[a"), 'override "runtime.dtype=[a" is none that Hydra can read'),
    "context": (
        ("5x5", "--output-tokens", "9000"),
        "page 5x5: context: 283 tokens of prompt and image and output_tokens=9000",
    ),
}


@pytest.mark.parametrize("arguments, text", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["table", "json"])
def test_bad_arguments(arguments: tuple[str, ...], text: str, options: tuple[str, ...], capsys: Capture) -> None:
    Path("folder").mkdir()
    for name in ("text.txt", "text.pdf"):
        Path(name).write_text("a text, not a page")
    Image.new("L", (11, 10)).save("bomb.png")
    (line,) = refused(capsys, *arguments, *options)
    assert line.startswith(f"error: {text}")


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["table", "json"])
def test_one_bad_page_and_nothing_is_printed(options: tuple[str, ...], capsys: Capture) -> None:
    image("good.png", 30, 20)
    lines = refused(capsys, "good.png", "none.png", "640x480", "0x5", *options)
    assert [line.split(";")[0] for line in lines] == [
        "error: page none.png does not exist",
        "error: page size '0x5': width 0 is out of range",
    ]


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_odd_file_names(capsys: Capture) -> None:
    for name in ("[red]page.png", "a b.png", "-dash.png", os.fsdecode(b"\xff.png")):
        image(name, 30, 20)
    out = printed(capsys, "[red]page.png", "a b.png", os.fsdecode(b"\xff.png"), "--", "-dash.png")
    for shown in ("[red]page.png", "a b.png", "\\udcff.png", "-dash.png"):
        assert f"\n{shown}  " in out
        assert f"{shown}: 30 x 20 pixels" in printed(
            capsys, "--", os.fsdecode(b"\xff.png") if "udcff" in shown else shown
        )
    (line,) = refused(capsys, "two\nlines.png")
    assert line.startswith(r"error: page two\nlines.png does not exist")


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_no_digit_is_cut_off(columns: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    several = printed(capsys, "1275x1650", "640x480", "--exact")
    assert f"{load_cost_model().page(640, 480).total.io_bytes:,} B" in several
    assert "46.12 GB" in printed(capsys, "1275x1650", "640x480")
    out = printed(capsys, "1275x1650", "--exact", "--output-tokens", "100")
    assert "…" not in out
    page = load_cost_model().page(1275, 1650, output_tokens=100)
    assert f"{page.total.io_bytes:,} B" in out
    assert "execution=transformers" in "".join(out.split())
