"""The distinct kernel shapes of a page, and what is predicted of its stages, as JSON: written where no GPU is.

    python -m benchmarks.gpu.shapes outputs/gpu/shapes.json
    python -m benchmarks.gpu.shapes small.json workload=tiny decoder.num_hidden_layers=2 decoder.n_routed_experts=8

A kernel's record is that of `modelmeter.reference.page_kernels`. Prefill's uses are the decoder's alone: vision is a
stage of its own.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.models.deepseek_ocr.reference.whole import page_geometry
from modelmeter.reference.page_kernels import shape_key, shape_record
from modelmeter.walk import OperatorRecord

#: a letter page at 150 dots an inch
WIDTH, HEIGHT = 1275, 1650
BATCHES: Final = (1, 16, 64, 256)
EXECUTIONS: Final = ("transformers", "serving")

Use = tuple[str, str, int]


def _walks(overrides: Sequence[str]) -> Iterable[tuple[Use, Iterable[OperatorRecord]]]:
    for execution in EXECUTIONS:
        model = load_cost_model([f"execution={execution}", *overrides])
        page = model.page(WIDTH, HEIGHT)
        yield (execution, "vision", 1), model.stage_walk("vision", page=page).records()
        yield (execution, "prefill", 1), model.stage_walk("prefill", page=page).records()
        for batch in BATCHES:
            walk = model.batched(batch).stage_walk("decode", context=page.seq_len)
            yield (execution, "decode", batch), walk.records()


def page_kernels(overrides: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every distinct kernel shape of the page, the GEMMs and attentions first, each with its uses."""
    counts: dict[tuple[Any, ...], Counter[Use]] = {}
    first: dict[tuple[Any, ...], OperatorRecord] = {}
    for use, records in _walks(overrides):
        for record in records:
            key = shape_key(record)
            first.setdefault(key, record)
            counts.setdefault(key, Counter())[use] += 1
    kernels = []
    for key, record in first.items():
        uses = counts[key]
        for execution in EXECUTIONS:  # a prefill includes its vision
            prefill, vision = (execution, "prefill", 1), (execution, "vision", 1)
            uses[prefill] -= uses[vision]
        kernels.append(shape_record(record, [[*use, count] for use, count in uses.items() if count]))
    return sorted(kernels, key=lambda each: not each["flops"])


def predictions(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What the page's stages cost as transformers runs them, what the real model is built of, and its memory."""
    model = load_cost_model(["execution=transformers", *overrides])
    page = model.page(WIDTH, HEIGHT)
    return {
        "page": {"width": WIDTH, "height": HEIGHT, "seq_len": page.seq_len},
        "overrides": list(overrides),
        "geometry": asdict(page_geometry(model, page.layout)),
        "architecture": vars(model.config.decoder),
        "dtype": model.config.runtime.dtype,
        "vision": page.vision.as_dict(),
        "prefill": page.prefill.as_dict(),
        "text": model.text(page.seq_len).prefill.as_dict(),
        "decode": {str(batch): model.batched(batch).step(page.seq_len).as_dict() for batch in BATCHES},
    }


def document(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """All that the GPU's side reads."""
    return {"predicted": predictions(overrides), "kernels": page_kernels(overrides)}


def main(path: str, *overrides: str) -> None:
    """Write the document."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    content = document(overrides)
    target.write_text(json.dumps(content), encoding="utf-8")
    print(f"{len(content['kernels'])} kernel shapes written to {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])
