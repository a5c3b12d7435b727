"""The README: its examples run and print what it says, and its demo output is the program's."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import printed, promised, python_blocks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_print_what_their_comments_say() -> None:
    names: dict[str, object] = {}
    checked = 0
    for block in python_blocks(README):
        assert printed(block, names).splitlines() == promised(block)
        checked += len(promised(block))
    assert checked == 13


@pytest.mark.slow
def test_the_demo_output_is_the_programs(tmp_path: Path) -> None:
    module = "modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end_vision"
    page = "examples/pages/letter_portrait.png"
    command = [sys.executable, "-m", module, f"images=[{page}]"]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip()]
    assert len(lines) > 8
    shown = README.split("```text\n")[1].split("```")[0].splitlines()
    assert lines[:-1] == [line for line in shown if line][:-1]
