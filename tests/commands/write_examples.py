"""The pages of documents with their examples run anew: after a change of constants or of what a command prints.

    python -m tests.commands.write_examples

What changed is in `git diff`: read it before it is committed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs/command-line.md", ROOT / "docs/diff.md")
EXAMPLE = re.compile(r"(```console\n\$ modelmeter (.*?)\n)(.*?)(```)", flags=re.DOTALL)


def run_anew(example: re.Match[str]) -> str:
    """The example with what its command prints now."""
    ran = subprocess.run(
        [sys.executable, "-m", "modelmeter", *shlex.split(example[2])],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    return example[1] + (ran.stdout + ran.stderr).replace(str(ROOT), "/home/me/project") + example[4]


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        page.write_text(EXAMPLE.sub(run_anew, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
