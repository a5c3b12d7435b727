"""docs/models.md is what its program writes, and its figures are those that the command gives."""

import csv
import io
import re
import shlex
from pathlib import Path

import pytest

from modelmeter import models
from modelmeter.cli.main import main
from modelmeter.programs.models_page import CHART, DEVICES, KINDS, PAGE, models_page
from modelmeter.quantities import estimated

DOCS = Path(__file__).parents[2] / "docs"


def tables(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    below = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.slow
def test_the_page_and_its_chart_are_fresh() -> None:
    """Else make models-page, and read the difference."""
    page, chart = models_page()
    assert page == (DOCS / PAGE).read_text(encoding="utf-8")
    assert chart == (DOCS / CHART).read_text(encoding="utf-8")


def test_every_checkpoint_stands_below_every_kind_of_pages() -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    names = {f"`{name}`" for name in models.checkpoints()}
    for heading in ("How well they read", *(kind.title for kind in KINDS)):
        assert {row[0] for row in tables(text, heading)} == names


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[3]], ids=lambda kind: kind.page_class)
def test_the_figures_are_those_of_the_command_that_is_named(kind: object, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two models; the others are computed alike."""
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    (command,) = re.findall(rf"## {re.escape(kind.title)}\n\n`modelmeter (.*?)`", text)  # type: ignore[attr-defined]
    shown = {row[0].strip("`"): row for row in tables(text, kind.title)}  # type: ignore[attr-defined]
    names = ("deepseek_ocr", "lighton_ocr_2_1b")
    assert main([*shlex.split(command), "--models", ",".join(names), "--csv", "-"]) == 0
    for row in csv.DictReader(io.StringIO(capsys.readouterr().out)):
        cells = shown[row["model"]]
        assert cells[1 + len(DEVICES)].replace(",", "") == row["image_tokens"]
        value, low, high = (estimated(float(row[f"device_pages_per_s{end}"])) for end in ("", "_low", "_high"))
        assert cells[1 + DEVICES.index(row["device"])].startswith(f"{value} ({low} to {high})")
