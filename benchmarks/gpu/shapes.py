"""The distinct kernel shapes of a page, and what is predicted of its stages, as JSON: written where no GPU is.

    python -m benchmarks.gpu.shapes outputs/gpu/shapes.json
    python -m benchmarks.gpu.shapes small.json workload=tiny decoder.num_hidden_layers=2 decoder.n_routed_experts=8

A kernel's record: class, name (the operator it stands for), path (of the first module that runs it), dtype, shapes of
inputs and output (of a convolution also stride and padding, of a grouped product the experts hit), `flops` (of
products), `vector_flops`, `bytes_read`, `bytes_written` as the roofline counts them, and `uses`: [execution, stage,
batch, how often the stage runs it]. Prefill's uses are the decoder's alone: vision is a stage of its own.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from modelmeter.calibration.products import experts_hit
from modelmeter.kernel_classes import kernel_class
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.models.deepseek_ocr.reference.whole import page_geometry
from modelmeter.reference.kernels import convolution_geometry
from modelmeter.walk import OperatorRecord

#: a letter page at 150 dots an inch
WIDTH, HEIGHT = 1275, 1650
BATCHES: Final = (1, 16, 64, 256)
EXECUTIONS: Final = ("transformers", "serving")

Use = tuple[str, str, int]


def _key(record: OperatorRecord) -> tuple[Any, ...]:
    """What tells one shape from another. Bytes are part of it: they tell types and overlapping views apart."""
    moved = (record.bytes_read, record.bytes_written)
    return (kernel_class(record), record.aten, record.dtype, record.inputs, record.outputs, *moved)


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
    """Every distinct kernel shape of the page, the products and attentions first, each with its uses."""
    counts: dict[tuple[Any, ...], Counter[Use]] = {}
    first: dict[tuple[Any, ...], OperatorRecord] = {}
    for use, records in _walks(overrides):
        for record in records:
            key = _key(record)
            first.setdefault(key, record)
            counts.setdefault(key, Counter())[use] += 1
    kernels = []
    for key, record in first.items():
        uses = counts[key]
        for execution in EXECUTIONS:  # a prefill includes its vision
            prefill, vision = (execution, "prefill", 1), (execution, "vision", 1)
            uses[prefill] -= uses[vision]
        kernels.append(_content(key[0], record, [[*use, count] for use, count in uses.items() if count]))
    return sorted(kernels, key=lambda each: not each["flops"])


def _content(name: str, record: OperatorRecord, uses: list[list[Any]]) -> dict[str, Any]:
    content = {
        "class": name,
        "name": record.aten,
        "path": record.path,
        "dtype": record.dtype,
        "inputs": record.inputs,
        "outputs": record.outputs,
        "flops": record.tensor_core_flops,
        "vector_flops": record.cuda_core_flops,
        "bytes_read": record.bytes_read,
        "bytes_written": record.bytes_written,
        "uses": uses,
    }
    if record.name == "grouped_mm":
        content["experts_hit"] = experts_hit(record)
    if record.name == "conv2d":
        stride, padding = convolution_geometry(record.inputs[0], record.inputs[1], record.outputs[0])
        content |= {"stride": stride, "padding": padding}
    return content


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
