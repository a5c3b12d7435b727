"""The layers of HunyuanOCR beside the real modules that they describe.

To verify a new layer class: a line in `LayerCases`, and in `calls` how its module is called where it does not simply
take the inputs of the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Final

import torch
from transformers import vision_utils
from transformers.models.hunyuan_vl import modeling_hunyuan_vl

from modelmeter.layers.vision.packed import Grid
from modelmeter.models.common.reference.calls import call_attention, call_decoder, filled_cache, run_whole
from modelmeter.models.common.reference.packed_cases import PASSES, numbers
from modelmeter.models.hunyuan_vl.cost_model import CostModel, load_cost_model
from modelmeter.models.hunyuan_vl.executions import TRANSFORMERS
from modelmeter.models.hunyuan_vl.layers.vision import PageTensors
from modelmeter.models.hunyuan_vl.reference.page import PageReference, run_on_meta
from modelmeter.models.hunyuan_vl.reference.whole import named_as_library, reference_of
from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import (
    Cache,
    Given,
    LayerCase,
    LayerVerification,
    ModelCases,
    RealModules,
    every_line,
)

#: pages in tokens: one, a batch, one of a single column
PAGES: Final = (Grid(1, 10, 11), Grid(2, 7, 4), Grid(1, 1, 9))


def call_embeddings(module: Any, pixels: Any, grid_thw: Any, *_sides: int) -> object:
    """The patch embedding, which finds a page's sides in its grid."""
    result: object = module(pixels, grid_thw)
    return result


def call_tower_attention(module: Any, hidden: Any, cu_seqlens: Any, _pages: int) -> object:
    """Attention of the tower: its output, of which it keeps no weights."""
    return module(hidden, cu_seqlens=cu_seqlens, attention_mask=None)[0]


def call_block(module: Any, hidden: Any, cu_seqlens: Any, _pages: int) -> object:
    """A block of the tower."""
    result: object = module(hidden, cu_seqlens=cu_seqlens, attention_mask=None)
    return result


def call_merger(module: Any, hidden: Any, rows: int, columns: int) -> object:
    """The merger."""
    result: object = module(hidden, size=(rows, columns))
    return result


def call_tower(module: Any, page: PageTensors, _grid: Grid) -> object:
    """The tower: its last hidden states, and the tokens."""
    result = module(page.pixel_values, grid_thw=page.grid_thw, cu_seqlens=page.cu_seqlens)
    return result.last_hidden_state, result.pooler_output


def image_arguments(page: PageTensors) -> dict[str, Any]:
    """Pages as keyword arguments of the whole model."""
    return {"pixel_values": page.pixel_values, "image_grid_thw": page.grid_thw}


def call_vision(module: Any, page: PageTensors, _grid: Grid) -> object:
    """The tower as the model calls it: each page's image tokens, then the last hidden states."""
    result = module.get_image_features(**image_arguments(page), image_cu_seqlens=page.cu_seqlens)
    return result.pooler_output, result.last_hidden_state


def call_whole(run: Any, input_ids: Any, images: tuple[Any, ...], cache: Any, _hit: int, head: str) -> object:
    """The whole model, which `run` calls: its logits."""
    arguments = image_arguments(images[0]) if images else {}
    with run_on_meta(images[0].cu_seqlens if images else None):
        result: object = run(input_ids, cache, head, **arguments).logits
    return result


