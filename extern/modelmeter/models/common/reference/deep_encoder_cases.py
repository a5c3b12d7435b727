"""Every layer class of models with the deep encoder beside its real module, at the sizes at which both are compared.

To verify a new layer class: a line in `DeepEncoderCases`, or in its model's own class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final

from modelmeter.layers.code import Code
from modelmeter.models.common.reference.deep_encoder_modules import DeepEncoderModules, Sizes
from modelmeter.reference.layer_case import Cache, Given, LayerCase, ModelCases
from modelmeter.units import ceil_div

#: (views, side): a global view and the tiles of a letter page
VIEWS: Final = ((1, 1024), (6, 640))


class SamCases(ModelCases):
    """The lines of models with SAM and a decoder with experts, of one type, and of one attention where it matters.

    A model adds those of its own layers.

    model: its layers, as these modules' code runs them. modules: makes the real ones for a decoder of these sizes.
    """

    modules: DeepEncoderModules
    #: (views, side): a global view, and tiles
    views: ClassVar[Sequence[tuple[int, int]]] = VIEWS
    #: (pages, tokens, positions in the cache, those of them from steps): a page's prompt, a batch of prompts, a step
    passes: ClassVar[Sequence[tuple[int, int, int, int]]] = ((1, 913, 0, 0), (3, 40, 0, 0), (1, 1, 913, 0))

    def __init__(
        self,
        make_model: Callable[[Code], Any],
        modules: type[DeepEncoderModules],
        code: Code,
        attention: str,
        sizes: Sizes,
    ) -> None:
        super().__init__(make_model(code), modules(code.precision.weights, code.attention, sizes), attention)
        self.code = code
        self.sizes = sizes

    def cache(self, batch: int, context: int, *, generated: int = 0, layers: int | None = None) -> Cache:
        """A KV cache of this decoder."""
        return Cache(
            batch=batch,
            context=context,
            generated=generated,
            kv_heads=self.sizes["num_key_value_heads"],
            head_dim=self.modules.head_dim,
            kind=self.model.decoder.cache_kind,
            layers=layers,
        )

    def seen(self, context: int, generated: int) -> int:
        """Positions of the cache that a mask counts, where the last `generated` of them came in steps."""
        return context

    def experts_hit(self, tokens: int) -> int:
        """The most experts that `tokens` tokens can visit."""
        return min(self.sizes["n_routed_experts"], self.sizes["num_experts_per_tok"] * tokens)

    def basic(self) -> Iterator[LayerCase]:
        """GEMMs and norms."""
        turned = Given((1, 40, 40, 768), strides=(768 * 1600, 40, 1, 1600))
        yield self.case("sam_model.blocks.0.attn.qkv", Given((25, 14, 14, 768)))
        yield self.case("sam_model.blocks.0.mlp.lin1", turned, note="channels first in memory")
        yield self.case("layers.0.mlp.down_proj", Given((1, 913, 6848)), note="no bias")
        yield self.case("sam_model.patch_embed.proj", Given((1, 3, 1024, 1024)))
        yield self.case("sam_model.neck.2", Given((6, 256, 40, 40)), note="no bias")
        yield self.case("sam_model.net_3", Given((2, 512, 23, 23)), note="an odd side")
        yield self.case("sam_model.blocks.0.norm1", turned, note="channels first in memory")

    def tower_parts(self) -> Iterator[LayerCase]:
        """What SAM has beside attention."""
        for views, side in self.views:
            patches = side // 16
            yield self.case("sam_model.patch_embed", Given((views, 3, side, side)))
            yield self.case("sam_model.blocks.0.mlp", Given((views, patches, patches, 768)))
            yield self.case("sam_model.neck.1", Given((views, 256, patches, patches)))
            yield self.case("sam_model.neck", Given((views, patches, patches, 768)))

    def decoder_parts(self) -> Iterator[LayerCase]:
        """What the decoder has beside attention, and what stands before and after it."""
        for batch, tokens in dict.fromkeys(each[:2] for each in self.passes):
            hidden, hit = Given((batch, tokens, 1280)), self.experts_hit(batch * tokens)
            yield self.case("embed_tokens", Given((batch, tokens), "int64"))
            yield self.case(self.modules.rotary_path, Given((1, tokens), "int64"))
            yield self.case("norm", hidden)
            yield self.case("layers.0.mlp", hidden)
            yield self.case("layers.1.mlp.gate", hidden)
            if "Experts" not in self.modules.not_run:
                rows, chosen = batch * tokens, (batch * tokens, self.sizes["num_experts_per_tok"])
                routed = (Given((rows, 1280)), Given(chosen, "int64"), Given(chosen, "float32"))
                yield self.case("layers.1.mlp.experts", *routed, hit, experts_hit=hit)
            yield self.case("layers.1.mlp", hidden, hit, experts_hit=hit)
            yield self.case("lm_head", hidden)

    def sam(self) -> Iterator[LayerCase]:
        """SAM's attention and blocks, and SAM as a whole."""
        for views, side in self.views:
            patches = side // 16
            windows = views * ceil_div(patches, 14) ** 2
            yield self.case("sam_model.blocks.0.attn", Given((windows, 14, 14, 768)), note="windows")
            yield self.case("sam_model.blocks.2.attn", Given((views, patches, patches, 768)), note="global")
            yield self.case("sam_model.blocks.0", Given((views, patches, patches, 768)), note="windowed")
            yield self.case("sam_model.blocks.2", Given((views, patches, patches, 768)), note="global")
        turned = Given((1, 40, 40, 768), strides=(768 * 1600, 40, 1, 1600))
        yield self.case("sam_model.blocks.0.attn", Given((1, 14, 14, 768)), note="one window")
        yield self.case("sam_model.blocks.0", Given((1, 28, 28, 768)), note="windowed, nothing padded")
        yield self.case("sam_model.blocks.0", turned, note="windowed, channels first in memory")
        for views, side in (*self.views, (2, 720)):
            yield self.case("sam_model", Given((views, 3, side, side)))

    def decoder(self) -> Iterator[LayerCase]:
        """The decoder's attention and layers, and the decoder as a whole."""
        for batch, tokens, past, generated in self.passes:
            hidden, hit = Given((batch, tokens, 1280)), self.experts_hit(batch * tokens)
            positions = self.modules.positions(tokens)
            mask = self.modules.mask(batch, tokens, self.seen(past, generated) + tokens)
            cache = self.cache(batch, past, generated=generated)
            yield self.case("layers.0.self_attn", hidden, positions, mask, cache)
            yield self.case("layers.0", hidden, positions, mask, cache, hit, note="dense")
            yield self.case("layers.1", hidden, positions, mask, cache, hit, experts_hit=hit, note="experts")
            caches = self.cache(batch, past, generated=generated, layers=self.sizes["num_hidden_layers"])
            yield self.case("decoder", hidden, caches, hit, layer=self.model.decoder, experts_hit=hit)

    def whole(self, images: tuple[Any, ...]) -> Iterator[LayerCase]:
        """The whole model: a prompt with these images, one without, and a step."""
        prompt = self.passes[0][1]
        for image, tokens, past, head in (
            (images, prompt, 0, "last"),
            ((), 40, 0, "all"),
            ((), 1, prompt, "last"),
        ):
            hit = self.experts_hit(tokens)
            yield self.case(
                "whole model",
                Given((1, tokens), "int64"),
                image,
                self.cache(1, past, layers=self.sizes["num_hidden_layers"]),
                hit,
                head,
                layer=self.model.text,
                experts_hit=hit,
                note="with an image" if image else f"logits: {head}",
            )


