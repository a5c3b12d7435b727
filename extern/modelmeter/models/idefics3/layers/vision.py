"""Idefics3's vision on shapes: SigLIP over tiles, positions worked out from a mask of patches, pixel shuffle.

Source of the walk: `Idefics3Model.get_image_features`, `Idefics3VisionTransformer` and `Idefics3Connector` of
transformers 5.23.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Conv2d, LayerList, LayerNorm, Linear, Settings, run_blocks
from modelmeter.layers.code import EngineTraits
from modelmeter.layers.vision.packed import on_host
from modelmeter.layers.vision.siglip_tiles import (
    SiglipEncoderLayer,
    SiglipTraits,
    add_positions,
    of_pages,
    pixel_shuffle,
)
from modelmeter.models.common.deep_encoder import FusionTraits
from modelmeter.operators import (
    add,
    all_true,
    arange,
    bucketize,
    clamp,
    compare,
    fill,
    gather,
    mul,
    reciprocal,
    to_device,
    total,
    where,
)
from modelmeter.shape_tensor import ShapeTensor


class Idefics3VisionEmbeddings(BaseLayer):
    """Pixels [N, c, s, s], which patches are real [N, g, g] -> patches [N, g*g, D], positions added.

    A patch's position is its place among the real ones of its tile, as a share of the side, put among those of the
    table.
    """

    def __init__(
        self, hidden_size: int, *, num_channels: int, image_size: int, patch_size: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.num_patches_per_side = image_size // patch_size
        self.patch_embedding = Conv2d(num_channels, hidden_size, patch_size, stride=patch_size, code=self.code)
        self.position_embedding = self.parameter(self.num_patches_per_side**2, hidden_size)

    def forward(self, pixel_values: ShapeTensor, patch_attention_mask: ShapeTensor) -> ShapeTensor:
        traits = self.traits(SiglipTraits)
        patch_embeds = self.patch_embedding(pixel_values)
        embeddings = patch_embeds.flatten(2).transpose(1, 2)
        if traits.tiles_known:
            return self.chain("add_positions", add_positions, embeddings, self.position_embedding)
        if traits.positions_on_host:
            return add(embeddings, self.positions(self.ids_from_host(patch_attention_mask)))
        tape, batch = pixel_values.tape, pixel_values.shape[0]
        side = patch_attention_mask.shape[1]
        step = 1 / self.num_patches_per_side
        many = ceil((1.0 - step) / step)  # of patches - 1, or one more where a float is above its share
        boundaries = arange(tape, many, aten="aten.arange.start_step", dtype="float32")
        position_ids = fill(pixel_values, (batch, side * side), "int64", "aten.full.default")
        nb_patches_h = total(patch_attention_mask.select(2, 0), 1)
        nb_patches_w = total(patch_attention_mask.select(1, 0), 1)
        step_h = mul(reciprocal(nb_patches_h))
        step_w = mul(reciprocal(nb_patches_w))
        h_indices = arange(tape, side, dtype="float32")
        w_indices = arange(tape, side, dtype="float32")
        fractional_coords_h = mul(h_indices.unsqueeze(0), step_h.unsqueeze(1))
        fractional_coords_w = mul(w_indices.unsqueeze(0), step_w.unsqueeze(1))
        fractional_coords_h = clamp(fractional_coords_h)
        fractional_coords_w = clamp(fractional_coords_w)
        bucket_coords_h = bucketize(fractional_coords_h, boundaries)
        bucket_coords_w = bucketize(fractional_coords_w, boundaries)
        pos_ids = add(mul(bucket_coords_h.unsqueeze(2)), bucket_coords_w.unsqueeze(1)).view(batch, -1)
        position_ids = where(patch_attention_mask.view(batch, -1), pos_ids, position_ids)
        return add(embeddings, self.positions(position_ids))

    def ids_from_host(self, patch_attention_mask: ShapeTensor) -> ShapeTensor:
        """Ids of patches [N, T], which the host makes of each tile's real rows and columns, counted on the device."""
        tape, (tiles, rows, columns) = patch_attention_mask.tape, patch_attention_mask.shape
        mask = patch_attention_mask.select(0, 0)

        def of_tile() -> ShapeTensor:
            steps = [mul(reciprocal(total(mask.select(axis, 0), 0))) for axis in (1, 0)]
            return steps[0]

        tape.repeated(tiles, of_tile)
        return to_device(on_host(tape, (tiles, rows * columns), "int64"))

    def positions(self, position_ids: ShapeTensor) -> ShapeTensor:
        """Rows of the table [N, T, D] by the ids of patches [N, T]."""
        table = self.position_embedding.on(position_ids.tape)
        return gather(table, *position_ids.shape, aten="aten.embedding.default", index=position_ids)


