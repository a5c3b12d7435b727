"""The README: its examples run and print what it says, and its demo output is the program's."""

import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

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
def test_the_demo_output_is_the_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end_vision import main

    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["verify", "images=[examples/pages/letter_portrait.png]"])
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as in a new process
    main()
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) > 8
    shown = README.split("```text\n")[1].split("```")[0].splitlines()
    assert lines[:-1] == [line for line in shown if line][:-1]
