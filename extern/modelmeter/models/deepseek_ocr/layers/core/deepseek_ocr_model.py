"""`DeepseekOCRModel`: the parts of DeepSeek-OCR put together, by stage.

Source of the walks: `UnlimitedOcrForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it,
and for the published code the description of its forward pass. An engine's is what vLLM does, and nothing is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, Unpack

from modelmeter.errors import ModelMeterError
from modelmeter.layers import State
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.vision.tower import side_by_side
from modelmeter.models.common.deep_encoder import DeepEncoderModel, TiledTextStage, TiledVision
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr.layers.vision.image_encoder_vit import ImageEncoderViT
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import MlpProjector
from modelmeter.models.deepseek_ocr.layers.vision.vit_model import VitModel
from modelmeter.models.deepseek_ocr.traits import PageTraits
from modelmeter.models.deepseek_ocr.vision_workload import PageGeometry
from modelmeter.operators import (
    Parameter,
    cat,
    masked_scatter_in_place,
    reshape,
    sum_all,
)
from modelmeter.shape_tensor import ShapeTensor, Tape

#: the published decoder, and the rows of its embedding
PUBLISHED_DECODER: Final[Mapping[str, int]] = MappingProxyType(
    {
        "hidden_size": 1280,
        "intermediate_size": 6848,
        "moe_intermediate_size": 896,
        "num_hidden_layers": 12,
        "num_attention_heads": 10,
        "num_key_value_heads": 10,
        "n_routed_experts": 64,
        "num_experts_per_tok": 6,
        "n_shared_experts": 2,
        "first_k_dense_replace": 1,
        "max_position_embeddings": 8192,
    }
)
VOCAB_SIZE: Final = 129280


class VisionStage(TiledVision):
    """Pages through vision.

    global pixels [B, 3, s, s], crop pixels [B w h, 3, c, c] or None, and the grid (columns w, rows h) -> what the
    caller goes on holding: each page's image tokens first, where they are to be put into the prompt afterwards.
    As batches: all global views, then all crops, then page by page. Looped: page after page, its crops first, and its
    image tokens put into `inputs_embeds` [B, T, D] under the mask [B, T] at once, where those are given. A page of the
    grid (1, 1) has no crops: there the loop takes what the published `infer()` hands on instead, zeros [1, 3, b, b].
    """

    tiles_name = "crops"

    def forward(
        self,
        global_pixels: ShapeTensor,
        tile_pixels: ShapeTensor | None,
        grid: tuple[int, int],
        *prompt: ShapeTensor,
    ) -> tuple[ShapeTensor, ...]:
        if self.traits(PageTraits).pages_looped:
            assert tile_pixels is not None  # `images` hands on something always
            return self.forward_looped(global_pixels, tile_pixels, grid, *prompt)
        return super().forward(global_pixels, tile_pixels, grid)

    def forward_looped(
        self,
        global_pixels: ShapeTensor,
        crop_pixels: ShapeTensor,
        grid: tuple[int, int],
        inputs_embeds: ShapeTensor | None = None,
        images_seq_mask: ShapeTensor | None = None,
    ) -> tuple[ShapeTensor, ...]:
        """Page after page; the names of one page's results live until the next page's take them over."""
        columns, rows = grid
        crops = columns * rows
        tape = global_pixels.tape
        newline = self.newline.on(tape).unsqueeze(0).unsqueeze(0)
        separator = self.separator.on(tape).unsqueeze(0)
        local_features_1 = local_features_2 = local_features = images_in_this_batch = None
        sum_all(global_pixels.narrow(0, 0, 1))  # is there an image at all?
        for page in range(global_pixels.shape[0]):
            del images_in_this_batch  # an empty list takes its place
            patches = crop_pixels.narrow(0, page * crops, (page + 1) * crops) if crops > 1 else crop_pixels
            image_ori = global_pixels.narrow(0, page, page + 1)
            sum_all(patches)  # are there crops?
            if crops > 1:
                local_features_1 = self.tower.sam_model.call_remembered("crops.sam_model", patches)
                local_features_2 = self.tower.vision_model.call_remembered("crops.vision_model", local_features_1)
                local_features = side_by_side(local_features_2, local_features_1)
                local_features = self.projector.call_remembered("crops.projector", local_features)
            global_features_1 = self.tower.sam_model.call_remembered("global.sam_model", image_ori)
            global_features_2 = self.tower.vision_model.call_remembered("global.vision_model", global_features_1)
            global_features = side_by_side(global_features_2, global_features_1)
            global_features = self.projector.call_remembered("global.projector", global_features)
            side = round(global_features.shape[1] ** 0.5)
            global_features = global_features.view(side, side, -1)
            global_features = cat((global_features, newline.expand(side, 1, -1)), 1)
            global_features = global_features.view(-1, global_features.shape[-1])
            parts: tuple[ShapeTensor, ...] = (global_features, separator)
            if local_features is not None:
                side = round(local_features.shape[1] ** 0.5)
                local_features = local_features.view(rows, columns, side, side, -1).permute(0, 2, 1, 3, 4)
                local_features = reshape(local_features, rows * side, columns * side, -1)
                local_features = cat((local_features, newline.expand(rows * side, 1, -1)), 1)
                local_features = local_features.view(-1, local_features.shape[-1])
                parts = (local_features, *parts)
            global_local_features = cat(parts, 0)
            del parts  # the real code has no name for it
            images_in_this_batch = cat((global_local_features,), 0)
            if inputs_embeds is not None and images_seq_mask is not None:
                mask = images_seq_mask.select(0, page).unsqueeze(1)
                masked_scatter_in_place(inputs_embeds.select(0, page), mask, images_in_this_batch)
        held = (images_in_this_batch, global_local_features, global_features, global_features_1, global_features_2)
        of_crops = (local_features, local_features_1, local_features_2)
        return tuple(each for each in (*held, *of_crops) if each is not None)


class PageTextStage(TiledTextStage):
    """The stages with text: pages in a loop where the code runs so."""

    def run(
        self,
        input_ids: ShapeTensor,
        images: tuple[Any, ...],
        states: tuple[State, ...],
        experts_hit: int | Fraction,
    ) -> tuple[ShapeTensor, tuple[ShapeTensor, ...]]:
        """Embedding, vision, decoder: the last hidden states, and each page's image tokens."""
        if images and self.traits(PageTraits).pages_looped:
            inputs_embeds = self.embed_tokens(input_ids)
            images_seq_mask = input_ids.tape.input(input_ids.shape, "bool")
            # names of the same frame in the real code, held while the decoder runs
            _held = self.vision.call_remembered("", *images, inputs_embeds, images_seq_mask)
            return self.decoder.call_remembered("", inputs_embeds, states, experts_hit), ()
        return super().run(input_ids, images, states, experts_hit)


