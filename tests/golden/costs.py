"""The golden costs: what every figure of 40 configurations was when the house was rebuilt, to the last integer.

`python -m tests.golden.costs` writes `deepseek_ocr.json` anew. That is right only where a figure was found wrong and
mended: the commit says which, and by what it moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelmeter.models.common import StageCost
from modelmeter.models.deepseek_ocr import MODES, load_cost_model

GOLDEN = Path(__file__).parent / "deepseek_ocr.json"

#: pages of every kind of layout: (width, height)
PAGES = ((1275, 1650), (600, 220), (3000, 400), (2480, 3508))

#: decode steps after each page's prefill
OUTPUT_TOKENS = 1000


def configurations() -> Iterator[list[str]]:
    """Overrides of each configuration: modes by executions by attentions, then what else figures depend on."""
    for mode in MODES:
        for execution, attention in (
            ("transformers", "flash"),
            ("transformers", "eager"),
            ("published", "flash"),
            ("published", "eager"),
            ("serving", "flash"),
        ):
            yield [f"workload={mode}", f"execution={execution}", f"runtime.attention={attention}"]
    yield ["runtime.dtype=float32"]
    yield ["runtime.dtype=float16", "runtime.attention=eager"]
    yield ["runtime.batch_size=3"]
    yield ["runtime.batch_size=2", "execution=published"]
    yield ["runtime.batch_size=5", "execution=serving", "runtime.experts_hit=uniform"]
    yield ["runtime.head=all", "runtime.prompt_tokens=500"]
    yield ["runtime.head=none", "runtime.experts_hit=20"]
    yield ["workload.base_size=512", "workload.image_size=320", "workload.max_num=6"]
    yield ["decoder.num_key_value_heads=2", "decoder.first_k_dense_replace=3", "decoder.num_hidden_layers=6"]
    yield ["vision.sam.window_size=7", "vision.clip.num_layers=4", "execution=serving"]


def figures(cost: StageCost) -> dict[str, int | str]:
    """The exact figures of a stage; what is derived of them is left out."""
    return {name: value for name, value in cost.as_dict().items() if not isinstance(value, float)}


def costs(overrides: list[str]) -> dict[str, Any]:
    """Every figure of every page, by stage, and where its peak is reached."""
    model = load_cost_model(overrides)
    pages = {}
    for width, height in PAGES:
        page = model.page(width, height, OUTPUT_TOKENS)
        pages[f"{width}x{height}"] = {
            "layout": list(page.layout),
            "image_tokens": page.tokens.total,
            "seq_len": page.seq_len,
            **{stage: figures(getattr(page, stage)) for stage in ("vision", "prefill", "decode", "total")},
        }
    return pages


def all_costs() -> dict[str, Any]:
    """The costs of every configuration, by its overrides."""
    return {" ".join(overrides): costs(overrides) for overrides in configurations()}


def text(golden: dict[str, Any]) -> str:
    """As it is committed: a line a page."""
    lines = []
    for overrides, pages in golden.items():
        each = ",\n".join(f"{json.dumps(page)}: {json.dumps(figures)}" for page, figures in pages.items())
        lines.append(f"{json.dumps(overrides)}: {{\n{each}}}")
    return "{\n" + ",\n".join(lines) + "}\n"


if __name__ == "__main__":
    GOLDEN.write_text(text(all_costs()), encoding="utf-8")
