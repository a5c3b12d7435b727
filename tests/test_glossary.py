"""The glossary has the terms of the outputs: what a table's labels, columns, origins and bounds are called."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from modelmeter.devices.roofline import BOUNDS
from modelmeter.devices.throughput import ORIGINS
from modelmeter.kernel_classes import CLASSES
from modelmeter.models.common.page_text import FIGURES
from modelmeter.models.common.stage_cost import WITH_TOTAL

TEXT = (Path(__file__).parents[1] / "docs" / "glossary.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
#: what an entry explains: its heading, and what is emphasised, quoted or set as code in it
EXPLAINED = {" ".join(found.split()).lower() for found in (*HEADINGS, *re.findall(r'[*`"]+([^*`"]+)[*`"]+', TEXT))}

TERMS: dict[str, Iterable[str]] = {
    "labels of figures": [words.strip() for _, words, _ in FIGURES],
    "names of figures": ["tensor_core_flops", "cuda_core_flops", "io_bytes", "resident_peak_bytes"],
    "stages": WITH_TOTAL,
    "classes of kernels": CLASSES,
    "bounds": BOUNDS,
    "origins": ORIGINS,
    "times": ["ttft_s", "tpot_s", "tpot_interleaved_s", "runaway_share", "runaway_cost", "experts_hit", "block_size"],
    "the field": ["GEMM", "GEMV", "HBM", "MFU", "MBU", "TTFT", "TPOT", "prefill", "decode step", "output tokens"],
}


@pytest.mark.parametrize("kind", TERMS)
def test_the_terms_of_the_outputs_are_explained(kind: str) -> None:
    assert {term for term in TERMS[kind] if term.lower() not in EXPLAINED} == set()


def test_entries_stand_in_order_and_are_short() -> None:
    assert [name.lower() for name in HEADINGS] == sorted(name.lower() for name in HEADINGS)
    entries = TEXT.split("\n## ")[1:]
    assert {entry.split("\n")[0] for entry in entries if len(entry.split()) > 90} == set()