class DeepseekOCRModel(DeepEncoderModel):
    """DeepSeek-OCR. Stages are sums over the layers that run in them; no figure is scaled.

    sam, clip, projector, decoder: architectural arguments of `ImageEncoderViT`, `VitModel`, `MlpProjector` and
    `Decoder`; the defaults are the published model's. vocab_size: rows of the embedding and of the head.
    """

    executions = EXECUTIONS
    text_stage = PageTextStage
    vision: VisionStage

    def __init__(
        self,
        *,
        sam: Mapping[str, Any] | None = None,
        clip: Mapping[str, Any] | None = None,
        projector: Mapping[str, Any] | None = None,
        decoder: Mapping[str, Any] | None = None,
        vocab_size: int = VOCAB_SIZE,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.sam_model = ImageEncoderViT(**dict(sam or {}), code=self.code)
        self.vision_model = VitModel(**dict(clip or {}), code=self.code)
        self.projector = MlpProjector(**dict(projector or {}), code=self.code)
        text = Decoder(**dict(decoder or PUBLISHED_DECODER), code=self.code)
        width = text.norm.weight.shape[0]
        if self.projector.output_shapes()[0][-1] != width:
            raise ModelMeterError(
                f"DeepseekOCRModel: the projector gives {self.projector.output_shapes()[0][-1]} features and the "
                f"decoder takes {width}; set vision.projector.n_embed and decoder.hidden_size to the same width."
            )
        self.image_newline = self.parameter(width)
        self.view_seperator = self.parameter(width)  # the published name, misspelt there
        self.assemble(vision=VisionStage(self, code=self.code), decoder=text, vocab_size=vocab_size)

    def separators(self) -> tuple[Parameter, Parameter]:
        """What ends a row of tokens, and what ends the image."""
        return self.image_newline, self.view_seperator

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        if not self.traits(PageTraits).decoder_made_first:
            yield from super().parameters_as_converted()
            return
        for part in (self.embed_tokens, self.decoder, self.sam_model, self.vision_model, self.projector):
            yield from part.parameters_as_converted()
        yield from (*self.separators(), *self.lm_head.parameters_as_converted())

    def images(self, tape: Tape, geometry: PageGeometry) -> tuple[Any, ...]:
        """Pixels of the global views and of the crops, and the grid (columns, rows) of the crops."""
        vision, grid = geometry

        def views(batch: int, side: int, dtype: str = self.dtype) -> ShapeTensor:
            return tape.input((batch, 3, side, side), dtype)

        first = views(vision.global_branch.batch_size, vision.global_branch.img_size)
        second = None
        if vision.crop_branch is not None:
            second = views(vision.crop_branch.batch_size, vision.crop_branch.img_size)
        elif self.traits(PageTraits).pages_looped:
            second = views(1, vision.base_size, "float32")  # made without a type, and never converted
        return first, second, grid