class DeepEncoderCases(SamCases):
    """Those of models that have CLIP beside SAM."""

    #: what tiles are called
    tiles: ClassVar[str] = "tiles"

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        yield from self.basic()
        yield from self.vision_parts()
        yield from self.decoder_parts()

    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""
        yield from self.vision()
        yield from self.decoder()

    def vision_parts(self) -> Iterator[LayerCase]:
        """What SAM and CLIP have beside attention."""
        yield from self.tower_parts()
        yield self.case("vision_model.pre_layrnorm", Given((6, 101, 1024)))
        for views, side in self.views:
            tokens = (side // 64) ** 2 + 1
            yield self.case("vision_model.embeddings", Given((views, 1024, side // 64, side // 64)))
            yield self.case("vision_model.transformer.layers.0.mlp", Given((views, tokens, 1024)))

    def vision(self) -> Iterator[LayerCase]:
        """SAM and CLIP, by part and whole."""
        yield from self.sam()
        for views, side in self.views:
            tokens = Given((views, (side // 64) ** 2 + 1, 1024))
            for path in ("transformer.layers.0.self_attn", "transformer.layers.0", "transformer"):
                yield self.case(f"vision_model.{path}", tokens)
        for views, side in (*self.views, (2, 720)):
            grid = ceil_div(side, 64)
            yield self.case("vision_model", Given((views, 1024, grid, grid)))

    def stages(self) -> Iterator[LayerCase]:
        """SAM with CLIP, vision with its fusion, and the whole model."""
        if "VisionTower" not in self.modules.not_run:
            for views, side in self.views:
                yield self.case("vision tower", Given((views, 3, side, side)), layer=self.model.vision.tower)
        letter = (Given((1, 3, 1024, 1024)), Given((6, 3, 640, 640)))
        for pixels, grid in (
            ((letter[0], self.modules.no_tiles), (1, 1)),
            (letter, (2, 3)),
            ((Given((2, 3, 1024, 1024)), Given((4, 3, 640, 640))), (2, 1)),
        ):
            note = f"{self.tiles} {grid[0]}x{grid[1]}" if grid != (1, 1) else f"no {self.tiles}"
            yield self.case("vision", *pixels, grid, layer=self.model.vision, note=note)
        yield from self.whole((*letter, (2, 3)))
