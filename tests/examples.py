"""The Python examples of a document: blocks that run one after another, and what their comments promise."""

from __future__ import annotations

import contextlib
import io
import re


def python_blocks(document: str) -> list[str]:
    """The blocks of Python in a document."""
    return re.findall(r"```python\n(.*?)```", document, flags=re.DOTALL)


def promised(block: str) -> list[str]:
    """What a block prints as it says itself, `print(…)  # this`: a line for each call."""
    return [line.split("  # ")[1] for line in block.splitlines() if line.startswith("print(")]


def printed(block: str, names: dict[str, object]) -> str:
    """What a block prints when it runs over these names, to which it adds its own."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(block, names)
    return out.getvalue()
