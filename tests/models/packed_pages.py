"""Models of packed pages, and the library's own modules beside them."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, TypeVar

from modelmeter.models.common import StageCost
from modelmeter.models.common.cost_model import CostModel
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.packed_page import PackedPageReference

Model = CostModel[Any, Any, Any]
Reference = TypeVar("Reference", bound=PackedPageReference)


def reference_of(model: Model, make: Callable[..., Reference]) -> Reference:
    """The real modules of a configuration."""
    config = model.config
    text = asdict(config.decoder)
    tied_head = text.pop("tie_word_embeddings")
    section = text.pop("mrope_section")
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": section}
    runtime = config.runtime
    return make(runtime.dtype, runtime.attention, text=text, vision=asdict(config.vision), tied_head=tied_head)


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
