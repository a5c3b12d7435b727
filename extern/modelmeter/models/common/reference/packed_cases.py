"""Every layer class of models of packed pages beside its real module, at the sizes at which both are compared.

To verify a new layer class: a line in `PackedCases`, or in its model's own class, and in `calls` how its module is
called where it does not simply take the inputs of the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, ClassVar, Final

import torch
from transformers import vision_utils

from modelmeter.layers.vision.packed import Grid, PageTensors, Sequences
from modelmeter.models.common.reference.calls import call_attention, call_decoder, filled_cache, run_whole
from modelmeter.models.common.reference.packed_page import reference_of
from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import (
    Cache,
    Given,
    HostNumbers,
    LayerCase,
    LayerVerification,
    ModelCases,
    RealModules,
    every_line,
)
from modelmeter.reference.packed_page import PackedPageReference

#: pages in tokens: windows of all four kinds, a batch with narrow ones, a page narrower than a window
PAGES: Final = (Grid(1, 10, 11), Grid(2, 7, 4), Grid(1, 3, 9))
#: (prompts, tokens, positions in the cache): a page's prompt, a batch of prompts, a step
PASSES: Final = ((1, 514, 0), (3, 40, 0), (1, 1, 514))
#: what comes with a page's pixels, by the names of the library's tower
DERIVED: Final = (
    "position_ids",
    "cu_seqlens",
    "window_index",
    "cu_window_seqlens",
    "interp_indices",
    "interp_weights",
)


def derived(page: Any, prefix: str = "") -> dict[str, Any]:
    """What comes with pixels, as keyword arguments. page: a model's named tensors of pages."""
    return {prefix + name: getattr(page, name) for name in DERIVED if getattr(page, name, None) is not None}


def call_block(module: Any, hidden: Any, cu_seqlens: Any, tables: Any, _sequences: Sequences) -> object:
    """Call the tower's attention, or a block."""
    result: object = module(hidden, cu_seqlens=cu_seqlens, position_embeddings=tables)
    return result


def call_tower(module: Any, page: PageTensors, _grid: Grid) -> object:
    """Call the tower: its last hidden states, and the tokens."""
    result = module(page.pixel_values, grid_thw=page.grid_thw, **derived(page))
    return result.last_hidden_state, result.pooler_output


def image_arguments(page: Any) -> dict[str, Any]:
    """Pages as keyword arguments of the whole model."""
    return {"pixel_values": page.pixel_values, "image_grid_thw": page.grid_thw, **derived(page, "image_")}


def call_vision(module: Any, page: Any, _grid: Grid) -> object:
    """Call the tower as the model does: each page's image tokens, then the last hidden states."""
    result = module.get_image_features(**image_arguments(page))
    return result.pooler_output, result.last_hidden_state


def call_whole(run: Any, input_ids: Any, images: tuple[Any, ...], cache: Any, _hit: int, head: str) -> object:
    """Call the whole model, which `run` does: its logits."""
    arguments = image_arguments(images[0]) if images else {}
    result: object = run(input_ids, cache, head, **arguments).logits
    return result


