"""What CLIP towers over a SAM map are made of, on shapes: embeddings, attention, blocks.

The map is their patch embedding. Classes have the names of the published code, in which NoTP says that no tensor
parallelism splits them over devices.
Source of the walk: `UnlimitedOcrVisionEncoder` of transformers 5.23; where the published code, or an engine at its
best, runs the same network differently, a trait of the execution says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from modelmeter.layers import BaseLayer, LayerList, LayerNorm, Linear, run_blocks
from modelmeter.layers.code import EngineTraits, Settings
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.operators import (
    add,
    arange,
    attention,
    cat,
    contiguous,
    gather,
    matmul,
    mul,
    reshape,
    scaled_dot_product_attention,
    sigmoid,
    softmax,
    to,
    upsample_bicubic,
)
from modelmeter.shape_tensor import WEIGHT, ShapeTensor

#: input channels and kernel of CLIP's own patch convolution, which never runs here
PATCH_CONVOLUTION = (3, 14, 14)


@dataclass(frozen=True, kw_only=True)
class ClipTraits:
    """What code of the CLIP tower does where code bases differ; the defaults are transformers'."""

    patch_convolution: bool = False
    """The CLIP tower has the parameters of a patch convolution that never runs."""
    qkv_fused: bool = False
    """Queries, keys and values of the CLIP tower are one product."""
    attention_kept: bool = False
    """A CLIP block keeps its attention's output by name to its end."""
    embeddings_kept: bool = False
    """The CLIP tower keeps its embeddings by name while the blocks run."""
    attention_over_sequences: bool = False
    """Attention of the CLIP tower is the FlashAttention package's function for sequences of any lengths, which is told
    where each view begins and writes its log-sum-exp; otherwise it is PyTorch's, or an engine's at its best."""
    positions_looked_up: bool = False
    """The CLIP tower looks its position table up by index even where it is resized then."""


