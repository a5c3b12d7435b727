"""A verification program run in this process, which spares the second that importing torch takes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """Run a program's `main` with arguments: its exit status, and its verify.json, None where it wrote none."""

    def run(module: ModuleType, *arguments: str) -> tuple[int, Any]:
        monkeypatch.setattr(sys, "argv", ["verify", f"hydra.run.dir={tmp_path / 'run'}", *arguments])
        try:
            module.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        written = tmp_path / "run" / "verify.json"
        return status, json.loads(written.read_text()) if written.exists() else None

    return run
