"""The house: which room may import which, and that no room outside a model's package knows that model's name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import modelmeter
from modelmeter.models import MODELS

PACKAGE = Path(modelmeter.__file__).parent

#: the ground floor: modules that every room may import, each with those below it
GROUND = {
    "errors": set(),
    "units": {"errors"},
    "checks": {"errors"},
    "quantities": set(),
    "search": set(),
    "files": {"errors"},
    "documents": {"errors"},
    "kinds": {"errors"},
    "output_tokens": {"errors", "documents", "kinds"},
    "quality": {"errors", "documents", "kinds"},
    "memory": {"errors", "units"},
    "process": {"errors", "files"},
    "progress": {"process"},
    "tiff_pages": set(),
    "page_sizes": {"errors", "checks", "tiff_pages"},
    "pdf_pages": {"errors", "checks", "page_sizes"},
    "sizes": {"errors"},
    "walk": set(),
    "packing": {"units"},
    "shape_tensor": {"errors", "units", "sizes", "walk"},
    "kernel_classes": {"errors", "walk"},
    "kernels": {"units", "sizes", "walk", "kernel_classes"},
    "operators": {"errors", "units", "sizes", "walk", "packing", "shape_tensor"},
}

#: rooms, each with those that it may import beside the ground floor
ROOMS = {
    "": {"models", "models.common"},
    "layers": set(),
    "models.common": {"layers"},
    "models.<name>": {"layers", "models.common"},
    "models.common.reference": {"layers", "models.common", "reference"},
    "models.<name>.reference": {"layers", "models.common", "models.common.reference", "models.<name>", "reference"},
    "models.<name>.scripts": {
        "layers",
        "models.common",
        "models.<name>",
        "models.<name>.__init__",
        "models.<name>.reference",
        "devices",
        "report",
        "reference",
        "programs",
    },
    "models.<name>.__init__": {"models.common", "models.common.reference", "models.<name>", "models.<name>.reference"},
    "models": {"models.common", "models.<name>.__init__"},
    "devices": {"models.common"},
    "calibration": {"devices", "models.common"},
    "comparison": {"devices", "models.common"},
    "sweep": {"devices", "models.common"},
    "simulation": {"devices", "models.common"},
    "plan": {"devices", "models.common", "simulation"},
    "laws": {"devices", "models.common"},
    "corpus": {"devices", "models.common"},
    "compare": {"devices", "models.common", "sweep"},
    "report": {
        "devices",
        "models.common",
        "calibration",
        "compare",
        "comparison",
        "corpus",
        "plan",
        "simulation",
        "sweep",
    },
    "reference": {"layers", "models.common", "devices"},
    "cli": {
        "models",
        "models.common",
        "devices",
        "calibration",
        "compare",
        "comparison",
        "corpus",
        "report",
        "reference",
        "programs",
        "sweep",
        "laws",
        "simulation",
        "plan",
    },
    "programs": {"models", "models.common", "layers", "devices", "compare", "sweep", "report", "reference", "laws"},
    "__main__": {"cli"},
}

#: what references alone import
TORCH = {"torch", "torchinfo", "torchvision", "transformers"}

#: words of one model, and the models' own names
OF_ONE_MODEL = re.compile(r"crop|gundam|\bsam_(?!model\b|encoder\b)|\bclip_|[dD]eep[sS]eek")


def room_of(module: str) -> str:
    """The room, or the module of the ground floor, that a module stands in."""
    parts = module.split(".")[1:]
    if not parts:
        return ""
    if parts[0] == "models":
        if len(parts) == 1:
            return "models"
        inner = parts[2] if len(parts) > 2 else ""
        if parts[1] == "common":
            return "models.common.reference" if inner == "reference" else "models.common"
        if not inner:
            return "models.<name>.__init__"
        return f"models.<name>.{inner}" if inner in ("reference", "scripts") else "models.<name>"
    return parts[0]


def imports(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports, anywhere in it; for types alone too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "modelmeter")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "modelmeter":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                file = PACKAGE.joinpath(*full.split(".")[1:])
                yield full if file.is_dir() or file.with_suffix(".py").exists() else str(node.module)


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package with its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(("modelmeter", *path.relative_to(PACKAGE).with_suffix("").parts))
        yield name.removesuffix(".__init__"), path


def allowed(source: str, target: str) -> bool:
    """Whether a room may import another."""
    if target in (source, ""):
        return True
    if source in GROUND:
        return target in GROUND[source]
    return target in GROUND or target in ROOMS[source]


def arrows() -> set[tuple[str, str]]:
    """(module, room that it imports and may not)."""
    return {
        (module, room_of(target))
        for module, path in modules()
        for target in imports(path)
        if not allowed(room_of(module), room_of(target))
    }


def other_models(module: str, path: Path) -> set[str]:
    """Packages of other models that a model's package imports."""
    own = module.split(".")[2] if module.startswith("modelmeter.models.") else ""
    return {
        target
        for target in imports(path)
        if own in MODELS and room_of(target).startswith("models.<name>") and target.split(".")[2] != own
    }


def test_every_module_stands_in_a_room() -> None:
    assert {room_of(module) for module, _ in modules()} == set(GROUND) | set(ROOMS)


def test_imports_point_one_way() -> None:
    assert arrows() == set()
    assert set(TopologicalSorter(GROUND | ROOMS).static_order()) == set(GROUND) | set(ROOMS)


def test_torch_is_imported_by_references_alone() -> None:
    found = {
        room_of(module)
        for module, path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in TORCH
    }
    assert {room for room in found if room.split(".")[-1] != "reference"} == set()


def test_a_model_imports_its_real_modules_when_they_are_asked_for() -> None:
    for name in MODELS:
        statements = ast.parse((PACKAGE / "models" / name / "__init__.py").read_text(encoding="utf-8")).body
        at_once = [node for node in statements if isinstance(node, ast.ImportFrom)]
        assert [node.module for node in at_once if ".reference" in str(node.module)] == []


def test_no_model_imports_another() -> None:
    assert {module: found for module, path in modules() if (found := other_models(module, path))} == {}


def test_no_room_outside_a_model_knows_its_name() -> None:
    lines = {
        f"{path.relative_to(PACKAGE).as_posix()}: {line}"
        for module, path in modules()
        if not room_of(module).startswith("models.<name>") and room_of(module) != "models"
        for line in path.read_text(encoding="utf-8").splitlines()
        if OF_ONE_MODEL.search(line)
    }
    assert lines == set()


def test_the_guards_see_what_is_wrong() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter(GROUND | ROOMS | {"layers": {"models.common"}}).prepare()
    assert not allowed("layers", "models.common")
    assert not allowed("shape_tensor", "operators")
    assert not allowed("models.common", "models.<name>")
    assert not allowed("devices", "report")
    assert allowed("report", "models.common") and allowed("operators", "shape_tensor")
    assert OF_ONE_MODEL.search("crop_mode") and OF_ONE_MODEL.search("DeepSeek") and not OF_ONE_MODEL.search("same")
