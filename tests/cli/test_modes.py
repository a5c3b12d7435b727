"""`modelmeter modes`: a page in every named mode."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modelmeter.cli.main import main
from modelmeter.models.deepseek_ocr import MODES, load_cost_model

Capture = pytest.CaptureFixture[str]


def printed(capsys: Capture, *arguments: str) -> str:
    status = main(["modes", *arguments])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def cells(out: str, name: str) -> list[str]:
    """The cells of the first row of that name; bytes lose their unit."""
    line = next(line.strip() for line in out.splitlines() if line.strip().startswith(name))
    return line.removeprefix(name).replace(" B", "").split()


def test_modes_side_by_side(capsys: Capture) -> None:
    out = printed(capsys, "1275x1650", "--exact", "--output-tokens", "100", "runtime.dtype=float32")
    assert cells(out, "tiny") == list(MODES)[1:]
    # q (q + 1) + 1 tokens of a view with q = side / 64; a crop grid of 2 x 3 adds (2 q + 1) 3 q
    tokens = [8 * 9 + 1, 10 * 11 + 1, 16 * 17 + 1, 20 * 21 + 1, 16 * 17 + 1 + 21 * 30, 20 * 21 + 1 + 33 * 48]
    assert cells(out, "image tokens") == [str(number) for number in tokens]
    assert cells(out, "prefill tokens (prompt declared)") == [str(number + 10) for number in tokens]
    assert cells(out, "views") == ["1", "1", "1", "1", "7", "7"]
    assert cells(out, "crops, columns x rows") == ["none"] * 4 + ["2", "x", "3"] * 2
    pages = [
        load_cost_model([f"workload={mode}", "runtime.dtype=float32"]).page(1275, 1650, output_tokens=100)
        for mode in MODES
    ]
    sections = {
        "tensor-core FLOPs": "tensor_core_flops",
        "vector FLOPs (by convention)": "cuda_core_flops",
        "traffic (no cache, experts_hit=max)": "io_bytes",
    }
    for title, figure in sections.items():
        section = out.split(title)[1]
        for stage in ("vision", "prefill", "decode", "total"):
            assert cells(section, stage) == [f"{getattr(getattr(page, stage), figure):,}" for page in pages]
    peaks = out.split("activation peak (tensors only)")[1]
    assert cells(peaks, "prefill") == [f"{page.prefill.activation_peak_bytes:,}" for page in pages]
    kv = out.split("KV cache at the end")[1]
    assert cells(kv, "prefill") == [f"{(number + 10) * 12 * 2 * 1280 * 4:,}" for number in tokens]
    assert cells(kv, "total") == [f"{(number + 110) * 12 * 2 * 1280 * 4:,}" for number in tokens]
    vrams = [
        load_cost_model([f"workload={mode}", "runtime.dtype=float32"]).vram(1275, 1650, 100).total_bytes
        for mode in MODES
    ]
    assert cells(out, "device memory (reserve assumed)") == [f"{total:,}" for total in vrams]
    assert cells(out, "resident weights") == [f"{page.total.weight_bytes:,}" for page in pages]


def test_json_has_every_mode(capsys: Capture) -> None:
    document = json.loads(printed(capsys, "640x480", "1275x1650", "--json", "workload.max_num=6"))
    assert (document["schema_version"], document["command"], document["output_tokens"]) == (1, "modes", 0)
    assert list(document["configurations"]) == list(MODES)
    assert "configuration" not in document
    for mode, configuration in document["configurations"].items():
        assert configuration["workload"] == vars(MODES[mode]) | {"max_num": 6}
    for entry, size in zip(document["pages"], [(640, 480), (1275, 1650)], strict=True):
        assert (entry["width"], entry["height"]) == size
        for mode, cost in entry["modes"].items():
            page = load_cost_model([f"workload={mode}", "workload.max_num=6"]).page(*size)
            assert cost["tokens"] == page.tokens._asdict()
            assert cost["stages"]["total"] == page.total.as_dict()


def test_a_mode_that_a_page_does_not_fit_says_why(capsys: Capture) -> None:
    # 8192 positions: tiny takes 73 image tokens and 10 of the prompt, small 111 and 10
    out = printed(capsys, "640x480", "--output-tokens", "8109")
    assert cells(out, "image tokens") == ["73", "-", "-", "-", "-", "-"]
    assert "\nsmall: context: 121 tokens of prompt and image and output_tokens=8109 exceed" in out
    document = json.loads(printed(capsys, "640x480", "--output-tokens", "8109", "--json"))
    modes = document["pages"][0]["modes"]
    assert modes["small"] == {"error": modes["small"]["error"]}
    assert modes["small"]["error"].startswith("context: 121 tokens")
    assert modes["tiny"]["tokens"]["total"] == 73


def test_assumptions_of_all_modes_are_told(capsys: Capture) -> None:
    out = printed(capsys, "640x480", "execution=published")
    assert "execution=published (without autocast)" in out
    assert "\ntiles of image_size" in out  # gundam_m's
    document = json.loads(printed(capsys, "640x480", "execution=published", "--json"))
    figures = [each["figure"] for each in document["assumptions"]]
    assert len(figures) == len(set(figures))
    assert {"execution", "layout"} <= set(figures)


def test_pdf_pages_of_one_size_are_shown_once(capsys: Capture, write_pdf: Callable[..., Path]) -> None:
    path = write_pdf("/MediaBox [0 0 612 792]", "/MediaBox [0 0 612 792]", "/MediaBox [0 0 72 72]")
    titles = [line for line in printed(capsys, str(path)).splitlines() if line.startswith(str(path))]
    assert titles == [
        f"{path}, pages 1-2: 1224 x 1584 pixels at 144 dpi",
        f"{path}, page 3: 144 x 144 pixels at 144 dpi",
    ]


REFUSED = {
    "mode": (
        ("5x5", "workload=base"),
        "workload=base: the modes set workload themselves; leave it out, or use modelmeter page.",
    ),
    "what_makes_a_mode": (
        ("5x5", "workload.image_size=640"),
        "workload.image_size=640: the modes set workload.image_size",
    ),
    "no_page": ((), "there is no page; give an image file"),
    "bad_pages": (("none.png", "5x5"), "page none.png does not exist"),
    "no_mode": (("5x5", "--output-tokens", "8110"), "page 5x5 fits no mode; context: 83 tokens"),
}


@pytest.mark.parametrize("arguments, text", REFUSED.values(), ids=REFUSED)
def test_refused(arguments: tuple[str, ...], text: str, capsys: Capture) -> None:
    assert main(["modes", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {text}")
    assert captured.err.count("\n") == 1


def test_a_checkpoint_is_told_once(capsys: Capture) -> None:
    out = printed(capsys, "640x480", "--model", "olmocr_2_7b")
    assert out.count("checkpoint=olmocr_2_7b") == 1
    assert "overrides" in printed(capsys, "640x480", "--model", "olmocr_2_7b", "runtime.head=all")
