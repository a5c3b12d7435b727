"""Granite-Docling's vision on shapes: SigLIP over tiles, a connector with a way for few tokens and one for many, taps.

Source of the walk: `GraniteDoclingModel.get_image_features`, `GraniteDoclingVisionModel` and `GraniteDoclingConnector`
of transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from modelmeter.layers import BaseLayer, Conv2d, LayerList, LayerNorm, Linear, Settings
from modelmeter.layers.code import EngineTraits
from modelmeter.layers.vision.siglip_tiles import (
    SiglipEncoderLayer,
    SiglipTraits,
    add_positions,
    of_pages,
    pixel_shuffle,
)
from modelmeter.models.granite_docling.workload import ROUTES
from modelmeter.operators import Parameter, add, contiguous, gather, gelu, mul, to, total
from modelmeter.shape_tensor import ShapeTensor


class VisionEmbeddings(BaseLayer):
    """Pixels [N, c, s, s] -> patches [N, g*g, D], positions added, which are looked up for all tiles at once."""

    def __init__(
        self, hidden_size: int, *, num_channels: int, image_size: int, patch_size: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.patch_embedding = Conv2d(num_channels, hidden_size, patch_size, stride=patch_size, code=self.code)
        self.position_embedding = self.parameter((image_size // patch_size) ** 2, hidden_size)

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        patch_embeds = self.patch_embedding(pixel_values)
        embeddings = patch_embeds.flatten(2).transpose(1, 2)
        return self.chain("add_positions", add_positions, embeddings, self.position_embedding)


class DeepStackMerger(BaseLayer):
    """linear_2(gelu(linear_1(layer_norm(x)))), x [N, n, D s^2] -> [N, n, width of the decoder]."""

    def __init__(self, merged_dim: int, out_hidden_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.layer_norm = LayerNorm(merged_dim, code=self.code)
        self.linear_1 = Linear(merged_dim, out_hidden_size, code=self.code)
        self.linear_2 = Linear(out_hidden_size, out_hidden_size, code=self.code)

    def forward(self, image_features: ShapeTensor) -> ShapeTensor:
        hidden_states = self.layer_norm(image_features)
        hidden_states = self.linear_1(hidden_states)
        hidden_states = self.chain("gelu", gelu, hidden_states)
        return self.linear_2(hidden_states)  # type: ignore[no-any-return]


class PositionEmbedding(BaseLayer):
    """Fixed positions of the tokens of a tile added, x [N, n, D] -> [N, n, D]; an engine keeps them in its type."""

    def __init__(self, embed_dim: int, grid_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        best = self.traits(EngineTraits).at_its_best
        # a buffer, not a parameter: no checkpoint holds it
        self.buffers = {
            "pos_embed": Parameter(grid_size**2, embed_dim, dtype=self.code.precision.weights if best else "float32")
        }

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        return self.chain("add_positions", self.add_positions, hidden_states)

    def add_positions(self, hidden_states: ShapeTensor) -> ShapeTensor:
        """The positions, in the type of the hidden states."""
        return add(hidden_states, to(self.buffers["pos_embed"].on(hidden_states.tape), hidden_states.dtype))


def as_rows(tokens: ShapeTensor) -> ShapeTensor:
    """[N, n, D] -> [N n, D]."""
    return tokens.view(-1, tokens.shape[-1])


class ConnectorPath(BaseLayer):
    """Patches of tiles [N, T, D], and those tapped before -> tokens [N, n, width], features [N n, width] of each."""

    def __init__(
        self,
        hidden_size: int,
        out_hidden_size: int,
        scale_factor: int,
        grid_size: int,
        taps: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.scale_factor = scale_factor
        merged_dim = hidden_size * scale_factor**2
        self.projection = Linear(merged_dim, out_hidden_size, bias=False, code=self.code)
        self.pos_embed = PositionEmbedding(out_hidden_size, grid_size // scale_factor, code=self.code)
        merger = DeepStackMerger(merged_dim, out_hidden_size, code=self.code)
        self.deepstack_mergers = LayerList([merger] * taps, code=self.code)

    def forward(self, image_hidden_states: ShapeTensor, tapped: tuple[ShapeTensor, ...]) -> tuple[ShapeTensor, ...]:
        hidden_states = self.chain("pixel_shuffle", pixel_shuffle, image_hidden_states, self.scale_factor)
        hidden_states = self.projection(hidden_states)
        hidden_states = self.pos_embed(hidden_states)
        deepstack_features = []
        for merger, deepstack_hidden in zip(self.deepstack_mergers, tapped, strict=True):
            deepstack_hidden = self.chain("pixel_shuffle", self.shuffled, deepstack_hidden)
            deepstack_features.append(as_rows(merger(deepstack_hidden)))
        return hidden_states, *deepstack_features

    def shuffled(self, deepstack_hidden: ShapeTensor) -> ShapeTensor:
        """What was tapped, row-major, with fewer and wider tokens."""
        return pixel_shuffle(contiguous(deepstack_hidden), self.scale_factor)


class Connector(BaseLayer):
    """Patches of tiles [N, T, D], and those tapped before -> tokens [N n, width], and features [N n, width] of each.

    use_fine_route: whether there is a way on which half as many patches a side become one token.
    """

    def __init__(
        self,
        hidden_size: int,
        out_hidden_size: int,
        scale_factor: int,
        grid_size: int,
        taps: int,
        use_fine_route: bool,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.ln_in = LayerNorm(hidden_size, code=self.code)
        sizes = (hidden_size, out_hidden_size)
        self.coarse = ConnectorPath(*sizes, scale_factor, grid_size, taps, code=self.code)
        self.fine = None
        if use_fine_route:
            self.fine = ConnectorPath(*sizes, scale_factor // ROUTES["fine"], grid_size, taps, code=self.code)
        self.ln_mid = LayerNorm(out_hidden_size, code=self.code)
        self.mlp_fc2 = Linear(out_hidden_size, out_hidden_size, bias=False, code=self.code)
        self.ln_out = LayerNorm(out_hidden_size, code=self.code)

    def forward(
        self, image_hidden_states: ShapeTensor, tapped: tuple[ShapeTensor, ...], route: str
    ) -> tuple[ShapeTensor, ...]:
        path = self.coarse if route == "coarse" else self.fine
        assert path is not None  # the cost model refuses a route that there is not
        hidden_states, *deepstack_features = path(self.ln_in(image_hidden_states), tapped)
        hidden_states = self.chain("gelu", gelu, self.ln_mid(hidden_states))
        image_features = self.ln_out(self.mlp_fc2(hidden_states))
        return as_rows(image_features), *deepstack_features


class Encoder(BaseLayer):
    """The blocks, which `VisionModel` calls one after another."""

    def __init__(self, block: SiglipEncoderLayer, num_hidden_layers: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.layers = LayerList([block] * num_hidden_layers, code=self.code)
        self.layers.name = "encoder.layers"  # as they stand where they are called


class VisionModel(BaseLayer):
    """Pixels [N, c, s, s] -> last hidden states [N, g*g, D], tokens [N n, width], features [N n, width] of each tap."""

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        num_channels: int,
        image_size: int,
        patch_size: int,
        scale_factor: int,
        out_hidden_size: int,
        deepstack_visual_indexes: Sequence[int],
        use_fine_route: bool,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.deepstack_visual_indexes = tuple(deepstack_visual_indexes)
        self.embeddings = VisionEmbeddings(
            hidden_size, num_channels=num_channels, image_size=image_size, patch_size=patch_size, code=self.code
        )
        block = SiglipEncoderLayer(hidden_size, num_attention_heads, intermediate_size, code=self.code)
        self.encoder = Encoder(block, num_hidden_layers, code=self.code)
        self.post_layernorm = LayerNorm(hidden_size, code=self.code)
        self.connector = Connector(
            hidden_size,
            out_hidden_size,
            scale_factor,
            image_size // patch_size,
            len(self.deepstack_visual_indexes),
            use_fine_route,
            code=self.code,
        )

    def forward(self, pixel_values: ShapeTensor, route: str) -> tuple[ShapeTensor, ...]:
        last_hidden_state, *tapped = self.encode(pixel_values)
        image_features, *deepstack_features = self.connector(last_hidden_state, tuple(tapped), route)
        return last_hidden_state, image_features, *deepstack_features

    def encode(self, pixel_values: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """The last hidden states, normalised, and those that are tapped."""
        hidden_states = self.embeddings(pixel_values)
        tapped = []
        residual = None
        for index, layer in enumerate(self.encoder.layers):
            if self.traits(EngineTraits).add_norm_fused:
                hidden_states, residual = layer(hidden_states, residual)
                if index in self.deepstack_visual_indexes:
                    tapped.append(add(residual, hidden_states))
                continue
            hidden_states = layer(hidden_states)
            if index in self.deepstack_visual_indexes:
                tapped.append(hidden_states)
        if residual is not None:
            return self.post_layernorm(hidden_states, residual)[1], *tapped
        return self.post_layernorm(hidden_states), *tapped


class VisionStage(BaseLayer):
    """Tiles of all pages through vision: pixels [B, n, c, s, s] and which of them are real [B, n] -> tokens.

    Each page's tokens, the features of each tap for all pages, and, where held, the tower's last hidden states.
    """

    def __init__(self, vision_model: VisionModel, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.vision_model = vision_model

    def forward(
        self, pixel_values: ShapeTensor, pixel_attention_mask: ShapeTensor, route: str
    ) -> tuple[ShapeTensor, ...]:
        pages, views, *view = pixel_values.shape
        if self.traits(SiglipTraits).tiles_known:
            tiles = pixel_values.view(pages * views, *view)
            _, image_features, *deepstack_features = self.vision_model.call_remembered("vision_model", tiles, route)
            return *of_pages(image_features, pages), *deepstack_features
        tiles_per_sample = total(pixel_attention_mask, 1)
        real = gather(
            pixel_values.view(pages * views, *view), pages * views, aten="aten.index.Tensor", index=pixel_attention_mask
        )
        last_hidden_state, image_features, *deepstack_features = self.vision_model.call_remembered(
            "vision_model", real, route
        )
        del real
        mul(tiles_per_sample)  # tokens of each page
        return *of_pages(image_features, pages), *deepstack_features, last_hidden_state
