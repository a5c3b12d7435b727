"""`modelmeter host`: its table, its JSON, its refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from PIL import Image

from modelmeter.cli.main import main

Capture = pytest.CaptureFixture[str]


def test_files_pdfs_and_sizes(capsys: Capture, tmp_path: Path, write_pdf: Callable[..., Path]) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "page.png")
    pdf = write_pdf("/MediaBox [0 0 300 400]", "/MediaBox [0 0 100 100]")
    arguments = [
        "host",
        str(tmp_path / "page.png"),
        str(pdf),
        "64x32",
        "workload=tiny",
        "--repeats",
        "1",
        "--dpi",
        "72",
    ]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    pages = document["pages"]
    assert [(each["width"], each["height"], each["rendered"]) for each in pages] == [
        (640, 480, False),
        (300, 400, True),
        (100, 100, True),
        (64, 32, False),
    ]
    for each in pages:
        assert each["seconds"] == pytest.approx(each["read_s"] + each["resize_s"] + each["tensors_s"])
        assert each["seconds"] > 0
    assert document["seconds_per_page"] == median(each["seconds"] for each in pages)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "host.seconds_per_page=0.0" in out and "page=2" in out and "pages/s" in out


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "there is no page"),
        (["none.png"], "none.png does not exist"),
        (["64x32", "workload=tini"], 'did you mean "tiny"'),
        (["64x32", "--repeats", "0"], "0 is not in the range x>=1"),
    ],
)
def test_what_cannot_be_measured_is_refused(capsys: Capture, arguments: list[str], words: str) -> None:
    assert main(["host", *arguments]) == 2
    assert words in capsys.readouterr().err
