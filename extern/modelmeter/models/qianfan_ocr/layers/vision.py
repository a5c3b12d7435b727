"""Qianfan-OCR's vision on shapes: InternViT over views of one size, pixel shuffle, a projector of two GEMMs.

Source of the walk: `QianfanOCRVisionModel`, `QianfanOCRMultiModalProjector` and `QianfanOCRModel.get_image_features` of
transformers 5.23; what an engine does otherwise are traits, whose sources docs/counted.md names.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any, Unpack

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, Conv2d, LayerList, LayerNorm, Linear, Settings, run_blocks
from modelmeter.layers.code import EngineTraits
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.layers.vision.clip import attention_over_sequences, fused_attention, strided_attention
from modelmeter.layers.vision.packed import PackedTraits, patches_of
from modelmeter.models.common.deep_encoder import FusionTraits
from modelmeter.models.common.packed_pages import of_pages
from modelmeter.models.qianfan_ocr.traits import InternVitTraits
from modelmeter.operators import (
    Parameter,
    add,
    arange,
    attention,
    cat,
    contiguous,
    gelu,
    in_place_output,
    matmul,
    mul,
    reshape,
    softmax,
    to,
    upsample_bicubic,
)
from modelmeter.shape_tensor import ShapeTensor


class PatchEmbeddings(BaseLayer):
    """Views [V, 3, s, s] -> patches [V, n, D], by a convolution whose kernel is as large as a patch, or by a GEMM."""

    def __init__(self, hidden_size: int, patch_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.patch_size = patch_size
        self.projection: BaseLayer
        if self.traits(PackedTraits).patches_by_product:
            self.projection = Linear(3 * patch_size**2, hidden_size, code=self.code)
        else:
            self.projection = Conv2d(3, hidden_size, patch_size, stride=patch_size, code=self.code)

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        if self.traits(PackedTraits).patches_by_product:
            patches = self.projection(patches_of(pixel_values, self.patch_size))
            return patches.view(pixel_values.shape[0], -1, patches.shape[1])  # type: ignore[no-any-return]
        embeddings = self.projection(pixel_values)
        return embeddings.flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class VisionEmbeddings(BaseLayer):
    """Views [V, 3, s, s] -> [V, n + 1, D]: a class token in front of the patches, positions added."""

    def __init__(self, hidden_size: int, patch_size: int, grid: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.cls_token = self.parameter(1, 1, hidden_size)
        self.position_embeddings = self.parameter(1, grid**2 + 1, hidden_size)
        self.patch_embeddings = PatchEmbeddings(hidden_size, patch_size, code=self.code)

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        if self.traits(InternVitTraits).names_kept:
            return self.chain("embed", self.embed, self.patch_embeddings(pixel_values))
        embeddings = self.patch_embeddings(pixel_values)
        embeddings = self.behind_class_token(embeddings)
        return self.with_positions(embeddings)

    def embed(self, patches: ShapeTensor) -> ShapeTensor:
        """Patches [V, n, D] behind the class token, positions added."""
        return self.with_positions(self.behind_class_token(patches))

    def behind_class_token(self, patches: ShapeTensor) -> ShapeTensor:
        """[V, n, D] -> [V, n + 1, D]."""
        cls_tokens = self.cls_token.on(patches.tape).expand(patches.shape[0], -1, -1)
        return cat((cls_tokens, patches), 1)

    def with_positions(self, embeddings: ShapeTensor) -> ShapeTensor:
        """[V, n + 1, D] and the positions of a view."""
        positions = self.position_embeddings.on(embeddings.tape)
        if self.traits(InternVitTraits).positions_resized:
            positions = self.resized(positions)
        return add(embeddings, positions)

    def resized(self, table: ShapeTensor) -> ShapeTensor:
        """The table [1, n + 1, D], its patches resized to as many."""
        _, rows, width = table.shape
        side = isqrt(rows - 1)
        patches = to(table.narrow(1, 1, rows), "float32").view(1, side, side, width).permute(0, 3, 1, 2)
        patches = upsample_bicubic(patches, side, side, antialias=False).view(1, width, rows - 1)
        return cat((table.narrow(1, 0, 1), to(patches.permute(0, 2, 1), self.dtype)), 1)


def eager_attention(query: ShapeTensor, key: ShapeTensor, value: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
    """Attention in separate steps, [V, H, T, d] each -> [V, T, H, d] and the weights, of the model's own type."""
    attn_weights = mul(matmul(query, key.transpose(2, 3)))
    attn_weights = softmax(attn_weights, query.dtype)
    attn_output = matmul(attn_weights, value)
    attn_output = contiguous(attn_output.transpose(1, 2))
    return attn_output, attn_weights


