"""Costs of stages from plain walks, of any model: what laws are held against."""

from typing import Any

from modelmeter.models.common import StageCost
from modelmeter.models.common.cost_model import CostModel


def walked_vision(model: CostModel[Any, Any, Any], layout: Any) -> StageCost:
    """Vision's, of a page of this layout."""
    return StageCost.of_walk(model._vision_walk(layout), weight_bytes=model.model.vision_weight_bytes())


def walked_prefill(model: CostModel[Any, Any, Any], seq_len: int, layout: Any | None) -> StageCost:
    """A prefill's; without a layout a prompt's alone."""
    walk, kv_bytes = model._prefill_walk(seq_len, layout)
    weight_bytes = model.model.forward_memory_weight()
    return StageCost.of_walk(walk, weight_bytes=weight_bytes, kv_bytes=kv_bytes, kv_added_bytes=kv_bytes)


def walked_step(model: CostModel[Any, Any, Any], context: int) -> StageCost:
    """A decode step's."""
    walk, given_bytes, kv_bytes = model._step_walk(context)
    return StageCost.of_walk(
        walk,
        weight_bytes=model.model.forward_memory_weight(),
        kv_bytes=kv_bytes,
        kv_added_bytes=kv_bytes - given_bytes,
        given_bytes=given_bytes,
    )
