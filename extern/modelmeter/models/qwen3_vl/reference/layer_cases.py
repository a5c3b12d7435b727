"""The layers of Qwen3-VL beside the real modules that they describe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import torch

from modelmeter.layers.vision.packed import Grid, PageTensors
from modelmeter.models.common.reference.packed_cases import (
    PAGES,
    PackedCases,
    PackedModules,
    call_whole,
    derived,
    verification_of,
)
from modelmeter.models.qwen3_vl.cost_model import load_cost_model
from modelmeter.models.qwen3_vl.executions import TRANSFORMERS
from modelmeter.models.qwen3_vl.reference.page import PageReference, interpolation
from modelmeter.reference.layer_case import Given, LayerCase, LayerVerification
from modelmeter.reference.masked_index import entries_declared


def call_tower(module: Any, page: PageTensors, _grid: Grid) -> object:
    """Call the tower: its last hidden states, the tokens, and features."""
    result = module(page.pixel_values, grid_thw=page.grid_thw, **derived(page))
    return result.last_hidden_state, result.pooler_output, *result.deepstack_features


def call_stage(run: Any, input_ids: Any, images: tuple[Any, ...], cache: Any, hit: int, head: str) -> object:
    """Call the whole model, which `run` does: its logits."""
    if not images:
        return call_whole(run, input_ids, images, cache, hit, head)
    _, grid = images
    with entries_declared(grid.tokens):
        return call_whole(run, input_ids, images, cache, hit, head)


class Qwen3VLModules(PackedModules):
    """The modules of transformers, by the paths of the layers."""

    calls = MappingProxyType({**PackedModules.calls, "VisionTower": call_tower, "PackedTextStage": call_stage})
    # the features, which the module splits by pages, come last
    outputs = MappingProxyType({"PackedVision": slice(0, -3)})

    def prepare(self, layer: str, module: Any, inputs: tuple[Any, ...]) -> Any:
        """The call of a module; the stages with text are called as those of any model of packed pages."""
        return super().prepare("PackedTextStage" if layer == "Qwen3VLTextStage" else layer, module, inputs)


class Qwen3VLCases(PackedCases):
    """Those of packed pages, and the layers of this tower."""

    modules_class = Qwen3VLModules

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        yield from super().parts()
        for grid in PAGES:
            yield self.case("visual.pos_embed", self.page(grid).interp_indices)

    def merging(self, grid: Grid) -> Iterator[LayerCase]:
        """What makes tokens of patches, and features."""
        hidden = Given((self.patches(grid), self.width))
        yield self.case("visual.merger", hidden, note="a norm before the patches are joined")
        yield self.case("visual.deepstack_merger_list.0", hidden, note="a norm after it")

    def page(self, grid: Grid) -> PageTensors:
        """What comes with pages of this grid, as the library derives it."""
        side = self.vision_sizes.spatial_merge_size
        thw = torch.tensor([[1, side * grid.rows, side * grid.columns]] * grid.pages)
        indices, weights = interpolation(thw, self.vision_sizes)
        given: dict[str, Any] = {
            "interp_indices": Given(tuple(indices.shape), "int64"),
            "interp_weights": Given(tuple(weights.shape), "float32"),
        }
        return super().page(grid)._replace(**given)


#: the lines of a type and an attention
LayerCases: Final = partial(Qwen3VLCases, load_cost_model, PageReference)


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return verification_of("modelmeter.models.qwen3_vl", TRANSFORMERS.name, LayerCases)
