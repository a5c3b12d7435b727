"""Models whose pages go through vision packed, as one grid of patches each: the Qwen family's.

Source of the walk: `Qwen2_5_VLModel` and `Qwen2VLModel` of transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Unpack

from modelmeter.layers import BaseLayer
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.vision.packed import Grid, PackedTower, PackedTraits, PagesTower, PageTensors
from modelmeter.models.common import engine_traits
from modelmeter.models.common.deep_encoder import FusionTraits, TiledTextStage
from modelmeter.models.common.vision_language import TextStage, VisionLanguageModel
from modelmeter.operators import Parameter, all_gather, compare, floor_divide, mul, product, sum_all
from modelmeter.shape_tensor import ShapeTensor, Tape

#: what an engine at its best does of these networks
ENGINE_AT_ITS_BEST: Final[tuple[object, ...]] = (*engine_traits.BEST, PackedTraits(attention_packed=True))

#: what vLLM and SGLang do of their towers
VLLM_TOWER: Final = PackedTraits(
    attention_packed=True, log_sum_exp_written=True, copied="together", tables="rows", patches_by_product=True
)
SGLANG_TOWER: Final = PackedTraits(
    attention_packed=True, log_sum_exp_written=True, copied="each", tables="frequencies", pages_looped=True
)


class PackedVision(BaseLayer):
    """Pages' patches to the image tokens of each page, and what the tower gives beside them.

    Where devices share the pages out, `given` is of a device's own, and the image tokens of all are gathered at once.
    Source: vLLM, `run_dp_sharded_mrope_vision_model`: as many rows from every device as the one with most has.
    """

    def __init__(self, visual: PackedTower, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.visual = visual

    def forward(self, given: PageTensors | tuple[PageTensors, ...], grid: Grid) -> tuple[ShapeTensor, ...]:
        """Each page's image tokens [n, D]; then the last hidden states where they are held, and features of all pages.

        `given`: with all pages, or where pages are a loop with each.
        """
        if self.traits(PackedTraits).pages_looped:
            return tuple(self.visual.call_remembered("visual", page, grid._replace(pages=1))[1] for page in given)
        assert isinstance(given, PageTensors)
        parallel = self.code.parallel
        own = grid._replace(pages=parallel.own_images(grid.pages))
        hidden_states, tokens, *features = self.visual.call_remembered("visual", given, own)
        if parallel.images:
            tokens, *features = [
                all_gather(each, parallel.ranks, 0).narrow(0, 0, each.shape[0] // own.pages * grid.pages)
                for each in (tokens, *features)
            ]
        if self.traits(FusionTraits).image_tokens_first or self.traits(FusionTraits).image_tokens_cached:
            return *of_pages(tokens, grid.pages), *features
        floor_divide(product(given.grid_thw))  # tokens of each page, on the host
        return *of_pages(tokens, grid.pages), hidden_states, *features


def of_pages(tokens: ShapeTensor, pages: int) -> tuple[ShapeTensor, ...]:
    """Tokens [n, D] of pages behind one another, page by page."""
    each = tokens.shape[0] // pages
    return tuple(tokens.narrow(0, page * each, (page + 1) * each) for page in range(pages))


class PackedTextStage(TiledTextStage):
    """The stages with text; placeholders of videos are looked for, too."""

    returns_image_tokens = False

    def placeholder_masks(self, input_ids: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """Which positions [B, T, 1] are image tokens, and which a video's: their numbers are worked out."""
        special_image_mask = compare("aten.eq.Scalar", input_ids)
        special_video_mask = compare("aten.eq.Scalar", input_ids)
        n_image_tokens = sum_all(special_image_mask)
        special_image_mask = special_image_mask.unsqueeze(2)
        compare("aten.eq.Scalar", mul(n_image_tokens))
        sum_all(special_video_mask)
        return special_image_mask, special_video_mask.unsqueeze(2)


class PackedPagesModel(VisionLanguageModel):
    """A model with such a tower, called `visual`, whose decoder takes three coordinates a position."""

    text_stage: ClassVar[type[TextStage]] = PackedTextStage
    visual: PagesTower

    def assemble_pages(self, *, visual: PackedTower, decoder: Decoder, vocab_size: int, tied_head: bool) -> None:
        """Put the parts together."""
        self.visual = visual
        vision = PackedVision(visual, code=self.code)
        self.assemble(vision=vision, decoder=decoder, vocab_size=vocab_size, tied_head=tied_head)

    def images(self, tape: Tape, geometry: Grid) -> tuple[Any, ...]:
        """What comes with the pages, together or one after another, and their grid."""
        if self.traits(PackedTraits).pages_looped:
            one = geometry._replace(pages=1)
            return tuple(self.visual.tensors(tape, one) for _ in range(geometry.pages)), geometry
        own = geometry._replace(pages=self.code.parallel.own_images(geometry.pages))
        return self.visual.tensors(tape, own), geometry

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        for part in (self.visual, self.embed_tokens, self.decoder, self.lm_head):
            yield from part.parameters_as_converted()

    def vision_weight_bytes(self) -> int:
        """The tower's, its merger among them."""
        return self.visual.forward_memory_weight()

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """The tower."""
        return {"visual": self.visual}
