"""The distinct kernel shapes of walks, as records that `kernel_calls` runs.

A record: class, name (the operator it stands for), path (of the first module that runs it), dtype, shapes of inputs and
output (of a convolution also stride and padding, of a grouped GEMM the experts hit), `flops` (of GEMMs),
`vector_flops`, `bytes_read`, `bytes_written` as the roofline counts them, and `uses`: [execution, stage, batch, how
often the stage runs it].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelmeter.kernel_classes import kernel_class
from modelmeter.kernels import kernel_of
from modelmeter.models.common.contract import CostModel
from modelmeter.reference.kernels import convolution_geometry
from modelmeter.walk import OperatorRecord


def shape_key(record: OperatorRecord) -> tuple[Any, ...]:
    """What tells one shape from another. Bytes are part of it: they tell types and overlapping views apart."""
    moved = (record.bytes_read, record.bytes_written)
    return (kernel_class(record), record.aten, record.dtype, record.inputs, record.outputs, *moved)


def shape_record(record: OperatorRecord, uses: list[list[Any]]) -> dict[str, Any]:
    """An operator of a walk as a shape that is run, with its uses."""
    content = {
        "class": kernel_class(record),
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
        sizes = kernel_of(record).sizes
        content["experts_hit"] = max(1, sizes["weight_bytes"] // sizes["expert_bytes"])
    if record.name == "conv2d":
        stride, padding = convolution_geometry(record.inputs[0], record.inputs[1], record.outputs[0])
        content |= {"stride": stride, "padding": padding}
    return content


def page_shapes(model: CostModel, page: Any, batches: Sequence[int]) -> list[dict[str, Any]]:
    """The distinct shapes of a page's prefill, vision included, and of decode steps of so many pages at once."""
    distinct = {shape_key(record): record for record in _records(model, page, batches)}
    return [shape_record(record, []) for record in distinct.values()]


def _records(model: CostModel, page: Any, batches: Sequence[int]) -> Iterator[OperatorRecord]:
    yield from model.stage_walk("prefill", page=page).records()
    for batch in batches:
        for each, _ in page.passes(0):
            yield from model.batched(batch).stage_walk("decode", context=each.seq_len).records()
