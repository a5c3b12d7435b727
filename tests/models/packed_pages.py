"""Models of packed pages, and the library's own modules beside them."""

from collections.abc import Iterator
from typing import Any

from modelmeter.models.common import StageCost
from modelmeter.models.common.cost_model import CostModel
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.packed_page import PackedPageReference

Model = CostModel[Any, Any, Any]


def both_sides(
    model: Model, reference: PackedPageReference, grid: tuple[int, int]
) -> Iterator[tuple[str, StageCost, Measurement]]:
    """Each stage of pages of a grid: the account's figures and the measured ones."""
    layout, pages = MergedGrid(*grid), model.batch_size
    page = model.layout_cost(layout)
    inputs = reference.inputs(pages=pages, columns=grid[0], rows=grid[1], prompt_tokens=model.prompt_tokens)
    assert tuple(inputs.token_ids.shape) == (pages, page.seq_len)
    yield "vision", page.vision, reference.vision(inputs)
    stage, cache = reference.prefill(inputs)
    yield "prefill", page.prefill, stage
    for step in range(2):
        yield f"step {step}", model.step(page.seq_len + step), reference.decode_step(cache, pages=pages)
