"""docs/command-line.md: its examples are the command's own output, and its tables name what exists."""

import re
import shlex
from pathlib import Path

import pytest

from modelmeter.cli.app import COMMANDS
from modelmeter.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```console\n\$ modelmeter (.*?)\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("arguments, shown", EXAMPLES, ids=[arguments for arguments, _ in EXAMPLES])
def test_the_examples_are_real(
    arguments: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(ROOT)
    main(shlex.split(arguments))
    captured = capsys.readouterr()
    assert (captured.out + captured.err).replace(str(ROOT), "/home/me/project") == shown


def test_there_are_examples_of_results_and_of_errors() -> None:
    assert len(EXAMPLES) >= 4
    assert any(shown.startswith("error: ") for _, shown in EXAMPLES)


def test_every_command_is_told() -> None:
    assert all(f"`modelmeter {command}" in PAGE for command in COMMANDS)