class PackedModules(RealModules):
    """The modules of transformers, by the paths of the layers.

    cost_model: of their configuration. make: the model's `PageReference`.
    """

    execution = "transformers"
    #: the class of the stages with text
    stage = "PackedTextStage"
    calls = MappingProxyType(
        {
            "PackedAttention": call_block,
            "PackedBlock": call_block,
            "PackedTower": call_tower,
            "PackedVision": call_vision,
            "GroupedQueryAttention": call_attention,
            "DecoderLayer": call_attention,
            "Decoder": call_decoder,
            "PackedTextStage": call_whole,
        }
    )

    def __init__(self, cost_model: Any, make: Callable[..., PackedPageReference]) -> None:
        runtime = cost_model.config.runtime
        super().__init__(runtime.dtype, runtime.attention)
        self.cost_model = cost_model
        self.make = make

    @cached_property
    def reference(self) -> PackedPageReference:
        """The model that the modules are parts of."""
        return reference_of(self.cost_model, self.make)

    def part(self, path: str) -> Any:
        """A module of transformers' whole model."""
        whole = self.reference.model
        beside = {
            "vision": whole.model,
            "decoder": whole.model.language_model,
            "whole model": whole,
            "lm_head": whole.lm_head,
        }
        if path in beside:
            return beside[path]
        module = whole.model.get_submodule(path if path.startswith("visual") else f"language_model.{path}")
        if path.endswith(("rotary_emb", "rotary_pos_emb")):  # they take a tensor to tell the type by
            return partial(module, meta_tensor((1,), self.dtype))
        return module

    def prepare(self, layer: str, module: Any, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """The call of a module; the decoder's three coordinates of each position are made before it."""
        if layer == self.stage:
            module = partial(run_whole, self.reference.modeling, module)
        if layer in ("Decoder", self.stage):
            position_ids = meta_tensor((3, *inputs[0].shape[:2]), "int64")
            module = partial(module, position_ids=position_ids)
        return super().prepare(layer, module, inputs)

    def empty_or_filled(self, cache: Cache) -> Any:
        """The library's cache."""
        return filled_cache(self.reference.text, cache, self.dtype)


class PackedCases(ModelCases):
    """The lines of one type, and of one attention where it matters; a model adds those of its own layers.

    A model with another tower says what of vision there is: `vision_parts`, `vision_attending`, `page`.
    """

    #: the real modules, and how they are called
    modules_class: ClassVar[type[PackedModules]] = PackedModules

    def __init__(
        self, load: Callable[..., Any], make: Callable[..., PackedPageReference], dtype: str, attention: str
    ) -> None:
        cost_model = load([f"runtime.dtype={dtype}", f"runtime.attention={attention or 'flash'}"])
        super().__init__(cost_model.model, self.modules_class(cost_model, make), attention)
        self.decoder_sizes = cost_model.config.decoder
        self.vision_sizes = cost_model.config.vision
        self.tower = self.model.visual

    @property
    def width(self) -> int:
        """Elements of a patch within the tower."""
        return int(self.tower.blocks.layers[0].norm1.weight.shape[0])

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        yield from self.vision_parts()
        yield from self.text_parts()

    def vision_parts(self) -> Iterator[LayerCase]:
        """Of vision."""
        patch = self.tower.patch_embed.patch
        values = self.page(PAGES[0]).pixel_values.shape[1]
        for grid in PAGES:
            patches = self.patches(grid)
            hidden = Given((patches, self.width))
            yield self.case("visual.patch_embed", Given((patches, values)))
            yield self.case("visual.patch_embed.proj", Given((patches, *patch)))
            yield self.case("visual.rotary_pos_emb", Given((patches, 2), "int64"))
            yield self.case("visual.blocks.0.norm1", hidden)
            yield self.case("visual.blocks.0.attn.qkv", hidden)
            yield self.case("visual.blocks.0.mlp", hidden)
            yield from self.merging(grid)

    def text_parts(self) -> Iterator[LayerCase]:
        """Of the decoder, and around it."""
        text = self.decoder_sizes
        for prompts, tokens, _ in PASSES:
            hidden = Given((prompts, tokens, text.hidden_size))
            yield self.case("embed_tokens", Given((prompts, tokens), "int64"))
            yield self.case("rotary_emb", Given((3, prompts, tokens), "int64"))
            yield self.case("layers.0.self_attn.q_proj", hidden)
            yield self.case("layers.0.mlp", hidden)
            yield self.case("norm", hidden)
            yield self.case("lm_head", hidden, note="the embedding's weight" if text.tie_word_embeddings else "")

    def merging(self, grid: Grid) -> Iterator[LayerCase]:
        """What makes tokens of patches."""
        yield self.case("visual.merger.mlp.1", Given((grid.tokens, self.tower.merger.width)))
        yield self.case("visual.merger", Given((self.patches(grid), self.width)))

    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""
        yield from self.vision_attending()
        yield from self.text_attending()

    def vision_attending(self) -> Iterator[LayerCase]:
        """Of vision."""
        for grid in PAGES:
            page, note = self.page(grid), self.note(grid)
            tables = (Given((self.patches(grid), self.head_dim), "float32"),) * 2
            for windowed in sorted(set(self.tower.windowed)):
                ends = page.cu_window_seqlens if windowed else page.cu_seqlens
                sequences = Sequences(grid, self.tower.merged, self.tower.window_side if windowed else 0)
                inputs = (Given((self.patches(grid), self.width)), ends, tables, sequences)
                block = f"visual.blocks.{self.tower.windowed.index(windowed)}"
                within = "windows" if windowed else "whole pages"
                yield self.case(f"{block}.attn", *inputs, note=f"{note}, {within}")
                yield self.case(block, *inputs, note=f"{note}, {within}")
            yield self.case("visual", page, grid, note=note)
            yield self.case("vision", page, grid, layer=self.model.vision, note=note)

    def text_attending(self) -> Iterator[LayerCase]:
        """Of the decoder."""
        for prompts, tokens, past in PASSES:
            hidden = Given((prompts, tokens, self.decoder_sizes.hidden_size))
            tables = (Given((prompts, tokens, self.model.decoder.head_dim)),) * 2
            causal = Given((prompts, 1, tokens, past + tokens)) if self.attention == "eager" else None
            yield self.case("layers.0.self_attn", hidden, tables, causal, self.cache(prompts, past))
            yield self.case("layers.0", hidden, tables, causal, self.cache(prompts, past), 0)
            caches = self.cache(prompts, past, layers=self.decoder_sizes.num_hidden_layers)
            yield self.case("decoder", hidden, caches, 0, layer=self.model.decoder)

    def stages(self) -> Iterator[LayerCase]:
        """The whole model."""
        grid = PAGES[1]
        for images, ids, past, head in (
            ((self.page(grid), grid), (grid.pages, 10 + grid.columns * grid.rows), 0, "last"),
            ((), (1, 40), 0, "all"),
            ((), (1, 1), 514, "last"),
        ):
            caches = self.cache(ids[0], past, layers=self.decoder_sizes.num_hidden_layers)
            note = f"pages {self.note(grid)}" if images else f"logits: {head}"
            inputs = (Given(ids, "int64"), images, caches, 0, head)
            yield self.case("whole model", *inputs, layer=self.model.text, note=note)

    @property
    def head_dim(self) -> int:
        """Elements of a head of the tower."""
        return int(self.tower.rotary_pos_emb.head_dim)

    def patches(self, grid: Grid) -> int:
        """Of all pages."""
        return int(self.tower.merged * grid.tokens)

    def note(self, grid: Grid) -> str:
        """The pages in words."""
        return f"{grid.pages} of {grid.columns}x{grid.rows}"

    def page(self, grid: Grid) -> Any:
        """What comes with pages of this grid, as the library derives it."""
        vision = self.vision_sizes
        side = vision.spatial_merge_size
        thw = torch.tensor([[1, side * grid.rows, side * grid.columns]] * grid.pages)
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        given: list[Any] = [
            Given((self.patches(grid), values)),
            Given((self.patches(grid), 2), "int64"),
            numbers(thw),
            numbers(vision_utils.get_vision_cu_seqlens(thw)),
        ]
        if self.tower.window_side:
            index, ends = vision_utils.get_vision_window_index(thw, side, vision.window_size, vision.patch_size)
            given += [Given(tuple(index.shape), "int64"), numbers(ends)]
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


def numbers(tensor: torch.Tensor) -> HostNumbers:
    """What the library derived, as a layer is given it."""
    rows = tuple(tuple(each) if isinstance(each, list) else each for each in tensor.tolist())
    return HostNumbers(rows, str(tensor.dtype).removeprefix("torch."))


def verification_of(package: str, execution: str, cases: Callable[[str, str], PackedCases]) -> LayerVerification:
    """What is verified of a model, and what need not be. cases: its lines of a type and an attention, "" for either."""
    model = cases("bfloat16", "").model

    return LayerVerification(
        model=model,
        packages=(package,),
        executions=(execution,),
        cases=lambda _: every_line(cases),
        stateless={
            "LayerList": "states no forward pass; its layers run where the tower and Decoder call them",
            type(model).__name__: "states no forward pass; its stages run its parts together",
        },
        not_run={},
    )
