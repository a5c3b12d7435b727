"""Write reports/verification/bytes.md: traffic and peaks, analytic and measured, over a grid of sizes.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.write_bytes_report [FILE]

Takes about five minutes. Exit status 1 if a row differs; the report is written all the same, with its difference.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track

from modelmeter.files import write_whole
from modelmeter.models.deepseek_ocr.reference.byte_rows import HEADING, ByteRow, groups, rows
from modelmeter.process import tell
from modelmeter.programs.hydra_program import ended

REPORT: Final = Path("reports/verification/bytes.md")

INTRODUCTION: Final = """\
# Bytes, analytic and measured

Traffic, activation peak and resident peak of every part of DeepSeek-OCR, alone, with its inputs outside: by the cost
model, and as measured on the real modules on the meta device. Written by
`python -m modelmeter.models.deepseek_ocr.scripts.verify.write_bytes_report`; a test measures a part of the rows anew.

- `execution=transformers`: the modules of transformers. `execution=published`: the replica of the published code
  (`modelmeter/models/deepseek_ocr/reference/replica.py`), which gives every figure that was measured on the published
  files; without autocast. The published vision code has no eager attention, and FlashAttention 2 takes no float32.
- Sizes: views x side of a view in pixels; tokens of the prompt; a step after so many tokens. The decoder is without
  embedding and head. Routed experts hit: all in a prefill, 6 of 64 in a step.
- float16 eager is left out: on CUDA `softmax(dtype=float32)` is one operator for float16, on the meta device two.
- Not seen by either side, so in no figure: a kernel's own scratch, an allocator's rounding.
"""


def report(found: list[ByteRow]) -> str:
    """The report's text."""
    differing = sum(not row.agrees for row in found)
    summary = f"{len(found)} rows, {differing} with a difference.\n"
    return "\n".join((INTRODUCTION, summary, HEADING, *(row.line() for row in found), ""))


def main(arguments: list[str]) -> int:
    """Measure every row and write the report; 1 if one differs."""
    target = Path(arguments[0]) if arguments else REPORT
    found: list[ByteRow] = []
    for group in track(groups(), description="groups", console=Console(stderr=True), transient=True):
        found.extend(rows(group))
    write_whole(target, report(found))
    differing = [row for row in found if not row.agrees]
    for row in differing:
        tell(row.line())
    print(f"{len(found)} rows, {len(differing)} with a difference -> {target}")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(ended(lambda: main(sys.argv[1:])))
