"""The distinct GEMMs of a page, from the walks of its stages: what a calibration runs, and how often a page does."""

from __future__ import annotations

from collections import Counter
from typing import Any

from modelmeter.devices.product import Product
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import CostModel
from modelmeter.units import ITEMSIZE
from modelmeter.walk import OperatorRecord


def page_products(model: CostModel, page: Any, output_tokens: int) -> Counter[Product]:
    """The GEMMs of a page's prefill, its vision included, and of `output_tokens` steps like the first one.

    The count is how often a page runs it. Raises `ModelMeterError` for a page without GEMMs.
    """
    counts: Counter[Product] = Counter()
    walks = [(model.stage_walk("prefill", page=page), 1)]
    walks += [
        (model.stage_walk("decode", context=each.seq_len), steps) for each, steps in page.passes(output_tokens) if steps
    ]
    for walk, times in walks:
        for record in walk.records():
            if record.tensor_core_flops:
                counts[_product(record)] += times
    if not counts:
        raise ModelMeterError("calibrate: this page runs no GEMM; choose another configuration.")
    return counts


def experts_hit(record: OperatorRecord) -> int:
    """Experts that have rows in a grouped GEMM, by the weights that it reads; 0 for another operator."""
    if record.name != "grouped_mm":
        return 0
    expert_bytes = record.inputs[0][1] * record.outputs[0][1] * ITEMSIZE[record.dtype]
    return max(1, record.weight_bytes // expert_bytes)


def _product(record: OperatorRecord) -> Product:
    return Product(
        aten=record.aten,
        dtype=record.dtype,
        inputs=record.inputs,
        output=record.outputs[0],
        flops=record.tensor_core_flops,
        nbytes=record.bytes_read + record.bytes_written,
        experts_hit=experts_hit(record),
    )
