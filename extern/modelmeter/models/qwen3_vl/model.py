"""`Qwen3VLModel`: a tower over packed patches with a table of positions, DeepStack mergers, and Qwen3's decoder.

Source of the walks: `Qwen3VLForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Unpack

from modelmeter.layers import State
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.deepstack import Deepstack
from modelmeter.models.common.deep_encoder import FusionTraits
from modelmeter.models.common.packed_pages import PackedPagesModel, PackedTextStage, of_pages
from modelmeter.models.qwen3_vl.executions import EXECUTIONS
from modelmeter.models.qwen3_vl.tower import VisionTower
from modelmeter.operators import (
    cat,
    clone,
    compare,
    copy_over,
    fill,
    index_put,
    masked_scatter_in_place,
    nonzero,
    sum_all,
    zero,
)
from modelmeter.shape_tensor import ShapeTensor, Tape


class Qwen3VLTextStage(PackedTextStage):
    """The stages with text; features of the tower's blocks are added in the decoder's first layers."""

    def deepstack(self, outputs: tuple[ShapeTensor, ...], mask: ShapeTensor, pages: int) -> Deepstack:
        """The features behind the last hidden states, page by page and joined again."""
        return Deepstack(mask.select(2, 0), tuple(cat(of_pages(each, pages), 0) for each in outputs[1:]))

    def embed_cached(self, input_ids: ShapeTensor, *pages: ShapeTensor) -> tuple[ShapeTensor, Deepstack | None]:
        """The prompts' embeddings with all pages' image tokens, and features for every position, zeros but for these.

        pages: rows of a token and its features, side by side.
        """
        if not self.levels:
            return super().embed_cached(input_ids, *pages)
        if self.traits(FusionTraits).placeholders_sought:
            return self.embed_by_index(input_ids, *pages)
        return self.embed_under_mask(input_ids, *pages)

    def embed_by_index(self, input_ids: ShapeTensor, *pages: ShapeTensor) -> tuple[ShapeTensor, Deepstack | None]:
        """The places sought, and tokens and features put there; a pass without pages adds none."""
        if not pages:
            return self.embed_joined(input_ids), None
        joined = cat(pages, 0)
        places = compare("aten.isin.Tensor_Tensor", input_ids)
        sum_all(places)  # as many as there are image tokens?
        inputs_embeds = self.embed_tokens(input_ids)
        rows = inputs_embeds.view(-1, inputs_embeds.shape[2])
        count, width = joined.shape[0], rows.shape[1]
        features = fill(rows, (rows.shape[0], joined.shape[1] - width), rows.dtype, "aten.zeros.default")
        index = nonzero(places, count)
        index_put(rows.narrow(0, 0, count), index, joined.narrow(1, 0, width))
        index_put(features.narrow(0, 0, count), index, joined.narrow(1, width, joined.shape[1]))
        return inputs_embeds, Deepstack(None, features.chunk(self.levels, 1))

    def embed_under_mask(self, input_ids: ShapeTensor, *pages: ShapeTensor) -> tuple[ShapeTensor, Deepstack | None]:
        """Tokens and features put under a mask, the features into buffers that every pass adds."""
        tape, (batch, tokens) = input_ids.tape, input_ids.shape
        inputs_embeds = self.embed_tokens(input_ids)
        width = inputs_embeds.shape[2]
        buffers = self.buffers(tape, batch * tokens, width)
        if pages:
            joined = cat(pages, 0)
            mask = tape.input((batch * tokens,), "bool")  # the engine brings it
            each = of_pages(joined, len(pages))
            features = fill(inputs_embeds, (batch * tokens, self.levels * width), self.dtype, "aten.zeros.default")
            masked_scatter_in_place(features, mask, cat([page.narrow(1, width, page.shape[1]) for page in each], 0))
            masked_scatter_in_place(inputs_embeds, mask, cat([page.narrow(1, 0, width) for page in each], 0))
            for buffer, level in zip(buffers, features.chunk(self.levels, 1), strict=True):
                copy_over(buffer, level)
        copied = clone(inputs_embeds) if self.traits(FusionTraits).embeddings_copied else inputs_embeds
        return copied, Deepstack(None, buffers)

    @property
    def levels(self) -> int:
        """How many of the decoder's layers features are added after."""
        return len(self.vision.visual.deepstack_visual_indexes)  # type: ignore[attr-defined]

    def buffers(self, tape: Tape, tokens: int, width: int) -> tuple[ShapeTensor, ...]:
        """Where an engine keeps features of all positions [tokens, D] for each of these layers."""
        return tuple(tape.input((tokens, width), self.dtype) for _ in range(self.levels))

    def run_cached(
        self,
        input_ids: ShapeTensor,
        images: tuple[Any, ...],
        states: tuple[State, ...],
        experts_hit: int | Fraction,
    ) -> ShapeTensor:
        """The same, and the buffers filled with zeros after a pass with pages."""
        hidden_states = super().run_cached(input_ids, images, states, experts_hit)
        if images and not self.traits(FusionTraits).placeholders_sought:
            batch, tokens, width = hidden_states.shape
            for buffer in self.buffers(hidden_states.tape, batch * tokens, width):
                zero(buffer)
        return hidden_states


class Qwen3VLModel(PackedPagesModel):
    """Qwen3-VL. vision, decoder: architectural arguments of `VisionTower` and `Decoder`."""

    executions = EXECUTIONS
    text_stage = Qwen3VLTextStage

    def __init__(
        self,
        *,
        vision: Mapping[str, Any],
        decoder: Mapping[str, Any],
        vocab_size: int,
        tied_head: bool,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.assemble_pages(
            visual=VisionTower(**vision, code=self.code.vision()),
            decoder=Decoder(
                **decoder,
                qk_norm=True,
                window_mask=False,
                mrope_interleaved=True,
                layer_outputs_kept=True,
                code=self.code,
            ),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )
