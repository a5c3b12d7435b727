"""Which tests `pytest --quick` leaves out: files that import torch, at whatever remove, and those that run programs.

Single tests are left out by their mark `slow`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: where modules are looked for
SOURCES = (ROOT / "extern", ROOT)
HEAVY = {"torch", "transformers"}
#: folders whose tests run whole programs and commands, or hold all measurements: they import torch or take seconds
PROGRAMS = {"scripts", "programs", "commands", "cli", "fuzz", "measured"}


@cache
def file_of(module: str) -> Path | None:
    """The file of a module of this repository."""
    for source in SOURCES:
        path = source.joinpath(*module.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.exists():
                return file
    return None


def imported(statements: list[ast.stmt]) -> Iterator[str]:
    """The modules that are imported as soon as a file is, those that hold them too."""
    for node in statements:
        if isinstance(node, ast.If | ast.Try | ast.With) and "TYPE_CHECKING" not in ast.unparse(node).split("\n")[0]:
            yield from imported(node.body)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def left_out(file: Path) -> bool:
    """Whether no test of a file is quick."""
    whole = PROGRAMS & set(file.relative_to(ROOT).parts) or file.stem.endswith("_commands")
    return bool(whole) or imports_torch(file)


def imports_torch(file: Path) -> bool:
    """Whether importing a file imports torch."""
    seen, left = {file}, [file]
    while left:
        for module in imported(ast.parse(left.pop().read_text(encoding="utf-8")).body):
            names = module.split(".")
            if names[0] in HEAVY:
                return True
            packages = (file_of(".".join(names[:length])) for length in range(1, len(names) + 1))
            new = {each for each in packages if each is not None} - seen
            seen |= new
            left += new
    return False
