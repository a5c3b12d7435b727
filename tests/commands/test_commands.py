"""Every command that the documents show runs word for word, or has its reason; the long ones in `make commands`.

Examples of docs/command-line.md run with what they print in tests/cli/test_documentation.py.
"""

import re
import shlex
from pathlib import Path

import pytest

from modelmeter.cli.main import main
from tests.commands.commands import CANNOT, SLOW, Command, commands, make_working_directory, reason_not_to_run, run
from tests.commands.write_examples import EXAMPLE, PAGES

COMMANDS = commands()
HERE = [each for each in COMMANDS if reason_not_to_run(each) is None]
QUICK = [each for each in HERE if not SLOW.search(each.text)]
EXAMPLES = {f"modelmeter {example[2]}" for example in EXAMPLE.finditer(PAGES[0].read_text(encoding="utf-8"))}
#: a `modelmeter` that needs no shell runs in this process; one of them does not, as a reader's
IN_SHELL, IN_PROCESS = [], []
for _command in QUICK:
    if _command.text not in EXAMPLES:
        plain = re.fullmatch(r"modelmeter [^|>$;&]*", _command.text) and (IN_PROCESS or "page" not in _command.text)
        (IN_PROCESS if plain else IN_SHELL).append(_command)
#: what at least one of the quick ones shows
KINDS = (
    "^modelmeter corpus",
    "^modelmeter report",
    "^modelmeter diff",
    "^modelmeter verify .* --multirun",
    r"programs\.sweep\.\w+ --multirun",
    "hydra/launcher=joblib",
    "--cfg job",
    "--config-dir",
    r"\| head -1$",
    "mine.yaml$",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reader")
    make_working_directory(made)
    return made


@pytest.mark.parametrize("command", IN_SHELL, ids=[each.text for each in IN_SHELL])
def test_the_command_runs(command: Command, folder: Path) -> None:
    assert not run(command, folder)


@pytest.mark.parametrize("command", IN_PROCESS, ids=[each.text for each in IN_PROCESS])
def test_the_command_runs_in_this_process(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(shlex.split(command.text)[1:]) == (2 if command.refused else 0), capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_run(kind: str) -> None:
    assert any(re.search(kind, each.text) for each in (*IN_SHELL, *IN_PROCESS))


def test_no_reason_is_stale() -> None:
    assert {start for start in CANNOT if any(each.text.startswith(start) for each in COMMANDS)} == CANNOT.keys()
    assert len(HERE) > 40


def test_what_a_command_is() -> None:
    texts = {each.text: each for each in COMMANDS}
    joined = next(text for text in texts if "run_verify_end2end_vision" in text)
    assert joined.endswith("detail=blocks") and "\\" not in joined
    assert texts["modelmeter page 1275x1650 workload=gundem"].refused
    assert not texts["modelmeter modes 1275x1650"].refused
    assert next(each for each in COMMANDS if "$sweep" in each.text).setting.startswith("sweep=modelmeter.")
    assert not any("INPUT" in text or text.startswith(("$", "#")) for text in texts)


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    def told(text: str, **more: bool) -> str:
        return run(Command(text=text, document="x.md", **more), tmp_path)

    assert told("exit 1").startswith("x.md: exit 1\nended with 1:")
    assert told("echo Traceback >&2") and told("true", refused=True) and told("exit 120 | head -1")
    assert not told("exit 2", refused=True) and not told("yes | head -1")
