"""A verification program run in this process, which spares the second that importing torch takes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from tests.programs.results import Done, RunMain

RESULT = "verify.json"


@pytest.fixture(autouse=True)
def no_run_before() -> None:
    """As in a new process: what Hydra remembers of a program's run can hide that the next one lacks it."""
    HydraConfig.instance().cfg = None


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """Run a program's `main` with arguments: its exit status, and its verify.json, None where it wrote none."""

    def run(module: ModuleType, *arguments: str) -> tuple[int, Any]:
        before = set(tmp_path.glob(f"outputs/*/*/{RESULT}"))
        monkeypatch.setattr(sys, "argv", ["verify", *arguments])
        monkeypatch.chdir(tmp_path)
        try:
            module.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        written = set(tmp_path.glob(f"outputs/*/*/{RESULT}")) - before
        return status, json.loads(written.pop().read_text()) if written else None

    return run


@pytest.fixture
def run_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunMain:
    """Run `main` of a program with arguments in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(main: Callable[[], None], *arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        capsys.readouterr()
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return Done(status, *capsys.readouterr())

    return run