class HunYuanModules(RealModules):
    """The modules of transformers, by the paths of the layers. cost_model: of their configuration."""

    execution = TRANSFORMERS.name
    calls = MappingProxyType(
        {
            "VisionPatchEmbed": call_embeddings,
            "VisionAttention": call_tower_attention,
            "VisionBlock": call_block,
            "VisionPatchMerger": call_merger,
            "VisionTransformer": call_tower,
            "VisionStage": call_vision,
            "GroupedQueryAttention": call_attention,
            "DecoderLayer": call_attention,
            "Decoder": call_decoder,
            "HunYuanTextStage": call_whole,
        }
    )

    def __init__(self, cost_model: CostModel) -> None:
        runtime = cost_model.config.runtime
        super().__init__(runtime.dtype, runtime.attention)
        self.cost_model = cost_model

    @cached_property
    def reference(self) -> PageReference:
        """The model that the modules are parts of."""
        return reference_of(self.cost_model)

    def part(self, path: str) -> Any:
        """A module of transformers' whole model."""
        whole = self.reference.model
        beside = {
            "vision": whole.model,
            "vit": whole.model.vision_tower,
            "decoder": whole.model.language_model,
            "whole model": whole,
            "lm_head": whole.lm_head,
        }
        if path in beside:
            return beside[path]
        root = beside["vit"] if path.startswith("vit.") else beside["decoder"]
        module = root.get_submodule(named_as_library(path.removeprefix("vit.")))
        if path == "rotary_emb":  # it takes a tensor to tell the type by
            return partial(module, meta_tensor((1,), self.dtype))
        return module

    def prepare(self, layer: str, module: Any, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """The call of a module; the decoder's coordinates of each position are made before it."""
        if layer == "HunYuanTextStage":
            module = partial(run_whole, modeling_hunyuan_vl, module)
        if layer in ("Decoder", "HunYuanTextStage"):
            position_ids = meta_tensor((self.reference.axes, *inputs[0].shape[:2]), "int64")
            module = partial(module, position_ids=position_ids)
        return super().prepare(layer, module, inputs)

    def empty_or_filled(self, cache: Cache) -> Any:
        """The library's cache."""
        return filled_cache(self.reference.text, cache, self.dtype)


class LayerCases(ModelCases):
    """The lines of one type, and of one attention where it matters."""

    def __init__(self, dtype: str, attention: str) -> None:
        cost_model = load_cost_model([f"runtime.dtype={dtype}", f"runtime.attention={attention or 'flash'}"])
        super().__init__(cost_model.model, HunYuanModules(cost_model), attention)
        self.text, self.tower = cost_model.config.decoder, cost_model.config.vision

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        tower = self.tower
        for grid in PAGES:
            page, note, patches = self.page(grid), f"{grid.pages} of {grid.columns}x{grid.rows}", self.patches(grid)
            hidden, (rows, columns) = Given((1, patches, tower.hidden_size)), self.sides(grid)
            of_page = Given((1, rows * columns, tower.hidden_size))
            picture = Given((patches, tower.num_channels, tower.patch_size, tower.patch_size))
            squares = Given((1, 2 * tower.hidden_size, grid.rows, grid.columns))
            embedded = (page.pixel_values, page.grid_thw, grid.pages, rows, columns)
            yield self.case("vit.embeddings", *embedded, note=note)
            yield self.case("vit.embeddings.patch_embedding", picture)
            yield self.case("vit.layers.0.input_layernorm", hidden)
            yield self.case("vit.layers.0.self_attn.q_proj", hidden)
            yield self.case("vit.layers.0.mlp", hidden)
            yield self.case("vit.perceive.proj.1", squares)
            yield self.case("vit.perceive", of_page, rows, columns, note=note)
        for prompts, tokens, _ in PASSES:
            hidden = Given((prompts, tokens, self.text.hidden_size))
            heads = Given((prompts, self.text.num_attention_heads, tokens, self.text.head_dim))
            yield self.case("embed_tokens", Given((prompts, tokens), "int64"))
            yield self.case("rotary_emb", Given((self.model.decoder.axes, prompts, tokens), "int64"))
            yield self.case("layers.0.self_attn.q_norm", heads)
            yield self.case("layers.0.mlp", hidden)
            yield self.case("norm", hidden)
            yield self.case("lm_head", hidden, note="the embedding's weight")

    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""
        for grid in PAGES:
            page, note = self.page(grid), f"{grid.pages} of {grid.columns}x{grid.rows}"
            inputs = (Given((1, self.patches(grid), self.tower.hidden_size)), page.cu_seqlens, grid.pages)
            yield self.case("vit.layers.0.self_attn", *inputs, note=note)
            yield self.case("vit.layers.0", *inputs, note=note)
            yield self.case("vit", page, grid, note=note)
            yield self.case("vision", page, grid, layer=self.model.vision, note=note)
        for prompts, tokens, past in PASSES:
            hidden = Given((prompts, tokens, self.text.hidden_size))
            tables = (Given((prompts, tokens, self.text.head_dim)),) * 2
            causal = Given((prompts, 1, tokens, past + tokens)) if self.attention == "eager" else None
            yield self.case("layers.0.self_attn", hidden, tables, causal, self.cache(prompts, past))
            yield self.case("layers.0", hidden, tables, causal, self.cache(prompts, past), 0)
            caches = self.cache(prompts, past, layers=self.text.num_hidden_layers)
            yield self.case("decoder", hidden, caches, 0, layer=self.model.decoder)

    def stages(self) -> Iterator[LayerCase]:
        """The whole model."""
        grid = PAGES[1]
        tokens = grid.rows * (grid.columns + 1) + 2
        for images, ids, past, head in (
            ((self.page(grid), grid), (grid.pages, 10 + tokens), 0, "last"),
            ((), (1, 40), 0, "all"),
            ((), (1, 1), 514, "last"),
        ):
            caches = self.cache(ids[0], past, layers=self.text.num_hidden_layers)
            note = "with images" if images else f"logits: {head}"
            yield self.case(
                "whole model", Given(ids, "int64"), images, caches, 0, head, layer=self.model.text, note=note
            )

    def sides(self, grid: Grid) -> tuple[int, int]:
        """Rows and columns of patches of a page."""
        return self.tower.spatial_merge_size * grid.rows, self.tower.spatial_merge_size * grid.columns

    def patches(self, grid: Grid) -> int:
        """Of all pages."""
        rows, columns = self.sides(grid)
        return grid.pages * rows * columns

    def page(self, grid: Grid) -> PageTensors:
        """What comes with pages of this grid, as the library derives it."""
        thw = torch.tensor([[1, *self.sides(grid)]] * grid.pages)
        given: list[Any] = [
            Given((self.patches(grid), self.tower.num_channels * self.tower.patch_size**2)),
            numbers(thw),
            numbers(vision_utils.get_vision_cu_seqlens(thw)),
        ]
        return PageTensors(*given)

    def cache(self, batch: int, context: int, layers: int | None = None) -> Cache:
        """A KV cache of this decoder."""
        decoder = self.model.decoder
        return Cache(
            batch=batch,
            context=context,
            kv_heads=decoder.kv_heads,
            head_dim=decoder.head_dim,
            kind=decoder.cache_kind,
            layers=layers,
        )


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return LayerVerification(
        model=LayerCases("bfloat16", "").model,
        packages=("modelmeter.models.hunyuan_vl",),
        executions=(TRANSFORMERS.name,),
        cases=lambda _: every_line(LayerCases),
        stateless={
            "LayerList": "states no forward pass; its layers run where VisionTransformer, VisionPatchMerger and "
            "Decoder call them",
            "HunYuanVLModel": "states no forward pass; VisionStage and HunYuanTextStage run its parts together",
        },
        not_run={},
    )