class Idefics3Encoder(BaseLayer):
    """The blocks, one after another, x [N, T, D] -> [N, T, D]; their first input is held by name all along."""

    def __init__(self, block: SiglipEncoderLayer, num_hidden_layers: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.layers = LayerList([block] * num_hidden_layers, code=self.code)

    def forward(self, inputs_embeds: ShapeTensor) -> Any:
        """Where blocks hand on what they made and a residual, both."""
        if not self.traits(EngineTraits).add_norm_fused:
            return run_blocks(self.layers, inputs_embeds)
        hidden_states, residual = inputs_embeds, None
        for layer in self.layers:
            hidden_states, residual = layer(hidden_states, residual)
        return hidden_states, residual


class Idefics3VisionTransformer(BaseLayer):
    """Pixels [N, c, s, s], which patches are real [N, g, g] -> [N, g*g, D].

    Tiles are full, so there is no mask of attention: the code asks whether all patches are real.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        num_channels: int,
        image_size: int,
        patch_size: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.embeddings = Idefics3VisionEmbeddings(
            hidden_size, num_channels=num_channels, image_size=image_size, patch_size=patch_size, code=self.code
        )
        block = SiglipEncoderLayer(hidden_size, num_attention_heads, intermediate_size, code=self.code)
        self.encoder = Idefics3Encoder(block, num_hidden_layers, code=self.code)
        self.post_layernorm = LayerNorm(hidden_size, code=self.code)

    def forward(self, pixel_values: ShapeTensor, patch_attention_mask: ShapeTensor) -> ShapeTensor:
        hidden_states = self.embeddings(pixel_values, patch_attention_mask)
        traits = self.traits(SiglipTraits)
        if not (traits.tiles_known or traits.positions_on_host):
            all_true(patch_attention_mask.view(patch_attention_mask.shape[0], -1))
        encoder_outputs = self.encoder(hidden_states)
        if isinstance(encoder_outputs, tuple):
            return self.post_layernorm(*encoder_outputs)[1]  # type: ignore[no-any-return]
        return self.post_layernorm(encoder_outputs)  # type: ignore[no-any-return]


class Idefics3SimpleMLP(BaseLayer):
    """x [..., k] -> [..., D], without bias."""

    def __init__(self, input_size: int, output_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.proj = Linear(input_size, output_size, bias=False, code=self.code)

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        return self.proj(x)  # type: ignore[no-any-return]


class Idefics3Connector(BaseLayer):
    """Patches of tiles [N, T, D] -> tokens [N, T / scale_factor^2, width of the decoder]."""

    def __init__(self, hidden_size: int, output_size: int, scale_factor: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.scale_factor = scale_factor
        self.modality_projection = Idefics3SimpleMLP(hidden_size * scale_factor**2, output_size, code=self.code)

    def forward(self, image_hidden_states: ShapeTensor) -> ShapeTensor:
        image_hidden_states = self.chain("pixel_shuffle", pixel_shuffle, image_hidden_states, self.scale_factor)
        return self.modality_projection(image_hidden_states)  # type: ignore[no-any-return]


class VisionStage(BaseLayer):
    """Tiles of all pages through vision: pixels [B, n, c, s, s] and which are real [B, n, s, s] -> each page's tokens.

    Then, where they are held, the tower's last hidden states. Tiles that are all zeros stand for none, so the code
    looks for them and copies the others, whether there are any or not; here there are none.
    """

    def __init__(
        self,
        vision_model: Idefics3VisionTransformer,
        connector: Idefics3Connector,
        patch_size: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.vision_model = vision_model
        self.connector = connector
        self.patch_size = patch_size

    def forward(self, pixel_values: ShapeTensor, pixel_attention_mask: ShapeTensor) -> tuple[ShapeTensor, ...]:
        pages, tiles, _, side, _ = pixel_values.shape
        pixel_values = pixel_values.view(pages * tiles, -1, side, side)
        if self.traits(SiglipTraits).tiles_known:
            last_hidden_state = self.vision_model.call_remembered("vision_model", pixel_values, None)
            return of_pages(self.connector.call_remembered("connector", last_hidden_state), pages)
        real_images = compare("aten.ne.Scalar", total(compare("aten.eq.Scalar", pixel_values), 1, 2, 3))
        _num_real_images = total(real_images.view(pages, tiles), 1)  # held to the end
        pixel_values = gather(pixel_values, pages * tiles, aten="aten.index.Tensor", index=real_images)
        pixel_attention_mask = pixel_attention_mask.view(pages * tiles, side, side)
        pixel_attention_mask = gather(pixel_attention_mask, pages * tiles, aten="aten.index.Tensor", index=real_images)
        grid = side // self.patch_size
        patches = (grid, self.patch_size)
        patches_subgrid = pixel_attention_mask.view(pages * tiles, *patches, *patches).permute(0, 1, 3, 2, 4)
        patch_attention_mask = compare("aten.gt.Scalar", total(patches_subgrid, 3, 4))
        last_hidden_state = self.vision_model.call_remembered("vision_model", pixel_values, patch_attention_mask)
        image_features = self.connector.call_remembered("connector", last_hidden_state)
        if self.traits(FusionTraits).image_tokens_cached:
            return of_pages(image_features, pages)
        return *of_pages(image_features, pages), last_hidden_state
