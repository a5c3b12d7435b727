"""The published network as PyTorch modules of our own, to measure its execution where the published files are not.

Written from the description of the published forward pass (the same operators in the same order, and the same names
held for as long), with the names of the checkpoint. It is no copy of those files, and loads no weights; measured with
the instruments here it gives every figure that was measured on them (test_reference_replica.py). Without autocast.
Routed experts: the rows fall evenly to the experts hit, which are declared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE

SAM_WIDTH, SAM_HEADS, SAM_MLP, SAM_WINDOW, SAM_GRID = 768, 12, 3072, 14, 64
SAM_BLOCKS, SAM_GLOBAL_BLOCKS = 12, (2, 5, 8, 11)
CLIP_WIDTH, CLIP_HEADS, CLIP_MLP, CLIP_BLOCKS, CLIP_POSITIONS = 1024, 16, 4096, 24, 257


# -- SAM ------------------------------------------------------------------------------------------------------------


def absolute_positions(table: Tensor, side: int) -> Tensor:
    """The table [1, n, n, D] for a grid of `side`."""
    if table.shape[1] == side:
        return table
    trained = table.permute(0, 3, 1, 2)
    trained = trained.to(torch.float32)
    resized = functional.interpolate(trained, size=(side, side), mode="bicubic", antialias=True).to(table.dtype)
    resized = resized.permute(0, 2, 3, 1)
    return resized


def relative_rows(side: int, table: Tensor) -> Tensor:
    """One row of the table [L, d] for each pair of positions: [side, side, d]."""
    length = 2 * side - 1
    rows = table
    if table.shape[0] != length:
        dtype = table.dtype
        table = table.to(torch.float32)
        rows = functional.interpolate(table[None].permute(0, 2, 1), size=length, mode="linear").to(dtype)
        rows = rows.reshape(-1, length).permute(1, 0)
    queries = torch.arange(side, device=table.device)[:, None] * 1.0
    keys = torch.arange(side, device=table.device)[None, :] * 1.0
    offsets = (queries - keys) + (side - 1) * 1.0
    return rows[offsets.long()]


def relative_terms(query: Tensor, table_h: Tensor, table_w: Tensor, side: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The bias's two terms, [B heads, HW, H, 1] and [B heads, HW, 1, W]."""
    rows_h = relative_rows(side[0], table_h)
    rows_w = relative_rows(side[1], table_w)
    batch, _, width = query.shape
    grid = query.reshape(batch, *side, width)
    term_h = torch.einsum("bhwc,hkc->bhwk", grid, rows_h)
    term_w = torch.einsum("bhwc,wkc->bhwk", grid, rows_w)
    term_h = term_h.unsqueeze(-1)
    term_w = term_w.unsqueeze(-2)
    term_h = term_h.reshape(batch, side[0] * side[1], side[0], 1)
    term_w = term_w.reshape(batch, side[0] * side[1], 1, side[1])
    return term_h, term_w


class SamAttention(nn.Module):  # type: ignore[misc]
    """Attention with decomposed relative positions as a bias."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(SAM_WIDTH, 3 * SAM_WIDTH)
        self.proj = nn.Linear(SAM_WIDTH, SAM_WIDTH)
        table = (2 * side - 1, SAM_WIDTH // SAM_HEADS)
        self.rel_pos_h = nn.Parameter(torch.zeros(table))
        self.rel_pos_w = nn.Parameter(torch.zeros(table))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, H, W, D] -> [B, H, W, D]."""
        batch, height, width, _ = x.shape
        positions = height * width
        qkv = self.qkv(x).reshape(batch, positions, 3, SAM_HEADS, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, batch * SAM_HEADS, positions, -1).unbind(0)
        term_h, term_w = relative_terms(q, self.rel_pos_h, self.rel_pos_w, (height, width))
        by_head = (batch, SAM_HEADS, positions)
        q, k, v = q.view(*by_head, -1), k.view(*by_head, -1), v.view(*by_head, -1)
        term_h, term_w = term_h.view(*by_head, height, 1), term_w.view(*by_head, 1, width)
        bias = (term_h + term_w).view(*by_head, positions)
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x.view(batch, SAM_HEADS, height, width, -1).permute(0, 2, 3, 1, 4).reshape(batch, height, width, -1)
        x = self.proj(x)
        return x