class VisionEmbeddings(BaseLayer):
    """SAM map [B, D, g, g] -> [B, g*g + 1, D]: a class token in front, positions added."""

    def __init__(self, hidden_size: int, trained_grid: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.trained_grid = trained_grid
        self.class_embedding = self.parameter(hidden_size)
        if self.traits(ClipTraits).patch_convolution:
            self.patch_embedding = self.parameter(hidden_size, *PATCH_CONVOLUTION)
        self.position_embedding = self.parameter(trained_grid**2 + 1, hidden_size)

    def interpolate_pos_encoding(self, embeddings: ShapeTensor, grid: int) -> ShapeTensor:
        """Positions [1, g*g + 1, D]: looked up for the trained grid, else the patches' part resized in float32."""
        table = self.position_embedding.on(embeddings.tape)
        if self.traits(ClipTraits).positions_looked_up:
            return self.resized(self.looked_up(table), grid)
        if grid == self.trained_grid:
            return self.looked_up(table)
        position_embedding = table.unsqueeze(0)
        class_pos_embed = position_embedding.narrow(1, 0, 1)
        patch_pos_embed = position_embedding.narrow(1, 1, table.shape[0])
        patch_pos_embed = reshape(patch_pos_embed, 1, self.trained_grid, self.trained_grid, -1).permute(0, 3, 1, 2)
        patch_pos_embed = to(upsample_bicubic(to(patch_pos_embed, "float32"), grid, grid), self.dtype)
        patch_pos_embed = patch_pos_embed.permute(0, 2, 3, 1).view(1, grid * grid, -1)
        return cat((class_pos_embed, patch_pos_embed), 1)

    def looked_up(self, table: ShapeTensor) -> ShapeTensor:
        """The table [L, D] as [1, L, D], read row by row."""
        position_ids = table.tape.input((1, table.shape[0]), "int64")
        position_ids.storage.kind = WEIGHT  # a buffer of the module
        return gather(table, 1, table.shape[0], aten="aten.embedding.default", index=position_ids)

    def resized(self, abs_pos: ShapeTensor, grid: int) -> ShapeTensor:
        """Positions [1, L, D] that were looked up, for another grid where that is needed."""
        if grid == self.trained_grid:
            return abs_pos
        rows, width = abs_pos.shape[1:]
        abs_pos_new = abs_pos.view(rows, width)
        cls_token, old_pos_embed = abs_pos_new.narrow(0, 0, 1), abs_pos_new.narrow(0, 1, rows)
        old_pos_embed = contiguous(
            old_pos_embed.view(1, self.trained_grid, self.trained_grid, width).permute(0, 3, 1, 2)
        )
        old_pos_embed = to(old_pos_embed, "float32")
        new_pos_embed = to(upsample_bicubic(old_pos_embed, grid, grid), self.dtype)
        new_pos_embed = new_pos_embed.permute(0, 2, 3, 1).view(grid * grid, width)
        return cat((cls_token, new_pos_embed), 0).view(1, grid * grid + 1, width)

    def forward(self, patch_embeds: ShapeTensor) -> ShapeTensor:
        grid = patch_embeds.shape[2]
        return self.chain("embed", self.embed, patch_embeds.flatten(2).transpose(1, 2), grid)

    def embed(self, patch_embeds: ShapeTensor, grid: int) -> ShapeTensor:
        """Patches [B, g*g, D] behind the class token, positions added."""
        class_embeds = self.class_embedding.on(patch_embeds.tape).expand(patch_embeds.shape[0], 1, -1)
        embeddings = cat((class_embeds, patch_embeds), 1)  # [B, g*g + 1, D]
        return add(embeddings, self.interpolate_pos_encoding(embeddings, grid))


def eager_attention(
    query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, mask: ShapeTensor | None = None
) -> tuple[ShapeTensor, ShapeTensor]:
    """Attention in separate steps, [B, H, T, d] each -> [B, T, H, d] and the weights [B, H, T, T].

    mask: numbers to add to the scores.
    """
    attn_weights = mul(matmul(query, key.transpose(-2, -1)))
    if mask is not None:
        attn_weights = add(attn_weights, mask)
    attn_weights = to(softmax(attn_weights, "float32"), query.dtype)
    attn_output = matmul(attn_weights, value)
    attn_output = contiguous(attn_output.transpose(1, 2))
    return attn_output, attn_weights


def fused_attention(
    query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, mask: ShapeTensor | None = None
) -> tuple[ShapeTensor, None]:
    """Attention in one kernel, [B, H, T, d] each -> [B, T, H, d]. mask: numbers to add to the scores."""
    attn_output = scaled_dot_product_attention(query, key, value, mask)
    return contiguous(attn_output.transpose(1, 2)), None


def strided_attention(query: ShapeTensor, key: ShapeTensor, value: ShapeTensor) -> tuple[ShapeTensor, None]:
    """An engine's attention, [B, H, T, d] each -> [B, T, H, d]."""
    return attention(query, (key,), (value,)).transpose(1, 2), None


def attention_over_sequences(
    query: ShapeTensor, key: ShapeTensor, value: ShapeTensor
) -> tuple[ShapeTensor, ShapeTensor | None]:
    """Views as sequences one behind another, [B, H, T, d] each -> [B, T, H, d]."""
    _starts = arange(query.tape, query.shape[0] + 1, dtype="int32")
    return attention(query, (key,), (value,), log_sum_exp=True).transpose(1, 2), None


class NoTPAttention(BaseLayer):
    """Multi-head attention, x [B, T, D] -> [B, T, D] and the weights, if eager."""

    def __init__(self, hidden_size: int, num_heads: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.num_heads = self.code.parallel.share("num_heads of vision", num_heads)
        width = hidden_size // num_heads * self.num_heads
        if self.traits(ClipTraits).qkv_fused:
            self.qkv_proj = Linear(hidden_size, 3 * width, split=OUTPUTS, code=self.code)
        else:
            self.k_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
            self.v_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
            self.q_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
        self.out_proj = Linear(width, hidden_size, split=INPUTS, code=self.code)

    def forward(self, hidden_states: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor | None]:
        if self.traits(ClipTraits).qkv_fused:
            return self.forward_qkv_fused(hidden_states), None
        return self.forward_qkv_apart(hidden_states)

    def forward_qkv_fused(self, x: ShapeTensor) -> ShapeTensor:
        """Queries, keys and values as views of one GEMM, which is kept by name."""
        batch, positions, _ = x.shape
        xqkv = self.qkv_proj(x).view(batch, positions, 3, self.num_heads, -1)
        query, key, value = (each.permute(0, 2, 1, 3) for each in xqkv.unbind(2))
        output, _ = self.attend(query, key, value)
        return self.out_proj(reshape(output, batch, positions, -1))  # type: ignore[no-any-return]

    @property
    def attend(self) -> Callable[..., tuple[ShapeTensor, ShapeTensor | None]]:
        """Attention as this code runs it."""
        if self.traits(ClipTraits).attention_over_sequences:
            return attention_over_sequences
        if self.traits(EngineTraits).attention_fused_only:
            return strided_attention
        return (
            eager_attention
            if self.attention == "eager" and self.traits(EngineTraits).vision_takes_eager
            else fused_attention
        )

    def forward_qkv_apart(self, hidden_states: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor | None]:
        """Three GEMMs; the weights of eager attention are handed on."""
        batch, positions, _ = hidden_states.shape
        by_head = (batch, positions, self.num_heads, -1)
        queries = self.q_proj(hidden_states)
        keys = self.k_proj(hidden_states)
        values = self.v_proj(hidden_states)
        queries = queries.view(*by_head).transpose(1, 2)
        keys = keys.view(*by_head).transpose(1, 2)
        values = values.view(*by_head).transpose(1, 2)
        attn_output, attn_weights = self.attend(queries, keys, values)
        attn_output = reshape(attn_output, batch, positions, -1)
        attn_output = self.out_proj(attn_output)
        return attn_output, attn_weights


def quick_gelu(x: ShapeTensor) -> ShapeTensor:
    """x * sigmoid(1.702 x)."""
    return mul(x, sigmoid(mul(x)))


class NoTPFeedForward(BaseLayer):
    """fc2(quick_gelu(fc1(x))), x [B, T, D] -> [B, T, D]; quick-GELU is written out, or one kernel."""

    def __init__(self, hidden_size: int, ffn_hidden_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        width = self.code.parallel.share("intermediate_size of vision", ffn_hidden_size)
        self.fc1 = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
        self.fc2 = Linear(width, hidden_size, split=INPUTS, code=self.code)

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        hidden_states = self.fc1(hidden_states)
        hidden_states = self.chain("quick_gelu", quick_gelu, hidden_states)
        return self.fc2(hidden_states)  # type: ignore[no-any-return]


class NoTPTransformerBlock(BaseLayer):
    """Pre-norm block, x [B, T, D] -> [B, T, D]."""

    #: its second part
    feed_forward: ClassVar[Callable[..., BaseLayer]] = NoTPFeedForward

    def __init__(self, hidden_size: int, num_heads: int, ffn_hidden_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.self_attn = NoTPAttention(hidden_size, num_heads, code=self.code)
        self.layer_norm1 = LayerNorm(hidden_size, code=self.code)
        self.mlp = type(self).feed_forward(hidden_size, ffn_hidden_size, code=self.code)
        self.layer_norm2 = LayerNorm(hidden_size, code=self.code)

    def forward(self, hidden_states: ShapeTensor, residual: ShapeTensor | None = None) -> Any:
        """`residual`: the block before's, where it is handed on; then so is this one's, beside the MLP's output."""
        if self.traits(EngineTraits).add_norm_fused:
            return self.forward_add_norm(hidden_states, residual)
        if self.traits(ClipTraits).attention_kept:
            return self.forward_residual_kept(hidden_states)
        residual = hidden_states
        hidden_states = self.layer_norm1(hidden_states)
        hidden_states, _ = self.self_attn(hidden_states)
        hidden_states = add(residual, hidden_states)
        residual = hidden_states
        hidden_states = self.layer_norm2(hidden_states)
        hidden_states = self.mlp(hidden_states)
        return add(residual, hidden_states)

    def forward_residual_kept(self, x: ShapeTensor) -> ShapeTensor:
        """The same, with the attention's output kept by name to the end."""
        residual, _ = self.self_attn(self.layer_norm1(x))
        h = add(x, residual)
        return add(h, self.mlp(self.layer_norm2(h)))

    def forward_add_norm(
        self, hidden_states: ShapeTensor, residual: ShapeTensor | None
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The same, each sum in the norm that comes after it, the last one in the next block's."""
        if residual is None:
            residual, hidden_states = hidden_states, self.layer_norm1(hidden_states)
        else:
            residual, hidden_states = self.layer_norm1(hidden_states, residual)
        hidden_states, _ = self.self_attn(hidden_states)
        residual, hidden_states = self.layer_norm2(hidden_states, residual)
        return self.mlp(hidden_states), residual


class NoTPTransformer(BaseLayer):
    """The blocks, one after another; their first input is held by name all along."""

    def __init__(self, block: NoTPTransformerBlock, num_layers: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.layers = LayerList([block] * num_layers, code=self.code)

    def forward(self, inputs_embeds: ShapeTensor) -> ShapeTensor:
        return run_blocks(self.layers, inputs_embeds)
