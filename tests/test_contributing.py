"""CONTRIBUTING.md, the Makefile and the hooks: what they name exists, and nothing that is needed goes unnamed."""

import ast
import re
import subprocess
from pathlib import Path

import yaml

import modelmeter
from modelmeter.models.common import contract
from tests.quick import imports_torch, left_out

ROOT = Path(__file__).parents[1]
PACKAGE = Path(modelmeter.__file__).parent
TOY = ROOT / "tests" / "toy_model"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
#: parts of file names that stand for any: of a package that one adds
PLACEHOLDERS = ("<name>", "mine.yaml")


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`([\w./<>]+(?:/|\.py|\.md|\.yaml))`", CONTRIBUTING))
    assert len(named) > 40
    places = (ROOT, PACKAGE, PACKAGE / "layers", TOY, ROOT / "tests" / "models" / "common")
    missing = {name for name in named if not any((place / name).exists() for place in places)}
    assert {name for name in missing if not any(each in name for each in PLACEHOLDERS)} == set()


def test_the_rooms_are_those_of_the_package() -> None:
    table = CONTRIBUTING.split("| where | what |")[1].split("\n\n")[0]
    told = set(re.findall(r"`([\w/<>]+?)(?:\.py|/)`", table))
    rooms = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("_") and path.suffix in ("", ".py")}
    assert rooms - told - {"models", "checks", "search", "memory"} == set()


def test_the_checkpoint_that_is_shown_is_the_toys() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", CONTRIBUTING.split("## Add a checkpoint")[1], re.DOTALL)
    real = (TOY / "configs" / "checkpoint" / "toy_wide.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(shown) == yaml.safe_load(real)
    assert real.startswith("# @package _global_\n") and "# @package _global_\n" in shown


def test_the_files_of_a_model_stand_in_their_order() -> None:
    steps = re.findall(r"^\d\. (.*?)[:,]", CONTRIBUTING.split("## Add a model")[1].split("## ")[0], re.MULTILINE)
    files = [name for step in steps for name in re.findall(r"`([\w/]+\.py)`", step)]
    assert files == [
        "workload.py", "executions.py", "config.py", "checkpoint_files.py", "model.py", "cost_model.py", "__init__.py",
        "models/__init__.py",
    ]  # fmt: skip
    assert {path.name for path in TOY.glob("*.py")} == set(files[:-1])


def test_all_that_a_package_promises_is_told() -> None:
    (promises,) = [
        node
        for node in ast.parse(Path(contract.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "ModelPackage"
    ]
    names = {node.name for node in promises.body if isinstance(node, ast.FunctionDef)}
    assert len(names) == 14
    assert {name for name in names if f"`{name}`" not in CONTRIBUTING} == set()


def test_every_target_says_what_it_does() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    phony = {name for line in re.findall(r"^\.PHONY:(.*)", MAKEFILE, re.MULTILINE) for name in line.split()}
    assert targets == phony
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    told = dict(re.findall(r"^make ([a-z-]+) +(.+)$", done.stdout, re.MULTILINE))
    assert set(told) == targets
    assert set(re.findall(r"^make ([a-z-]+)", CONTRIBUTING, re.MULTILINE)) <= targets


def test_the_hooks_are_what_make_asks_for() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert local["repo"] == "local"
    assert all(hook["language"] == "system" for hook in local["hooks"])
    asked = {hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude") for hook in local["hooks"]}
    assert asked == {"ruff format", "ruff check", "mypy"}


def test_quick_leaves_out_what_imports_torch() -> None:
    assert imports_torch(ROOT / "tests" / "test_shape_tensor.py")  # itself
    assert imports_torch(ROOT / "tests" / "calibration" / "test_kernels.py")  # by what it imports
    assert not imports_torch(ROOT / "tests" / "models" / "common" / "test_laws.py")
    assert left_out(ROOT / "tests" / "commands" / "test_commands.py")
    assert not left_out(Path(__file__))
