"""Costs of stages from plain walks, of any model: what laws are held against."""

from typing import Any

from modelmeter.models.common import StageCost
from modelmeter.models.common.cost_model import CostModel
from modelmeter.walk import Walk


def walked_vision(model: CostModel[Any, Any, Any], layout: Any) -> StageCost:
    """Vision's, of a page of this layout."""
    return StageCost.of_walk(model._vision_walk(layout), weight_bytes=model.model.vision_weight_bytes())


def walked_prefill(model: CostModel[Any, Any, Any], seq_len: int, layout: Any | None, cached: int = 0) -> StageCost:
    """A prefill's; without a layout a prompt's alone. cached: of its positions, those that the cache holds already."""
    return _walked_over_cache(model, model._prefill_walk(seq_len, layout, cached))


def walked_step(model: CostModel[Any, Any, Any], context: int) -> StageCost:
    """A decode step's."""
    return _walked_over_cache(model, model._step_walk(context))


def _walked_over_cache(model: CostModel[Any, Any, Any], walked: tuple[Walk, int, int]) -> StageCost:
    """Of a walk, the bytes of the cache that it was given, and of the one that it left."""
    walk, given_bytes, kv_bytes = walked
    return StageCost.of_walk(
        walk,
        weight_bytes=model.model.forward_memory_weight(),
        kv_bytes=kv_bytes,
        kv_added_bytes=kv_bytes - given_bytes,
        given_bytes=given_bytes,
    )
