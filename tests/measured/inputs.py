"""What a measurement depends on: the libraries' versions, and the code that builds, runs and measures the modules.

Code counts by what it does: comments, docstrings and form change nothing. torch is not imported.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from modelmeter.models import MODELS
from tests.quick import file_of

LIBRARIES = ("torch", "transformers")
MEASURING = Path(__file__).with_name("measuring.py")


@cache
def inputs_of(model: str) -> Mapping[str, str]:
    """What every measurement of a model depends on, as it is now."""
    return inputs_of_code(code_of(model))


def inputs_of_code(files: Iterable[Path]) -> Mapping[str, str]:
    """What a measurement that these files make depends on, as it is now."""
    # a build's suffix, as in +cpu, is no matter: the modules run on the meta device
    versions = {each: version(each).partition("+")[0] for each in LIBRARIES}
    return {**versions, "code": digest(files)}


def stale(stored: Mapping[str, str], model: str) -> str:
    """How a measurement's inputs differ from those of today, in words; "" where they are the same."""
    return otherwise(stored, inputs_of(model))


def otherwise(stored: Mapping[str, str], today: Mapping[str, str]) -> str:
    """How inputs differ from those of today, in words."""
    parts = [f"{name} was {stored.get(name)}, is {value}" for name, value in today.items() if stored.get(name) != value]
    return "; ".join(parts)


def code_of(model: str) -> list[Path]:
    """The files below `reference` folders that a model's `whole_model` imports, and the library's that those import."""
    package = MODELS[model]
    (whole_model,) = (
        node
        for node in parsed(located(package)).body
        if isinstance(node, ast.FunctionDef) and node.name == "whole_model"
    )
    return reached([whole_model, *parsed(MEASURING).body], {MEASURING})


def reached(statements: Iterable[ast.stmt], measuring: Iterable[Path]) -> list[Path]:
    """The files `measuring`, those below `reference` folders that statements import, and the library's modules."""
    left, ours, library = list(imports(statements)), set(measuring), set()
    while left:
        module = left.pop()
        if module.partition(".")[0] == "transformers":
            library |= {file for file in [library_file(module)] if file is not None}
            continue
        file = file_of(module)
        if file is not None and "reference" in module.split(".") and file not in ours:
            ours.add(file)
            left += imports(parsed(file).body)
    return sorted(ours) + sorted(library)


def located(package: str) -> Path:
    """The file of a package of this repository."""
    file = file_of(package)
    assert file is not None, package
    return file


def library_file(module: str) -> Path | None:
    """The file of a module of transformers; None for its top, which holds nothing, and for what is no module."""
    spec = find_spec("transformers")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return path if path.exists() else None


def imports(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """Modules that statements import, in functions too, and what may be modules in them; not those of types alone."""
    left: list[ast.AST] = list(statements)
    while left:
        node = left.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        left += ast.iter_child_nodes(node)


@cache
def parsed(file: Path) -> ast.Module:
    """A file's syntax."""
    return ast.parse(file.read_text(encoding="utf-8"))


def digest(files: Iterable[Path]) -> str:
    """Of what files do, in this order."""
    return hashlib.sha256("".join(meaning(parsed(file)) for file in files).encode()).hexdigest()[:16]


def meaning(node: object) -> str:
    """Syntax as text that is the same in every Python, without docstrings; `ast.dump` differs from one to the next."""
    if isinstance(node, list):
        words = (isinstance(each, ast.Expr) and is_text(each.value) for each in node)
        return "".join(f"[{meaning(each)}]" for each, is_words in zip(node, words, strict=True) if not is_words)
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({''.join(f'{name}={meaning(value)}' for name, value in fields)})"


def is_text(node: ast.AST) -> bool:
    """Whether an expression is a piece of text, which as a statement does nothing."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
