"""The commands of README.md and docs/*.md, and a working directory in which a reader runs them.

A command is a line of a fenced console, sh or bash block (where such a block has lines that begin with "$ ", only
those), with the lines that a backslash joins to it and the variables that the block sets before; or a backticked text
that begins as a command does, unless it only names one: by its subcommand alone, with a placeholder, or cut short.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow
from pyarrow import parquet

from modelmeter.cli.app import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"^```(?:console|sh|bash)\n(.*?)^```$\n*(?:^```text\n(error: )?)?", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`((?:modelmeter|make|pip|python|\.venv/bin/\w+)\s[^`]+)`")
_FILE = re.compile(r"^```yaml\n# (\S+\.yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: what stands for something else: INPUT, SOURCE..., A.json, a dot of omission
_PLACEHOLDER = re.compile(r"…|\.\.\.|(?:^|\s)\[?[A-Z]+(?:\.json)?\]?(?=\s|$)")
#: what only names a command or a program, and says nothing of its arguments
_NAMES_ALONE: Final = {
    *(f"modelmeter {name}" for name in COMMANDS if name != "devices"),
    "python -m modelmeter",
    "modelmeter page --json",
    "modelmeter compare --json",
    "modelmeter verify vision",
    "modelmeter verify end2end",
}
_SCRIPTS: Final = "modelmeter.models.deepseek_ocr.scripts"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command as it stands in a document.

    setting: the variables that its block sets before. refused: the document shows an error as what it says.
    """

    text: str
    document: str
    setting: str = ""
    refused: bool = False


def commands() -> list[Command]:
    """Every command of the documents, once, in their order."""
    found: dict[str, Command] = {}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for command in (*_fenced(text, document.name), *_inline(_FENCE.sub("", text), document.name)):
            if command.text not in _NAMES_ALONE and not _PLACEHOLDER.search(command.text):
                found.setdefault(command.text, command)
    return list(found.values())


def _fenced(text: str, document: str) -> Iterator[Command]:
    for block in _BLOCK.finditer(text):
        shown = re.search(r"^\$ ", block[1], re.MULTILINE) is not None
        lines = re.sub(r"\\\n\s*", "", block[1]).splitlines()
        setting = ""
        for number, line in enumerate(lines):
            if shown and not line.startswith("$ "):
                continue
            line = re.sub(r"\s+#.*$", "", line.removeprefix("$ "))
            if re.fullmatch(r"\w+=\S+", line):
                setting += f"{line}; "
            elif line and not line.startswith("#"):
                after = "".join(lines[number + 1 : number + 2])
                refused = after.startswith("error: ") or bool(block[2])
                yield Command(text=line, document=document, setting=setting, refused=refused)


def _inline(text: str, document: str) -> Iterator[Command]:
    for given in _INLINE.findall(text):
        yield Command(text=" ".join(given.split()), document=document)


#: why a command cannot be run by a test, by how it begins
CANNOT: Final = {
    "make ": "sets up or works on the whole checkout, for minutes",
    "pip install ": "installs",
    "modelmeter calibrate ": "minutes of CPU: the whole model with its weights",
    "modelmeter judge ": "needs published tables of kernels, which are not ours to hand on",
    "modelmeter validate ": "minutes of CPU: the whole model with its weights",
    "python -m $sweep -m hydra/launcher=submitit": "needs hydra-submitit-launcher, and Slurm",
    f"python -m {_SCRIPTS}.verify.run_verify_published": "needs DeepSeek's own files",
    f".venv/bin/python -m {_SCRIPTS}.verify.run_verify_published": "needs DeepSeek's own files",
}
#: what takes long, modules of torch's or figures: run by `make commands`, and one of each kind in `make test` too
SLOW: Final = re.compile(
    r"run_verify_|programs\.verify|modelmeter verify (?!vision 'sizes=\[\[640,480\]\]')|write_static_snapshot|"
    r"programs\.sweep\.(grids|lengths) |\$sweep|modelmeter report pa"
)


def reason_not_to_run(command: Command) -> str | None:
    """Why a command cannot be run here; None where it can."""
    return next((reason for start, reason in CANNOT.items() if command.text.startswith(start)), None)


def make_working_directory(folder: Path) -> None:
    """What a reader of the documents has at hand: the installation, the examples, and pages and tables of his own."""
    (folder / ".venv").symlink_to(sys.prefix)
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copytree(ROOT / "reports" / "calibration", folder / "reports" / "calibration")
    pages = ROOT / "examples" / "pages"
    for name in ("page.png", "-scan.png"):
        shutil.copy(pages / "letter_portrait.png", folder / name)
    shutil.copy(next(pages.glob("*.jpg")), folder / "scan.jpg")
    rows = [(1240, 1754, "invoice", 400), (1920, 1080, "slide", 120), (600, 600, "note", 100)] * 20
    names = ("width", "height", "document_type", "output_tokens")
    with open(folder / "sizes.csv", "w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    regions = [(page, 1000, 200 + 100 * page, 300) for page in (1, 1, 2, 7)]
    with open(folder / "regions.csv", "w", newline="") as file:
        csv.writer(file).writerows([("page", *names[:2], "output_tokens"), *regions])
    columns = zip(*rows, strict=True)
    parquet.write_table(pyarrow.table(dict(zip(names, columns, strict=True))), folder / "pages.parquet")
    recipes = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    (folder / "mine.yaml").write_text(re.findall(r"```yaml\n(name: .*?)```", recipes, re.DOTALL)[0])
    for document in DOCUMENTS:
        for name, content in _FILE.findall(document.read_text(encoding="utf-8")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)

    for name in ("a", "b"):
        page = Command(text=f"modelmeter page 1275x1650 --json > {name}.json", document="")
        assert not run(page, folder)


def run(command: Command, folder: Path) -> str:
    """Run a command word for word in `folder`; what is wrong with how it ended, "" for nothing."""
    variables = os.environ | {"PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    line = f"set -o pipefail; {command.setting}{command.text}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=variables, capture_output=True, text=True, check=False)
    allowed = {2} if command.refused else {0}
    if "| head" in command.text:
        allowed.add(141)  # the pipe is closed before the program has said all
    if done.returncode not in allowed or "Traceback" in done.stderr:
        return f"{command.document}: {command.text}\nended with {done.returncode}:\n{done.stdout[-500:]}{done.stderr}"
    return ""