def partition(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """[B, H, W, D] -> [B windows, window, window, D], and the padded (H, W)."""
    batch, height, width, channels = x.shape
    below, right = -height % window, -width % window
    if below or right:
        x = functional.pad(x, (0, 0, 0, right, 0, below))
    rows, columns = (height + below) // window, (width + right) // window
    x = x.view(batch, rows, window, columns, window, channels)
    windows = x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window, window, channels)
    return windows, (height + below, width + right)


def unpartition(windows: Tensor, window: int, padded: tuple[int, int], size: Sequence[int]) -> Tensor:
    """[B windows, window, window, D] -> [B, H, W, D]."""
    rows, columns = padded[0] // window, padded[1] // window
    x = windows.view(-1, rows, columns, window, window, windows.shape[-1])
    x = x.permute(0, 1, 3, 2, 4, 5).contiguous().view(x.shape[0], *padded, -1)
    if padded != tuple(size):
        x = x[:, : size[0], : size[1], :].contiguous()
    return x


class SamMlp(nn.Module):  # type: ignore[misc]
    """Two GEMMs with GELU between."""

    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(SAM_WIDTH, SAM_MLP)
        self.lin2 = nn.Linear(SAM_MLP, SAM_WIDTH)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        return self.lin2(self.act(self.lin1(x)))


