"""The guides for one's own models: their examples run here, and print what they say."""

import re
from pathlib import Path

import pytest
import torch

from tests.examples import printed, promised, python_blocks

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name, lines", [("measure-your-model.md", 9), ("beside-a-profiler.md", 4)])
def test_the_examples_print_what_they_say(name: str, lines: int) -> None:
    document = (DOCS / name).read_text(encoding="utf-8")
    shown = re.findall(r"```text\n(.*?)```", document, flags=re.DOTALL)
    names: dict[str, object] = {"__name__": "__main__"}
    checked = 0
    for block in python_blocks(document):
        out = printed(block, names)
        if block.startswith("if torch.cuda"):
            assert torch.cuda.is_available() or not out
        elif promised(block):
            assert out.splitlines() == promised(block)
            checked += len(promised(block))
        else:
            assert out == shown.pop(0)
    assert checked == lines and not shown


def test_the_block_of_both_guides_is_the_same() -> None:
    blocks = [
        re.search(r"class Block.*?return x \+ self\.mlp\(x\)", (DOCS / name).read_text(), flags=re.DOTALL)
        for name in ("measure-your-model.md", "beside-a-profiler.md")
    ]
    assert blocks[0] and blocks[1] and blocks[0][0] == blocks[1][0]


def test_what_was_measured_on_a_gpu_is_the_reports() -> None:
    report = (DOCS.parent / "reports" / "calibration" / "nvidia-h100-80gb-hbm3" / "report.md").read_text()
    guide = (DOCS / "beside-a-profiler.md").read_text()
    (row,) = re.findall(r"^\| prefill \|(.*)\|$", report, flags=re.MULTILINE)
    predicted, requested, _, allocated, most, reserved = (cell.strip() for cell in row.split("|"))
    told = dict(re.findall(r"^\| (.*?) \| ([\d,]+) \|$", guide, flags=re.MULTILINE))
    assert list(told.values())[:3] == [predicted, requested, allocated]
    weights = re.search(r"predicted ([\d,]+) bytes, of the real model ([\d,]+)\.", report)
    context = re.search(r"Outside the allocator .*: ([\d,]+) bytes", report)
    assert weights and context
    assert weights[1] == weights[2] == told["`weight_bytes`, predicted and of the real model"]
    assert told["`max_memory_allocated()`"] == most and told["`max_memory_reserved()`"] == reserved
    number = {name: int(value.replace(",", "")) for name, value in told.items()}
    rest = next(value for name, value in number.items() if name.startswith("of it neither"))
    allocated_bytes, most_bytes, weight_bytes = (int(each.replace(",", "")) for each in (allocated, most, weights[1]))
    assert rest == most_bytes - allocated_bytes - weight_bytes
    assert list(told.values())[-1] == context[1]
    seconds = {
        name: float(re.findall(rf"^\| {name} \|.*$", report, flags=re.MULTILINE)[0].split("|")[9]) / 1000
        for name in ("prefill, with vision", "decode step, 1 page")
    }
    assert f"= {seconds['prefill, with vision']:.4f}, {seconds['decode step, 1 page']:.4f}" in guide
