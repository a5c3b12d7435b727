"""The README: its examples run and print what it says, its outputs are the programs', its figures the reports'."""

import re
import shlex
import sys
from math import ceil
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from modelmeter.cli.main import main
from tests import trust
from tests.examples import printed, promised, python_blocks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LEFT_OUT = "[...]"


def lines_of(captured: str) -> list[str]:
    """What a program printed, but for empty lines."""
    return [line.rstrip() for line in captured.splitlines() if line.strip()]


def is_an_excerpt(shown: str, lines: list[str]) -> bool:
    """Whether the parts of what is shown, between the marks of what is left out, stand so in these lines, in order."""
    at = 0
    for part in shown.split(LEFT_OUT):
        wanted = [line.rstrip() for line in part.splitlines() if line.strip()]
        found = [place for place in range(at, len(lines)) if lines[place : place + len(wanted)] == wanted]
        if not found:
            return False
        at = found[0] + len(wanted)
    return True


def test_an_excerpt_stands_in_order() -> None:
    assert is_an_excerpt("a\n[...]\nc\nd\n", ["a", "b", "c", "d"])
    assert not is_an_excerpt("c\n[...]\na\n", ["a", "b", "c"])
    assert not is_an_excerpt("a\nc\n", ["a", "b", "c"])


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("document, lines", [("README.md", 7), ("docs/concepts.md", 2), ("docs/plan.md", 1)])
def test_the_examples_print_what_their_comments_say(document: str, lines: int) -> None:
    names: dict[str, object] = {}
    checked = 0
    for block in python_blocks((ROOT / document).read_text(encoding="utf-8")):
        assert printed(block, names).splitlines() == promised(block)
        checked += len(promised(block))
    assert checked == lines


@pytest.mark.slow
def test_the_demo_output_is_the_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end_vision import main as verify

    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["verify", "images=[examples/pages/letter_portrait.png]"])
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as in a new process
    verify()
    lines = lines_of(capsys.readouterr().out)
    shown, result = README.split("```text\n")[1].split("```")[0].strip().rsplit("\n", 1)
    assert is_an_excerpt(shown.removesuffix(LEFT_OUT), lines)
    assert re.fullmatch(r"8 of 8 pages verified, \d+ figures, worst difference 0 \(tolerance 0\)", result)


def test_the_answer_is_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (command, shown) = re.findall(r"```console\n\$ modelmeter ((?:[^\n]*\\\n)*[^\n]*\n)(.*?)```", README, re.DOTALL)[0]
    monkeypatch.setenv("COLUMNS", "80")
    assert main(shlex.split(command.replace("\\\n", " "))) == 0
    lines = lines_of(capsys.readouterr().out)
    assert is_an_excerpt(shown, lines)
    cells = [line.split() for line in lines if line.startswith(("L4 ", "L40S ", "H100-SXM "))]
    rows = {name: row for name, *row in cells}
    assert min(rows, key=lambda name: float(rows[name][-1])) == "L40S"
    needed = [ceil(1e6 / float(rows["L40S"][place].replace(",", ""))) for place in (1, 2)]
    assert needed == [3, 4]  # "three of them, or four where the low end holds"
    assert rows["H100-SXM"][-2] == "host"


def test_the_errors_are_the_reports() -> None:
    words = " ".join(README.split("## How the times were judged")[1].split("\n## ")[0].split())
    rows = list(trust.rows_of(trust.kernels()))
    own, roofline = (
        [int(number) for row in rows for number in re.findall(r"\d+", row[place].split("(")[0])] for place in (2, 4)
    )
    assert f"median errors of {min(own)} to {max(own)} % by class" in words
    assert f"is {min(roofline)} to {max(roofline)} % off" in words
    of, median, most, held = re.findall(r"\d+", trust.published().split("\n")[0])
    assert f"Of {of} published figures of servers that nothing was fitted to" in words
    assert f"off by {median}% at the median and {most}% at most, and the interval holds {held}." in words
