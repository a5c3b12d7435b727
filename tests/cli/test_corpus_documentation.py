"""docs/corpus.md: its examples are the command's own output, and its programs run and print what they say."""

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/corpus.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```console\n\$ modelmeter (.*?)\n(.*?)```", PAGE, flags=re.DOTALL)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
ENGINES = ("dask", "pyspark", "ray")


def engine_of(program: str) -> str | None:
    return next((name for name in ENGINES if re.search(rf"^(import|from) {name}\b", program, flags=re.MULTILINE)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader of the page stands, the first program run."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "examples").symlink_to(ROOT / "examples")
    with contextlib.chdir(folder):
        exec(PROGRAMS[0], {})
    return folder


@pytest.mark.parametrize("arguments, shown", EXAMPLES, ids=[arguments for arguments, _ in EXAMPLES])
def test_the_examples_are_real(
    folder: Path, arguments: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(folder)
    main(shlex.split(arguments))
    captured = capsys.readouterr()
    assert captured.out + captured.err == shown


@pytest.fixture
def ray_stopped() -> Iterator[None]:
    """A program that uses Ray starts one, which would run on beside the other tests."""
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("ray_stopped")
def test_the_programs_run_and_print_what_they_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    checked = 0
    for program in PROGRAMS:
        engine = engine_of(program)
        if engine == "pyspark" or (engine is not None and find_spec(engine) is None):
            continue  # Spark needs Java too: tried by hand
        promised = re.findall(r"^print\(.*  # (.*)$", program, flags=re.MULTILINE)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(program, names)
        assert printed.getvalue().splitlines() == promised
        checked += len(promised)
    assert checked == 3


def test_every_engine_has_its_program() -> None:
    assert sorted(filter(None, map(engine_of, PROGRAMS))) == sorted(ENGINES)
    assert len(EXAMPLES) >= 4