class SamBlock(nn.Module):  # type: ignore[misc]
    """A block over windows, or over the whole grid (window 0)."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(SAM_WIDTH)
        self.attn = SamAttention(window or SAM_GRID)
        self.norm2 = nn.LayerNorm(SAM_WIDTH)
        self.mlp = SamMlp()

    def forward(self, x: Tensor) -> Tensor:
        """x [B, H, W, D] -> [B, H, W, D]."""
        shortcut = x
        x = self.norm1(x)
        if self.window:
            size = x.shape[1:3]
            x, padded = partition(x, self.window)
        x = self.attn(x)
        if self.window:
            x = unpartition(x, self.window, padded, size)
        x = shortcut + x
        x = x + self.mlp(self.norm2(x))
        return x


class ChannelNorm(nn.Module):  # type: ignore[misc]
    """LayerNorm over the channels of [B, D, H, W], written out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, D, H, W] -> [B, D, H, W]."""
        centre = x.mean(1, keepdim=True)
        spread = (x - centre).pow(2).mean(1, keepdim=True)
        x = (x - centre) / torch.sqrt(spread + 1e-6)
        x = self.weight[:, None, None] * x + self.bias[:, None, None]
        return x


class PatchEmbed(nn.Module):  # type: ignore[misc]
    """Pixels to patches, seen channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, SAM_WIDTH, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 3, H, W] -> [B, H/16, W/16, D]."""
        x = self.proj(x)
        x = x.permute(0, 2, 3, 1)
        return x


class Sam(nn.Module):  # type: ignore[misc]
    """The SAM encoder: pixels [B, 3, s, s] -> [B, 1024, s/64, s/64]."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.pos_embed = nn.Parameter(torch.zeros(1, SAM_GRID, SAM_GRID, SAM_WIDTH))
        windows = [0 if index in SAM_GLOBAL_BLOCKS else SAM_WINDOW for index in range(SAM_BLOCKS)]
        self.blocks = nn.ModuleList([SamBlock(window) for window in windows])
        self.neck = nn.Sequential(
            nn.Conv2d(SAM_WIDTH, 256, 1, bias=False),
            ChannelNorm(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            ChannelNorm(256),
        )
        self.net_2 = nn.Conv2d(256, 512, 3, 2, 1, bias=False)
        self.net_3 = nn.Conv2d(512, 1024, 3, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The encoder; every map of the neck is kept by name."""
        x = self.patch_embed(x)
        x = x + absolute_positions(self.pos_embed, x.shape[1])
        for block in self.blocks:
            x = block(x)
        neck = self.neck(x.permute(0, 3, 1, 2))
        half = self.net_2(neck)
        quarter = self.net_3(half.clone())
        return quarter


# -- CLIP -----------------------------------------------------------------------------------------------------------


def clip_positions(table: Tensor, tokens: int) -> Tensor:
    """The table [1, n, D] that was looked up, for a grid of `tokens` - 1 patches."""
    rows = table.squeeze(0)
    first, patches = rows[:1], rows[1:]
    trained, side = math.isqrt(rows.shape[0] - 1), math.isqrt(tokens)
    if trained == side:
        return table
    patches = patches.view(1, trained, trained, -1).permute(0, 3, 1, 2).contiguous()
    patches = patches.to(torch.float32)
    resized = functional.interpolate(patches, size=(side, side), mode="bicubic", antialias=True).to(table.dtype)
    resized = resized.permute(0, 2, 3, 1)
    resized = resized.view(side * side, -1)
    together = torch.cat([first, resized], dim=0)
    return together.view(1, side * side + 1, -1)


class ClipEmbeddings(nn.Module):  # type: ignore[misc]
    """SAM's map as patches, a class token in front, positions added. The patch convolution never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(CLIP_WIDTH))
        self.patch_embedding = nn.Conv2d(3, CLIP_WIDTH, 14, 14, bias=False)
        self.position_embedding = nn.Embedding(CLIP_POSITIONS, CLIP_WIDTH)
        self.register_buffer("position_ids", torch.arange(CLIP_POSITIONS).expand((1, -1)))

    def forward(self, patches: Tensor) -> Tensor:
        """patches [B, D, g, g] -> [B, g*g + 1, D]."""
        batch = patches.shape[0]
        patches = patches.flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(batch, 1, -1)
        embeddings = torch.cat([first, patches], dim=1)
        embeddings = embeddings + clip_positions(self.position_embedding(self.position_ids), embeddings.shape[1])
        return embeddings


class ClipAttention(nn.Module):  # type: ignore[misc]
    """Attention whose queries, keys and values are views of one product."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv_proj = nn.Linear(CLIP_WIDTH, 3 * CLIP_WIDTH)
        self.out_proj = nn.Linear(CLIP_WIDTH, CLIP_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        batch, tokens, _ = x.shape
        qkv = self.qkv_proj(x)
        qkv = qkv.view(batch, tokens, 3, CLIP_HEADS, -1)
        q, k, v = (each.squeeze(2).permute(0, 2, 1, 3) for each in torch.split(qkv, 1, dim=2))
        out = functional.scaled_dot_product_attention(q, k, v)
        out = out.permute(0, 2, 1, 3).reshape(batch, tokens, -1)
        out = self.out_proj(out)
        return out


class ClipMlp(nn.Module):  # type: ignore[misc]
    """Two GEMMs with quick-GELU between."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(CLIP_WIDTH, CLIP_MLP)
        self.fc2 = nn.Linear(CLIP_MLP, CLIP_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return self.fc2(quick_gelu(self.fc1(x)))


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


class ClipBlock(nn.Module):  # type: ignore[misc]
    """A pre-norm block; the attention's output is kept by name to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = ClipAttention()
        self.mlp = ClipMlp()
        self.layer_norm1 = nn.LayerNorm(CLIP_WIDTH)
        self.layer_norm2 = nn.LayerNorm(CLIP_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        attended = self.self_attn(self.layer_norm1(x))
        middle = x + attended
        out = middle + self.mlp(self.layer_norm2(middle))
        return out


class ClipTransformer(nn.Module):  # type: ignore[misc]
    """The blocks, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([ClipBlock() for _ in range(CLIP_BLOCKS)])

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        for layer in self.layers:
            x = layer(x)
        return x


class Clip(nn.Module):  # type: ignore[misc]
    """The CLIP tower: SAM's map [B, D, g, g] -> [B, g*g + 1, D]."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = ClipEmbeddings()
        self.pre_layrnorm = nn.LayerNorm(CLIP_WIDTH)
        self.transformer = ClipTransformer()

    def forward(self, sam_map: Tensor) -> Tensor:
        """The tower; its embeddings are kept by name."""
        embeddings = self.embeddings(sam_map)
        normed = self.pre_layrnorm(embeddings)
        out = self.transformer(normed)
        return out


# -- decoder --------------------------------------------------------------------------------------------------------


Sizes = Mapping[str, int]
"""The decoder's architecture: `ARCHITECTURE`, or other values by the same names."""


@dataclass
class ReplicaCache:
    """Keys and values by layer: the first are kept as they come, later ones are concatenated."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    @property
    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        return [*self.keys, *self.values]

    def get_seq_length(self) -> int:
        """Positions held."""
        return int(self.keys[0].shape[-2]) if self.keys else 0

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Take new keys and values [B, KV heads, T, d]; what the layer now has."""
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], key], dim=-2)
            self.values[layer] = torch.cat([self.values[layer], value], dim=-2)
        return self.keys[layer], self.values[layer]


