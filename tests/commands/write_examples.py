"""The pages of documents with their examples run anew: after a change of constants or of what a command prints.

    python -m tests.commands.write_examples

What changed is in `git diff`: read it before it is committed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.examples import python_blocks

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    ROOT / "docs" / name for name in ("command-line.md", "diff.md", "corpus.md", "sweeps.md", "compare.md", "plan.md")
)
#: the page whose first program writes the table that its examples read
WITH_A_TABLE = PAGES[2]
EXAMPLE = re.compile(r"(```console\n\$ modelmeter (.*?)\n)(.*?)(```)", flags=re.DOTALL)
#: of the page about plans: its question with one option more, and the purchase that is the answer then
WITH_CHANGES = PAGES[5]
CHANGED = re.compile(r"^(\| `([^`]+)` )\| [\d,]+ \S+ \| [\d,]+ \|$", flags=re.MULTILINE)


@contextlib.contextmanager
def folder_of(page: Path) -> Iterator[Path]:
    """Where the reader of a page stands."""
    if page != WITH_A_TABLE:
        yield ROOT
        return
    with TemporaryDirectory() as name, contextlib.chdir(name):
        Path("examples").symlink_to(ROOT / "examples")
        exec(python_blocks(page.read_text(encoding="utf-8"))[0], {})
        yield Path(name)


def run_anew(example: re.Match[str], folder: Path) -> str:
    """The example with what its command prints now, in this folder."""
    ran = subprocess.run(
        [sys.executable, "-m", "modelmeter", *shlex.split(example[2])],
        cwd=folder,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    return example[1] + (ran.stdout + ran.stderr).replace(str(ROOT), "/home/me/project") + example[4]


def changed_anew(row: re.Match[str], question: str) -> str:
    """A row with the purchase of today. question: the words of the page's plan."""
    command = [sys.executable, "-m", "modelmeter", *shlex.split(question), *shlex.split(row[2]), "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    best = json.loads(ran.stdout)["rows"][0]
    return f"{row[1]}| {best['gpus']:,} {best['device']} | {best['money_a_month']:,.0f} |"


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        with folder_of(page) as folder:
            anew = EXAMPLE.sub(partial(run_anew, folder=folder), page.read_text(encoding="utf-8"))
        if page == WITH_CHANGES and (asked := EXAMPLE.search(anew)):
            anew = CHANGED.sub(partial(changed_anew, question=asked[2]), anew)
        page.write_text(anew, encoding="utf-8")


if __name__ == "__main__":
    main()
