"""The layers of PaddleOCR-VL beside the real modules that they describe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import torch
from transformers import vision_utils

from modelmeter.layers.vision.packed import Grid, Sequences
from modelmeter.layers.vision.packed_siglip import TAPS, PatchTensors
from modelmeter.models.common.reference.packed_cases import (
    PAGES,
    PackedCases,
    PackedModules,
    call_block,
    derived,
    numbers,
    verification_of,
)
from modelmeter.models.paddleocr_vl.cost_model import load_cost_model
from modelmeter.models.paddleocr_vl.executions import TRANSFORMERS
from modelmeter.models.paddleocr_vl.reference.page import PageReference
from modelmeter.reference.layer_case import Given, LayerCase, LayerVerification


def call_embeddings(module: Any, pixel_values: Any, indices: Any, weights: Any, *_sides: int) -> object:
    """Patches with their positions; the library takes a batch of one."""
    result: object = module(pixel_values.unsqueeze(0), interp_indices=indices, interp_weights=weights)
    return result


def call_attention(module: Any, *inputs: Any) -> object:
    """What was attended; a block, which holds the weights, shows them."""
    result: Any = call_block(module, *inputs)
    return result[0]


def call_encoder(module: Any, hidden: Any, position_ids: Any, cu_seqlens: Any, _sequences: Sequences) -> object:
    """All blocks."""
    result: object = module(hidden, position_ids=position_ids, cu_seqlens=cu_seqlens).last_hidden_state
    return result


def call_tower(module: Any, page: PatchTensors, _grid: Grid) -> object:
    """The tower: its last hidden states."""
    result: object = module(page.pixel_values.unsqueeze(0), **derived(page)).last_hidden_state
    return result


def call_projector(module: Any, features: Any, image_grid_thw: Any, _grid: Grid) -> object:
    """The image tokens of all pages."""
    result: object = module(features, image_grid_thw)
    return result


class PaddleOCRModules(PackedModules):
    """The modules of transformers, by the paths of the layers."""

    calls = MappingProxyType(
        {
            **PackedModules.calls,
            "SiglipEmbeddings": call_embeddings,
            "SiglipAttention": call_attention,
            "SiglipEncoderLayer": call_block,
            "SiglipEncoder": call_encoder,
            "SiglipTower": call_tower,
            "PaddleOCRProjector": call_projector,
            "PaddleOCRVision": PackedModules.calls["PackedVision"],
            "PaddleOCRTextStage": PackedModules.calls["PackedTextStage"],
        }
    )
    stage = "PaddleOCRTextStage"

    def part(self, path: str) -> Any:
        """A module of transformers' whole model, whose tower is a module within a module."""
        if path.startswith("projector"):
            return self.reference.model.model.get_submodule(path)
        return super().part(path.replace("visual", "visual.vision_model", 1))


class PaddleOCRCases(PackedCases):
    """The decoder's lines, and those of this tower and its projector."""

    modules_class = PaddleOCRModules

    @property
    def width(self) -> int:
        """Elements of a patch within the tower."""
        return int(self.vision_sizes.hidden_size)

    @property
    def head_dim(self) -> int:
        """Elements of a head of the tower."""
        return int(self.width // self.vision_sizes.num_attention_heads)

    def page(self, grid: Grid) -> PatchTensors:
        """What comes with pages of this grid, as the library derives it."""
        side, patches = self.vision_sizes.spatial_merge_size, self.patches(grid)
        thw = torch.tensor([[1, side * grid.rows, side * grid.columns]] * grid.pages)
        given: list[Any] = [
            Given((patches, *self.tower.patch)),
            Given((patches, 2), "int64"),
            numbers(thw),
            numbers(vision_utils.get_vision_cu_seqlens(thw)),
            Given((patches, TAPS), "int64"),
            Given((patches, TAPS), "float32"),
        ]
        return PatchTensors(*given)

    def vision_parts(self) -> Iterator[LayerCase]:
        """Of vision."""
        for grid in PAGES:
            page, note = self.page(grid), self.note(grid)
            hidden = Given((self.patches(grid), self.width))
            inner = Given((self.patches(grid), self.vision_sizes.intermediate_size))
            block = "visual.encoder.layers.0"
            yield self.case("visual.embeddings.patch_embedding", page.pixel_values)
            yield self.case("visual.embeddings.position_embedding", page.interp_indices)
            of_page = (page.pixel_values, page.interp_indices, page.interp_weights)
            yield self.case("visual.embeddings", *of_page, 2 * grid.rows, 2 * grid.columns)
            yield self.case("visual.encoder.rotary_pos_emb", page.position_ids)
            yield self.case(f"{block}.layer_norm1", hidden)
            yield self.case(f"{block}.self_attn.q_proj", hidden)
            yield self.case(f"{block}.mlp.activation_fn", inner)
            yield self.case(f"{block}.mlp", hidden)
            yield self.case("projector", hidden, page.grid_thw, grid, note=note)

    def vision_attending(self) -> Iterator[LayerCase]:
        """Of vision."""
        for grid in PAGES:
            page, note = self.page(grid), self.note(grid)
            hidden = Given((self.patches(grid), self.width))
            tables = (Given((self.patches(grid), self.head_dim), "float32"),) * 2
            sequences = Sequences(grid, self.tower.merged, 0)
            for path in ("visual.encoder.layers.0.self_attn", "visual.encoder.layers.0"):
                yield self.case(path, hidden, page.cu_seqlens, tables, sequences, note=note)
            yield self.case("visual.encoder", hidden, page.position_ids, page.cu_seqlens, sequences, note=note)
            yield self.case("visual", page, grid, note=note)
            yield self.case("vision", page, grid, layer=self.model.vision, note=note)


#: the lines of a type and an attention
LayerCases: Final = partial(PaddleOCRCases, load_cost_model, PageReference)


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return verification_of("modelmeter.models.paddleocr_vl", TRANSFORMERS.name, LayerCases)