class Rotary(nn.Module):  # type: ignore[misc]
    """Rotary tables by a GEMM of frequencies and positions."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", torch.ones(head_dim // 2, dtype=torch.float32))

    def forward(self, dtype: torch.dtype, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """position_ids [1, T] -> cos and sin [1, T, d]."""
        buffer: Any = self.inv_freq
        frequencies = buffer[None, :, None].expand(position_ids.shape[0], -1, 1)
        positions = position_ids[:, None, :].float()
        half = (frequencies @ positions).transpose(1, 2)
        angles = torch.cat((half, half), dim=-1)
        cos = angles.cos()
        sin = angles.sin()
        cos = cos * 1.0
        sin = sin * 1.0
        return cos.to(dtype), sin.to(dtype)


def half_turned(x: Tensor) -> Tensor:
    """The halves of the last dimension exchanged, one with its sign changed."""
    middle = x.shape[-1] // 2
    return torch.cat((-x[..., middle:], x[..., :middle]), dim=-1)


def rotated(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys turned by their positions."""
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return (q * cos) + (half_turned(q) * sin), (k * cos) + (half_turned(k) * sin)


def repeated(x: Tensor, groups: int) -> Tensor:
    """Each KV head written `groups` times."""
    batch, heads, positions, width = x.shape
    if groups == 1:
        return x
    return x[:, :, None].expand(-1, -1, groups, -1, -1).reshape(batch, heads * groups, positions, width)


class DecoderAttention(nn.Module):  # type: ignore[misc]
    """Multi-head attention over the cache."""

    def __init__(self, sizes: Sizes, layer: int, eager: bool) -> None:
        super().__init__()
        width = sizes["hidden_size"]
        self.layer = layer
        self.eager = eager
        self.head_dim = width // sizes["num_attention_heads"]
        self.groups = sizes["num_attention_heads"] // sizes["num_key_value_heads"]
        kv_width = self.head_dim * sizes["num_key_value_heads"]
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, kv_width, bias=False)
        self.v_proj = nn.Linear(width, kv_width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.rotary_emb = Rotary(self.head_dim)

    def forward(self, x: Tensor, mask: Tensor | None, position_ids: Tensor, cache: ReplicaCache) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        batch, tokens, _ = x.shape
        by_head = (batch, tokens, -1, self.head_dim)
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q, k, v = q.view(by_head).transpose(1, 2), k.view(by_head).transpose(1, 2), v.view(by_head).transpose(1, 2)
        cos, sin = self.rotary_emb(v.dtype, position_ids)
        q, k = rotated(q, k, cos, sin)
        k, v = cache.update(k, v, self.layer)
        if self.eager:
            k, v = repeated(k, self.groups), repeated(v, self.groups)
            weights = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(self.head_dim)
            if mask is not None:
                weights = weights + mask
            weights = functional.softmax(weights, dim=-1, dtype=torch.float32).to(q.dtype)
            out = torch.matmul(weights, v)
            out = out.transpose(1, 2).contiguous()
        else:
            out = flash_attention(q, k, v).transpose(1, 2)
        out = out.reshape(batch, tokens, -1)
        out = self.o_proj(out)
        return out


def flash_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What FlashAttention 2 allocates, by PyTorch's own flash kernel: half precision only."""
    if q.dtype == torch.float32:
        raise ModelMeterError("replica: FlashAttention 2 takes half precision only; measure attention=eager.")
    out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True)[0]
    return out