def attention_from_starts(
    query: ShapeTensor, key: ShapeTensor, value: ShapeTensor
) -> tuple[ShapeTensor, ShapeTensor | None]:
    """Views as sequences one behind another, [V, H, T, d] each -> [V, T, H, d]; where they begin is known."""
    return attention(query, (key,), (value,), log_sum_exp=True).transpose(1, 2), None


class VisionAttention(BaseLayer):
    """Multi-head attention of a view over itself, x [V, T, D] -> [V, T, D] and the weights, if eager."""

    def __init__(self, hidden_size: int, num_attention_heads: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        if hidden_size % num_attention_heads:
            raise ModelMeterError(
                f"{type(self).__name__}: vision.hidden_size={hidden_size} does not divide by "
                f"vision.num_attention_heads={num_attention_heads} (remainder {hidden_size % num_attention_heads})."
            )
        self.num_heads = self.code.parallel.share("num_heads of vision", num_attention_heads)
        width = hidden_size // num_attention_heads * self.num_heads
        if self.traits(InternVitTraits).qkv_fused:
            self.qkv = Linear(hidden_size, 3 * width, split=OUTPUTS, code=self.code)
        else:
            self.q_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
            self.k_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
            self.v_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
        self.projection_layer = Linear(width, hidden_size, split=INPUTS, code=self.code)

    def forward(self, hidden_states: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor | None]:
        views, positions, _ = hidden_states.shape
        projected = self.project(hidden_states)
        by_head = [each.view(views, positions, self.num_heads, -1) for each in projected]
        if self.traits(PackedTraits).copied:
            by_head = [contiguous(each) for each in by_head]
        queries, keys, values = (each.transpose(1, 2) for each in by_head)
        attn_output, attn_weights = self.attend(queries, keys, values)
        attn_output = reshape(attn_output, views, positions, -1)
        return self.projection_layer(attn_output), attn_weights

    def project(self, hidden_states: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """Query, key and value [V, T, D] each."""
        if self.traits(InternVitTraits).qkv_fused:
            return self.qkv(hidden_states).chunk(3, -1)  # type: ignore[no-any-return]
        return self.q_proj(hidden_states), self.k_proj(hidden_states), self.v_proj(hidden_states)

    @property
    def attend(self) -> Callable[..., tuple[ShapeTensor, ShapeTensor | None]]:
        """Attention as this code runs it."""
        starts_made = self.traits(InternVitTraits).starts_made
        if starts_made:
            return attention_over_sequences if starts_made == "layer" else attention_from_starts
        if self.traits(EngineTraits).attention_fused_only:
            return strided_attention
        return eager_attention if self.attention == "eager" else fused_attention


class VisionMLP(BaseLayer):
    """fc2(gelu(fc1(x))), x [V, T, D] -> [V, T, D]."""

    def __init__(self, hidden_size: int, intermediate_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        width = self.code.parallel.share("intermediate_size of vision", intermediate_size)
        self.fc1 = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
        self.fc2 = Linear(width, hidden_size, split=INPUTS, code=self.code)

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        hidden_states = self.fc1(hidden_states)
        hidden_states = self.chain("gelu", gelu, hidden_states)
        return self.fc2(hidden_states)  # type: ignore[no-any-return]


class VisionLayer(BaseLayer):
    """Pre-norm block whose two outputs are scaled, channel by channel, before they are added, x [V, T, D] -> same."""

    def __init__(
        self, hidden_size: int, num_attention_heads: int, intermediate_size: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.lambda_1 = self.parameter(hidden_size)
        self.lambda_2 = self.parameter(hidden_size)
        self.attn = VisionAttention(hidden_size, num_attention_heads, code=self.code)
        self.mlp = VisionMLP(hidden_size, intermediate_size, code=self.code)
        self.layernorm_before = LayerNorm(hidden_size, code=self.code)
        self.layernorm_after = LayerNorm(hidden_size, code=self.code)

    def forward(self, hidden_states: ShapeTensor, residual: ShapeTensor | None = None) -> Any:
        """`residual`: the block before's, where it is handed on; then so is this one's, beside the MLP's output."""
        if self.traits(EngineTraits).add_norm_fused:
            return self.forward_add_norm(hidden_states, residual)
        residual = hidden_states
        hidden_states = self.layernorm_before(hidden_states)
        hidden_states, _ = self.attn(hidden_states)
        hidden_states = scaled(self.lambda_1, hidden_states)
        hidden_states = add(hidden_states, residual)
        residual = hidden_states
        hidden_states = self.layernorm_after(hidden_states)
        hidden_states = self.mlp(hidden_states)
        hidden_states = scaled(self.lambda_2, hidden_states)
        return add(hidden_states, residual)

    def forward_add_norm(
        self, hidden_states: ShapeTensor, residual: ShapeTensor | None
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The same, each scaled sum in the norm that comes after it, the last one in the next block's.

        That one scales by the block before's numbers, which are as many.
        """
        if residual is None:
            residual, hidden_states = hidden_states, self.layernorm_before(hidden_states)
        else:
            residual, hidden_states = self.sum_and_norm(self.lambda_2, hidden_states, residual, self.layernorm_before)
        hidden_states, _ = self.attn(hidden_states)
        residual, hidden_states = self.sum_and_norm(self.lambda_1, hidden_states, residual, self.layernorm_after)
        return self.mlp(hidden_states), residual

    def sum_and_norm(
        self, scale: Parameter, x: ShapeTensor, residual: ShapeTensor, norm: LayerNorm
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The scaled sum, and its norm, in one kernel, in the places of the residual and of x."""

        def run(x: ShapeTensor, residual: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
            total = add(scaled(scale, x), residual)
            return in_place_output(residual, total), in_place_output(x, norm.normalize(total))

        return self.chain("scale_add_layer_norm", run, x, residual)

    def last_sum(self, hidden_states: ShapeTensor, residual: ShapeTensor) -> ShapeTensor:
        """What the last block leaves to be summed."""

        def run(hidden_states: ShapeTensor, residual: ShapeTensor) -> ShapeTensor:
            return add(scaled(self.lambda_2, hidden_states), residual)

        return self.chain("scale_add", run, hidden_states, residual)


def scaled(scale: Parameter, x: ShapeTensor) -> ShapeTensor:
    """scale [D] * x [V, T, D]."""
    return mul(scale.on(x.tape), x)


class VisionModel(BaseLayer):
    """InternViT: views [V, 3, s, s] -> [V, n + 1, D], the class token first.

    grid: patches a side of a view. There is no norm behind the blocks.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        patch_size: int,
        grid: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.embeddings = VisionEmbeddings(hidden_size, patch_size, grid, code=self.code)
        self.block = [VisionLayer(hidden_size, num_attention_heads, intermediate_size, code=self.code)]
        self.layers = LayerList(self.block * num_hidden_layers, code=self.code)

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        if self.traits(EngineTraits).add_norm_fused:
            return self.forward_add_norm(pixel_values)
        if not self.traits(InternVitTraits).names_kept:
            return run_blocks(self.layers, self.embeddings(pixel_values))
        embeddings = self.embeddings(pixel_values)
        if self.traits(InternVitTraits).starts_made == "pass":
            _starts = arange(pixel_values.tape, pixel_values.shape[0] + 1, dtype="int32")  # held to the end, too
        return run_blocks(self.layers, embeddings)

    def forward_add_norm(self, pixel_values: ShapeTensor) -> ShapeTensor:
        """The same, each block's last sum in the next one's norm."""
        hidden_states, residual = self.embeddings(pixel_values), None
        for block in self.layers:
            hidden_states, residual = block(hidden_states, residual)
        assert residual is not None  # there is a block
        return self.block[0].last_sum(hidden_states, residual)


class MultiModalProjector(BaseLayer):
    """linear_2(gelu(linear_1(norm(x)))), shuffled features [V, n, D'] -> image tokens [V, n, D]."""

    def __init__(self, shuffled_size: int, hidden_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.layer_norm = LayerNorm(shuffled_size, code=self.code)
        self.linear_1 = Linear(shuffled_size, hidden_size, code=self.code)
        self.linear_2 = Linear(hidden_size, hidden_size, code=self.code)

    def forward(self, image_features: ShapeTensor) -> ShapeTensor:
        hidden_states = self.layer_norm(image_features)
        hidden_states = self.linear_1(hidden_states)
        hidden_states = self.chain("gelu", gelu, hidden_states)
        return self.linear_2(hidden_states)  # type: ignore[no-any-return]


def pixel_shuffle(x: ShapeTensor, side: int) -> ShapeTensor:
    """Squares of `side` x `side` patches become one: [V, w, h, c] -> [V, w / side, h / side, side^2 c]."""
    views, width, height, channels = x.shape
    x = x.view(views, width, height // side, channels * side)
    x = contiguous(x.permute(0, 2, 1, 3))
    x = x.view(views, height // side, width // side, channels * side**2)
    return contiguous(x.permute(0, 2, 1, 3))


class VisionStage(BaseLayer):
    """The views of all pages through tower and projector, as one batch.

    pixels [V, 3, s, s] of so many pages -> the image tokens of all views [V, n, D], and the tower's output, which is
    held beside them. An engine holds each page's image tokens [n, D] alone.
    """

    def __init__(
        self, vision_tower: VisionModel, projector: MultiModalProjector, shuffled: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.vision_tower = vision_tower
        self.multi_modal_projector = projector
        self.shuffled = shuffled

    def forward(self, pixel_values: ShapeTensor, pages: int) -> tuple[ShapeTensor, ...]:
        fusion = self.traits(FusionTraits)
        if self.traits(PackedTraits).pages_looped:
            return tuple(self.page_rows(each) for each in of_pages(pixel_values, pages))
        if fusion.image_tokens_first or fusion.image_tokens_cached:
            tokens = self.tokens(self.shuffle(self.vision_tower.call_remembered("vision_tower", pixel_values)))
            return of_pages(tokens.view(-1, tokens.shape[2]), pages)
        last_hidden_state = self.vision_tower.call_remembered("vision_tower", pixel_values)
        vision_features = self.shuffle(last_hidden_state)
        return self.tokens(vision_features), last_hidden_state

    def page_rows(self, views: ShapeTensor) -> ShapeTensor:
        """A page's views, copied together, to its image tokens [n, D]."""
        pixel_values = cat((views,), 0)
        tokens = self.tokens(self.shuffle(self.vision_tower.call_remembered("vision_tower", pixel_values)))
        return tokens.view(-1, tokens.shape[2])

    def shuffle(self, hidden_states: ShapeTensor) -> ShapeTensor:
        """The tower's patches without the class token, shuffled, [V, T, D] -> [V, n, D']."""
        views, positions, _ = hidden_states.shape
        features = hidden_states.narrow(1, 1, positions)
        side = isqrt(positions - 1)
        features = reshape(features, views, side, side, -1)
        features = self.chain("pixel_shuffle", pixel_shuffle, features, self.shuffled)
        return features.view(views, -1, features.shape[3])

    def tokens(self, vision_features: ShapeTensor) -> ShapeTensor:
        """Image tokens of views."""
        return self.multi_modal_projector.call_remembered(  # type: ignore[no-any-return]
            "multi_modal_projector", vision_features
        )
