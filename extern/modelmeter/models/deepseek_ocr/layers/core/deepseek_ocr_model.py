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
from modelmeter.layers import BaseLayer, State
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.models.common.vision_language import TextStage, VisionLanguageModel
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr.layers.vision.image_encoder_vit import ImageEncoderViT
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import MlpProjector
from modelmeter.models.deepseek_ocr.layers.vision.vit_model import VitModel
from modelmeter.models.deepseek_ocr.traits import PageTraits
from modelmeter.models.deepseek_ocr.vision_workload import PageGeometry
from modelmeter.operators import (
    Parameter,
    cat,
    index_put,
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


class VisionTower(BaseLayer):
    """SAM, then CLIP over its map, then both side by side: pixels [B, 3, s, s] -> [B, q*q, 2048]."""

    def __init__(self, sam_model: ImageEncoderViT, vision_model: VitModel, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.sam_model = sam_model
        self.vision_model = vision_model

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        residual = self.sam_model.call_remembered("sam_model", pixel_values)
        hidden_states = self.vision_model.call_remembered("vision_model", residual)
        return side_by_side(hidden_states, residual)


class VisionStage(BaseLayer):
    """Pages through vision.

    global pixels [B, 3, s, s], crop pixels [B w h, 3, c, c] or None, and the grid (columns w, rows h) -> what the
    caller goes on holding: each page's image tokens first, where they are to be put into the prompt afterwards.
    As batches: all global views, then all crops, then page by page. Looped: page after page, its crops first, and its
    image tokens put into `inputs_embeds` [B, T, D] under the mask [B, T] at once, where those are given. A page of the
    grid (1, 1) has no crops: there the loop takes what the published `infer()` hands on instead, zeros [1, 3, b, b].
    """

    def __init__(self, model: DeepseekOCRModel, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.projector = model.projector
        self.newline = model.image_newline
        self.separator = model.view_seperator
        self.tower = VisionTower(model.sam_model, model.vision_model, code=self.code)

    def forward(
        self,
        global_pixels: ShapeTensor,
        crop_pixels: ShapeTensor | None,
        grid: tuple[int, int],
        *prompt: ShapeTensor,
    ) -> tuple[ShapeTensor, ...]:
        if self.traits(PageTraits).pages_looped:
            assert crop_pixels is not None  # `_pixels` hands on something always
            return self.forward_looped(global_pixels, crop_pixels, grid, *prompt)
        if self.traits(PageTraits).image_tokens_first:
            return self.forward_unheld(global_pixels, crop_pixels, grid)
        return self.forward_batched(global_pixels, crop_pixels, grid)

    def forward_unheld(
        self, global_pixels: ShapeTensor, crop_pixels: ShapeTensor | None, grid: tuple[int, int]
    ) -> tuple[ShapeTensor, ...]:
        """As batches; of all that, only each page's image tokens are left, made in one chain a page."""
        global_features = self.features("global", global_pixels)
        crop_features = None if crop_pixels is None else self.features("crops", crop_pixels)
        newline, separator = self.newline.on(global_pixels.tape), self.separator.on(global_pixels.tape)
        crops = grid[0] * grid[1]
        pages = []
        for page in range(global_pixels.shape[0]):
            local = None if crop_features is None else crop_features.narrow(0, page * crops, (page + 1) * crops)
            views = (global_features.select(0, page), local, newline, separator)
            pages.append(self.chain("image_tokens", image_tokens, *views, grid))
        return tuple(pages)

    def features(self, branch: str, pixels: ShapeTensor) -> ShapeTensor:
        """Views [B, 3, s, s] through tower and projector -> [B, q*q, D]."""
        hidden_states = self.tower.call_remembered(branch, pixels)
        return self.projector.call_remembered(f"{branch}.projector", hidden_states)  # type: ignore[no-any-return]

    def forward_batched(
        self, global_pixels: ShapeTensor, crop_pixels: ShapeTensor | None, grid: tuple[int, int]
    ) -> tuple[ShapeTensor, ...]:
        """All pages' global views, then all their crops, then page by page."""
        global_hidden = self.tower.call_remembered("global", global_pixels)
        global_features = self.projector.call_remembered("global.projector", global_hidden)
        crop_hidden = crop_features = None
        if crop_pixels is not None:
            crop_hidden = self.tower.call_remembered("crops", crop_pixels)
            crop_features = self.projector.call_remembered("crops.projector", crop_hidden)
        tape = global_pixels.tape
        newline = self.newline.on(tape).unsqueeze(0).unsqueeze(0)
        separator = self.separator.on(tape).unsqueeze(0)
        pages = global_pixels.shape[0]
        columns, rows = grid
        all_features = []
        for page in range(pages):
            features = global_features.select(0, page)
            side = round(features.shape[0] ** 0.5)
            global_grid = features.view(side, side, -1)
            global_grid = cat((global_grid, newline.expand(side, 1, -1)), 1)
            global_flat = global_grid.view(-1, global_grid.shape[-1])
            if crop_features is None:
                all_features.append(cat((global_flat, separator), 0))
                continue
            crops = columns * rows
            local_features = crop_features.narrow(0, page * crops, (page + 1) * crops)
            side = round(local_features.shape[1] ** 0.5)
            local_grid = local_features.view(rows, columns, side, side, -1)
            local_grid = reshape(local_grid.transpose(1, 2), rows * side, columns * side, -1)
            local_grid = cat((local_grid, newline.expand(rows * side, 1, -1)), 1)
            local_flat = local_grid.view(-1, local_grid.shape[-1])
            all_features.append(cat((local_flat, global_flat, separator), 0))
        held = (global_hidden,) if crop_hidden is None else (global_hidden, crop_hidden)
        return (*all_features, *held)

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


def with_newlines(features: ShapeTensor, newline: ShapeTensor) -> ShapeTensor:
    """A grid [rows, columns, D] and a newline [D] after every row -> [rows (columns + 1), D]."""
    rows, _, width = features.shape
    return cat((features, newline.view(1, 1, -1).expand(rows, 1, -1)), 1).view(-1, width)


def image_tokens(
    global_features: ShapeTensor,
    local_features: ShapeTensor | None,
    newline: ShapeTensor,
    separator: ShapeTensor,
    grid: tuple[int, int],
) -> ShapeTensor:
    """One page's tokens: of its crops [columns rows, c*c, D], of its global view [g*g, D], and the separator [D]."""
    side = round(global_features.shape[0] ** 0.5)
    parts = [with_newlines(global_features.view(side, side, -1), newline), separator.unsqueeze(0)]
    if local_features is not None:
        columns, rows = grid
        side = round(local_features.shape[1] ** 0.5)
        local_grid = local_features.view(rows, columns, side, side, -1).transpose(1, 2)
        parts.insert(0, with_newlines(reshape(local_grid, rows * side, columns * side, -1), newline))
    return cat(parts, 0)


def side_by_side(clip_tokens: ShapeTensor, sam_map: ShapeTensor) -> ShapeTensor:
    """CLIP's tokens [B, g*g + 1, D] without the class token beside SAM's map [B, D, g, g] -> [B, g*g, 2 D]."""
    return cat((clip_tokens.narrow(1, 1, clip_tokens.shape[1]), sam_map.flatten(2).transpose(1, 2)), -1)


class PageTextStage(TextStage):
    """The stages with text: pages in a loop, or image tokens first, where the code runs so."""

    def run(
        self,
        input_ids: ShapeTensor,
        images: tuple[Any, ...],
        states: tuple[State, ...],
        experts_hit: int | Fraction,
    ) -> tuple[ShapeTensor, tuple[ShapeTensor, ...]]:
        """Embedding, vision, decoder: the last hidden states, and each page's image tokens."""
        if images and self.traits(PageTraits).image_tokens_first:
            inputs_embeds = self.embed_around(input_ids, *self.vision.call_remembered("", *images))
            return self.decoder.call_remembered("", inputs_embeds, states, experts_hit), ()
        if images and self.traits(PageTraits).pages_looped:
            inputs_embeds = self.embed_tokens(input_ids)
            images_seq_mask = input_ids.tape.input(input_ids.shape, "bool")
            # names of the same frame in the real code, held while the decoder runs
            _held = self.vision.call_remembered("", *images, inputs_embeds, images_seq_mask)
            return self.decoder.call_remembered("", inputs_embeds, states, experts_hit), ()
        return super().run(input_ids, images, states, experts_hit)

    def embed_around(self, input_ids: ShapeTensor, *pages: ShapeTensor) -> ShapeTensor:
        """The prompts' embeddings, and each page's image tokens put among them, all in one chain."""
        inputs_embeds: ShapeTensor = self.embed_tokens(input_ids)
        index = input_ids.tape.input((len(pages), pages[0].shape[0]), "int64")  # the engine brings it
        self.chain("put_image_tokens", put_rows, inputs_embeds, index, *pages)
        return inputs_embeds


def put_rows(inputs_embeds: ShapeTensor, index: ShapeTensor, *pages: ShapeTensor) -> None:
    """Each page's rows [n, D] put at [pages, n] of [pages, T, D]; n rows are written, whichever they are."""
    for page, rows in enumerate(pages):
        index_put(inputs_embeds.select(0, page).narrow(0, 0, rows.shape[0]), index.select(0, page), rows)


class DeepseekOCRModel(VisionLanguageModel):
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

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        vision: tuple[BaseLayer, ...] = (self.sam_model, self.vision_model, self.projector)
        text: tuple[BaseLayer, ...] = (self.embed_tokens, self.decoder)
        loose = (self.image_newline, self.view_seperator)
        for part in (*text, *vision) if self.traits(PageTraits).decoder_made_first else (*vision, *text):
            yield from part.parameters_as_converted()
        yield from (*loose, *self.lm_head.parameters_as_converted())

    def vision_weight_bytes(self) -> int:
        """Bytes of the parameters that the vision stage needs."""
        parts = (self.sam_model, self.vision_model, self.projector)
        loose = self.image_newline.nbytes + self.view_seperator.nbytes
        return loose + sum(part.forward_memory_weight() for part in parts)

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """SAM, CLIP and the projector, each called for both branches."""
        return {"sam_model": self.sam_model, "vision_model": self.vision_model, "projector": self.projector}

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