class RmsNorm(nn.Module):  # type: ignore[misc]
    """RMSNorm in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        dtype = x.dtype
        x = x.to(torch.float32)
        squares = x.pow(2).mean(-1, keepdim=True)
        x = x * torch.rsqrt(squares + 1e-6)
        return self.weight * x.to(dtype)


class Mlp(nn.Module):  # type: ignore[misc]
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):  # type: ignore[misc]
    """The router, in float32."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.top_k = sizes["num_experts_per_tok"]
        self.weight = nn.Parameter(torch.zeros(sizes["n_routed_experts"], sizes["hidden_size"]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, D] -> indices and weights [B T, k] of the experts chosen."""
        x = x.view(-1, x.shape[-1])
        logits = functional.linear(x.type(torch.float32), self.weight.type(torch.float32))
        scores = logits.softmax(dim=-1, dtype=torch.float32)
        weights, chosen = torch.topk(scores, k=self.top_k, dim=-1, sorted=False)
        weights = weights * 1.0  # routed_scaling_factor
        return chosen, weights


class MixtureOfExperts(nn.Module):  # type: ignore[misc]
    """Routed experts one after another, and the shared ones. `experts_hit`: how many have rows."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes["hidden_size"]
        self.experts = nn.ModuleList(
            [Mlp(width, sizes["moe_intermediate_size"]) for _ in range(sizes["n_routed_experts"])]
        )
        self.gate = Gate(sizes)
        self.shared_experts = Mlp(width, sizes["moe_intermediate_size"] * sizes["n_shared_experts"])
        self.experts_hit = sizes["n_routed_experts"]

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        whole = x
        chosen, weights = self.gate(x)
        x = x.view(-1, x.shape[-1])
        out = self.routed(x, chosen, weights).view(*whole.shape)
        out = out + self.shared_experts(whole)
        return out

    def routed(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """x [n, D] -> [n, D], rows sorted by expert."""
        counts = chosen.new_zeros((chosen.shape[0], len(self.experts)))
        counts.scatter_(1, chosen, 1)
        on_device = counts.sum(dim=0)
        order = chosen.view(-1).argsort()
        rows = x[order // chosen.shape[1]]
        del on_device  # it goes to the host, where it would tell the rows of each expert
        hit = self.experts_hit
        outputs = []
        start = 0
        for index in range(hit):
            end = start + chosen.numel() // hit + (index < chosen.numel() % hit)
            mine = rows[start:end]
            out = self.experts[index](mine)
            outputs.append(out)
            start = end
        together = torch.cat(outputs, dim=0)
        in_order = torch.empty_like(together)
        in_order[order] = together
        by_choice = in_order.view(*chosen.shape, -1)
        return by_choice.type(weights.dtype).mul_(weights.unsqueeze(dim=-1)).sum(dim=1).type(in_order.dtype)


class DecoderLayer(nn.Module):  # type: ignore[misc]
    """A pre-norm layer, dense or with experts."""

    def __init__(self, sizes: Sizes, layer: int, eager: bool) -> None:
        super().__init__()
        dense = layer < sizes["first_k_dense_replace"]
        self.self_attn = DecoderAttention(sizes, layer, eager)
        self.mlp = Mlp(sizes["hidden_size"], sizes["intermediate_size"]) if dense else MixtureOfExperts(sizes)
        self.input_layernorm = RmsNorm(sizes["hidden_size"])
        self.post_attention_layernorm = RmsNorm(sizes["hidden_size"])

    def forward(self, x: Tensor, mask: Tensor | None, position_ids: Tensor, cache: ReplicaCache) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        residual = x
        x = self.input_layernorm(x)
        x = self.self_attn(x, mask, position_ids, cache)
        x = residual + x
        residual = x
        x = self.post_attention_layernorm(x)
        x = self.mlp(x)
        x = residual + x
        return x


def causal_mask(batch: int, tokens: int, like: Tensor) -> Tensor | None:
    """A mask [B, 1, T, T] to add, none for one token."""
    if tokens == 1:
        return None
    mask = torch.full((tokens, tokens), torch.finfo(like.dtype).min, device=like.device)
    places = torch.arange(tokens, device=like.device)
    mask.masked_fill_(places < (places + 1).view(tokens, 1), 0)
    mask = mask.to(like.dtype)
    return mask[None, None].expand(batch, 1, tokens, tokens)


class Decoder(nn.Module):  # type: ignore[misc]
    """The decoder without embedding and head."""

    def __init__(self, sizes: Sizes = ARCHITECTURE, *, eager: bool = False) -> None:
        super().__init__()
        self.eager = eager
        self.layers = nn.ModuleList([DecoderLayer(sizes, layer, eager) for layer in range(sizes["num_hidden_layers"])])
        self.norm = RmsNorm(sizes["hidden_size"])

    def forward(self, inputs_embeds: Tensor, cache: ReplicaCache) -> Tensor:
        """inputs_embeds [B, T, D] -> [B, T, D]; the cache grows by T positions."""
        batch, tokens = inputs_embeds.shape[:2]
        past = cache.get_seq_length()
        position_ids = torch.arange(past, past + tokens, dtype=torch.long, device=inputs_embeds.device)
        position_ids = position_ids.unsqueeze(0)
        mask = causal_mask(batch, tokens, inputs_embeds) if self.eager else None
        x = inputs_embeds
        for layer in self.layers:
            x = layer(x, mask, position_ids, cache)
        x = self.norm(x)
        return x

    def declare_experts_hit(self, experts_hit: int) -> None:
        """How many experts of a layer have rows in the next pass."""
        for layer in self.layers:
            if isinstance(layer.mlp, MixtureOfExperts):
                layer.mlp.experts_hit = experts_hit


# -- the whole model ------------------------------------------------------------------------------------------------


class Model(nn.Module):  # type: ignore[misc]
    """Embedding, vision, decoder: everything but the head."""

    def __init__(self, sizes: Sizes, eager: bool) -> None:
        super().__init__()
        width = sizes["hidden_size"]
        self.sam_model = Sam()
        self.vision_model = Clip()
        self.projector = nn.Linear(2 * CLIP_WIDTH, width)
        self.image_newline = nn.Parameter(torch.zeros(width))
        self.view_seperator = nn.Parameter(torch.zeros(width))
        self.embed_tokens = nn.Embedding(sizes["vocab_size"], width)
        self.decoder = Decoder(sizes, eager=eager)

    def forward(
        self,
        input_ids: Tensor | None,
        images: Sequence[tuple[Tensor, Tensor]],
        image_mask: Tensor | None,
        grids: Sequence[tuple[int, int]],
        cache: ReplicaCache | None,
    ) -> Tensor | tuple[Any, ...]:
        """Token ids [B, T] and each page's crops and global view -> [B, T, D].

        Without token ids the vision part alone, which returns what it holds at its end.
        """
        inputs_embeds = None if input_ids is None else self.embed_tokens(input_ids)
        crops = crops_sam = crops_clip = page_tokens = None
        if images:
            torch.sum(images[0][1])
        for page, (patches, image) in enumerate(images):
            page_tokens = None
            torch.sum(patches)
            columns, rows = grids[page]
            if columns * rows > 1:
                crops_sam = self.sam_model(patches)
                crops_clip = self.vision_model(crops_sam)
                crops = self.features(crops_clip, crops_sam)
                crops = self.projector(crops)
            whole_sam = self.sam_model(image)
            whole_clip = self.vision_model(whole_sam)
            whole = self.features(whole_clip, whole_sam)
            whole = self.projector(whole)
            side, width = math.isqrt(whole.shape[1]), whole.shape[2]
            whole = whole.view(side, side, width)
            whole = torch.cat([whole, self.image_newline[None, None, :].expand(side, 1, width)], dim=1)
            whole = whole.view(-1, width)
            if crops is None:
                joined = torch.cat([whole, self.view_seperator[None, :]], dim=0)
            else:
                side = math.isqrt(crops.shape[1])
                crops = crops.view(rows, columns, side, side, width).permute(0, 2, 1, 3, 4)
                crops = crops.reshape(rows * side, columns * side, width)
                crops = torch.cat([crops, self.image_newline[None, None, :].expand(rows * side, 1, width)], dim=1)
                crops = crops.view(-1, width)
                joined = torch.cat([crops, whole, self.view_seperator[None, :]], dim=0)
            page_tokens = torch.cat([joined], dim=0)
            if inputs_embeds is not None and image_mask is not None:
                inputs_embeds[page].masked_scatter_(image_mask[page].unsqueeze(-1), page_tokens)
        if inputs_embeds is None or cache is None:
            return page_tokens, joined, whole, whole_sam, whole_clip, crops, crops_sam, crops_clip
        return self.decoder(inputs_embeds, cache)

    @staticmethod
    def features(clip_tokens: Tensor, sam_map: Tensor) -> Tensor:
        """CLIP's tokens without the class token beside SAM's map, [B, g*g, 2048]."""
        return torch.cat((clip_tokens[:, 1:], sam_map.flatten(2).permute(0, 2, 1)), dim=-1)


class CausalModel(nn.Module):  # type: ignore[misc]
    """The whole model with its head over all positions, the logits in float32 at the end."""

    def __init__(self, sizes: Sizes = ARCHITECTURE, *, eager: bool = False) -> None:
        super().__init__()
        self.model = Model(sizes, eager)
        self.lm_head = nn.Linear(sizes["hidden_size"], sizes["vocab_size"], bias=False)

    def forward(
        self,
        input_ids: Tensor,
        images: Sequence[tuple[Tensor, Tensor]],
        image_mask: Tensor | None,
        grids: Sequence[tuple[int, int]],
        cache: ReplicaCache,
        head: str = "all",
    ) -> Tensor:
        """Logits [B, T or 1, V] in float32; head=none gives the hidden states."""
        x = self.model(input_ids, images, image_mask, grids, cache)
        if head == "none":
            return x
        logits = self.lm_head(x[:, -1:] if head == "last" else x)
        logits = logits.float()
        return logits
