"""The decoder's attention on shapes, fused or in separate steps, with grouped KV heads and a growing cache.

Source of the walk: `UnlimitedOcrTextAttention`, `Qwen3Attention`, `Qwen2_5_VLAttention` and `HunYuanVLDenseV1Attention`
of transformers 5.23, and for the published code Llama's attention as it was when that code was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Unpack

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, Linear, State
from modelmeter.layers.basic import RMSNorm
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.cache import GrowingCache
from modelmeter.layers.decoder.rotary import (
    RotaryEmbedding,
    apply_rotary_in_float32,
    apply_rotary_pos_emb,
    rotary_rows,
    turn_pairs,
)
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.layers.quantisation import VALUE
from modelmeter.operators import (
    add,
    attention,
    cat,
    contiguous,
    div,
    empty_like,
    in_place_output,
    index_put,
    matmul,
    mul,
    reshape,
    scaled_dot_product_attention,
    softmax,
    to,
)
from modelmeter.shape_tensor import ACTIVATION, KV, ShapeTensor


class GroupedQueryAttention(BaseLayer):
    """Attention of x [B, T, D] over the cache and itself -> [B, T, D]; in separate steps the weights come too.

    The cache holds keys and values [B, KV heads, context, d]; new ones are copied behind it. head_dim: d; None: what is
    left of `hidden_size` for each head. qkv_bias: the GEMMs that make query, key and value have a bias. qk_norm: an
    RMSNorm over each head's d of query and key, before they turn or, with norm_after_rotary, after. mrope_section,
    in_pairs: of `RotaryEmbedding`.
    """

    remembered = True

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        num_key_value_heads: int,
        *,
        head_dim: int | None = None,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        norm_after_rotary: bool = False,
        mrope_section: Sequence[int] = (),
        in_pairs: bool = False,
        cache_kind: GrowingCache = GrowingCache(),  # noqa: B008 (frozen)
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.cache_kind = cache_kind
        self.mrope_section = tuple(mrope_section)
        self.turn = turn_pairs if in_pairs else apply_rotary_pos_emb
        if self.traits(DecoderTraits).rotary_in_float32:
            self.turn = apply_rotary_in_float32
        if num_heads % num_key_value_heads:
            raise ModelMeterError(
                f"{type(self).__name__}: num_attention_heads={num_heads} does not divide by "
                f"num_key_value_heads={num_key_value_heads} (remainder {num_heads % num_key_value_heads}); "
                f"decoder.num_key_value_heads may be "
                f"{', '.join(str(heads) for heads in range(1, num_heads + 1) if num_heads % heads == 0)}."
            )
        if head_dim is None and hidden_size % num_heads:
            raise ModelMeterError(
                f"{type(self).__name__}: hidden_size={hidden_size} does not divide by num_attention_heads={num_heads}."
            )
        self.head_dim = hidden_size // num_heads if head_dim is None else head_dim
        heads = self.code.parallel.share("num_attention_heads", num_heads)
        #: of this device
        self.kv_heads = self.code.parallel.kv_heads(num_key_value_heads)
        self.groups = heads // self.kv_heads
        query_size, kv_size = heads * self.head_dim, self.kv_heads * self.head_dim
        if self.traits(DecoderTraits).qkv_and_gate_up_fused:
            self.qkv_proj = Linear(
                hidden_size,
                query_size + 2 * kv_size,
                bias=qkv_bias,
                tensors={"q_proj": query_size, "k_proj": kv_size, VALUE: kv_size},
                split=OUTPUTS,
                code=self.code,
            )
        else:
            self.q_proj = Linear(hidden_size, query_size, bias=qkv_bias, code=self.code)
            self.k_proj = Linear(hidden_size, kv_size, bias=qkv_bias, code=self.code)
            self.v_proj = Linear(hidden_size, kv_size, bias=qkv_bias, tensors={VALUE: kv_size}, code=self.code)
        self.o_proj = Linear(query_size, hidden_size, bias=False, split=INPUTS, code=self.code)
        self.norm_after_rotary = norm_after_rotary
        self.q_norm = self.k_norm = None
        if qk_norm:
            self.q_norm = RMSNorm(self.head_dim, code=self.code)
            self.k_norm = RMSNorm(self.head_dim, code=self.code)
        if self.traits(DecoderTraits).rotary_per_layer:
            self.rotary_emb = RotaryEmbedding(self.head_dim, code=self.code)

    def forward(
        self,
        hidden_states: ShapeTensor,
        positions: tuple[ShapeTensor, ...],
        attention_mask: ShapeTensor | None,
        cache: State,
    ) -> tuple[ShapeTensor, ShapeTensor | None]:
        """`positions`: what `tables` makes cos and sin of."""
        batch, tokens, _ = hidden_states.shape
        if self.traits(DecoderTraits).kv_paged:
            attn_output = self.attend_paged(hidden_states, positions, cache)
            return self.o_proj(reshape(attn_output.transpose(1, 2), batch, tokens, -1)), None
        # the first keys and values may become the cache as they are
        kept = KV if self.traits(DecoderTraits).first_kv_uncopied and not cache.items else ACTIVATION
        query_states, key_states, value_states = self.project(hidden_states, kept)
        positions = self.tables(positions)
        query_states, key_states = self.turn(query_states, key_states, positions, kept)
        if self.norm_after_rotary and self.q_norm is not None and self.k_norm is not None:
            query_states = self.q_norm(query_states)
            key_states = self.k_norm(key_states)
        key_states, value_states = self.cache_kind.update(cache, key_states, value_states)
        attn_output, attn_weights = self.attend(query_states, key_states, value_states, attention_mask)
        attn_output = reshape(attn_output, batch, tokens, -1)
        attn_output = self.o_proj(attn_output)
        return attn_output, attn_weights if self.traits(DecoderTraits).eager_weights_returned else None

    def project(self, hidden_states: ShapeTensor, kept: str = ACTIVATION) -> tuple[ShapeTensor, ...]:
        """Query [B, H, T, d], key and value [B, KV heads, T, d]. `kept`: what the value is kept as.

        Of one GEMM, query and key are not normalised yet: that is for `attend_paged`.
        """
        by_head = (*hidden_states.shape[:2], -1, self.head_dim)
        if self.traits(DecoderTraits).qkv_and_gate_up_fused:
            heads = self.qkv_proj(hidden_states).view(*by_head).transpose(1, 2)
            kv_heads = heads.shape[1] // (self.groups + 2)
            ends = (self.groups * kv_heads, (self.groups + 1) * kv_heads, heads.shape[1])
            return tuple(heads.narrow(1, start, end) for start, end in pairwise((0, *ends)))
        query_states = self.q_proj(hidden_states).view(*by_head)
        if self.q_norm is not None and not self.norm_after_rotary:
            query_states = self.q_norm(query_states)
        query_states = query_states.transpose(1, 2)
        key_states = self.k_proj(hidden_states).view(*by_head)
        if self.k_norm is not None and not self.norm_after_rotary:
            key_states = self.k_norm(key_states)
        key_states = key_states.transpose(1, 2)
        value_states = self.v_proj(hidden_states, kept).view(*by_head).transpose(1, 2)
        return query_states, key_states, value_states

    def tables(self, positions: tuple[ShapeTensor, ...]) -> tuple[ShapeTensor, ...]:
        """Cos and sin: as given, built here of position ids, or looked up for them in the table beside them."""
        if self.traits(DecoderTraits).rotary_per_layer:
            return self.rotary_emb(*positions)  # type: ignore[no-any-return]
        if self.traits(DecoderTraits).cos_sin_cached:
            position_ids, cos_sin_cache = positions
            return rotary_rows(position_ids, cos_sin_cache, self.mrope_section)
        return positions

    def attend_paged(self, hidden_states: ShapeTensor, positions: tuple[ShapeTensor, ...], cache: State) -> ShapeTensor:
        """New keys and values written beside the cache, which stays where it is, and all of it read -> [B, H, T, d]."""
        projected = self.project(hidden_states)
        slots = self.cache_kind.slots(cache)
        if self.traits(DecoderTraits).cache_written_apart:
            query, key, value = projected
            if not self.norm_after_rotary:
                query, key = self.normalized(query, key)
            query, key = self.chain("rotary", self.turn_in_place, query, key, *positions)
            if self.norm_after_rotary:
                query, key = self.normalized(query, key)
            batch, tokens, _ = hidden_states.shape
            slot_mapping = hidden_states.tape.input((batch * tokens,), "int64")  # the engine brings it
            new = list(self.chain("write_cache", self.store, key, value, slots, slot_mapping))
            if self.traits(DecoderTraits).query_copied:
                projected = query, key, value  # names of the GEMM, which lives through the attention
                query = contiguous(query.transpose(1, 2)).transpose(1, 2)
        else:
            query, *new = self.chain("rotary_and_cache", self.turn_and_store, *projected, slots, *positions)
            del projected
        if not slots:
            cache.items += new  # keys and values in turn, a pair for each pass
        log_sum_exp = self.traits(DecoderTraits).log_sum_exp_written
        return attention(query, cache.items[::2], cache.items[1::2], log_sum_exp=log_sum_exp)

    def normalized(self, query: ShapeTensor, key: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """Query and key of one GEMM after their norms, if they have any: a kernel each, or one in their places."""
        if self.q_norm is None or self.k_norm is None:
            return query, key
        if self.traits(DecoderTraits).qk_norm_in_place:
            return self.chain("qk_norm", self.normalize_in_place, query, key)
        return self.q_norm(query), self.k_norm(key)

    def normalize_in_place(self, query: ShapeTensor, key: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """Query and key normalised, where they lie."""
        assert self.q_norm is not None and self.k_norm is not None
        return in_place_output(query, self.q_norm.normalize(query)), in_place_output(key, self.k_norm.normalize(key))

    def turn_in_place(
        self, query: ShapeTensor, key: ShapeTensor, *positions: ShapeTensor
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """Query and key turned by their positions, where they lie."""
        turned = self.turn(query, key, self.tables(positions))
        return in_place_output(query, turned[0]), in_place_output(key, turned[1])

    def store(
        self, key: ShapeTensor, value: ShapeTensor, slots: tuple[ShapeTensor, ...], slot_mapping: ShapeTensor
    ) -> tuple[ShapeTensor, ...]:
        """Key and value as the cache keeps them, in slots where there are."""
        kept = slots or tuple(empty_like(each, KV, self.code.precision.kv) for each in (key, value))
        for target, new in zip(kept, (key, value), strict=True):
            index_put(target, slot_mapping, new)
        return kept

    def turn_and_store(
        self,
        query: ShapeTensor,
        key: ShapeTensor,
        value: ShapeTensor,
        slots: tuple[ShapeTensor, ...],
        *positions: ShapeTensor,
    ) -> tuple[ShapeTensor, ...]:
        """Query turned by its positions; key, turned, and value as the cache keeps them, in slots where there are."""
        if self.q_norm is None or self.k_norm is None:
            query, key = self.turn(query, key, self.tables(positions), KV)
        elif self.norm_after_rotary:
            query, key = self.turn(query, key, self.tables(positions), ACTIVATION)
            query, key = self.q_norm.normalize(query), cat((self.k_norm.normalize(key),), 2, KV)
        else:
            query, key = self.q_norm.normalize(query), self.k_norm.normalize(key)
            query, key = self.turn(query, key, self.tables(positions), KV)
        kept = self.code.precision.kv
        new = to(key, kept, KV), to(cat((value,), 2, KV), kept, KV)
        return query, *(map(in_place_output, slots, new) if slots else new)

    def attend(
        self, query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, mask: ShapeTensor | None
    ) -> tuple[ShapeTensor, ShapeTensor | None]:
        """Attention over keys and values -> [B, T, H, d], and in separate steps the weights [B, H, T, context]."""
        if self.attention == "eager":
            return self.attend_eager(query, key, value, mask)
        return self.attend_fused(query, key, value, mask), None

    def attend_eager(
        self, query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, mask: ShapeTensor | None
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """Scores, mask, softmax in float32 and the weighted sum, one after another."""
        key, value = repeat_kv(key, self.groups), repeat_kv(value, self.groups)
        scale = mul if self.traits(DecoderTraits).eager_scores_multiplied else div
        attn_weights = scale(matmul(query, key.transpose(-2, -1)))
        if mask is not None:
            attn_weights = add(attn_weights, mask)
        attn_weights = to(softmax(attn_weights, "float32"), query.dtype)
        attn_output = matmul(attn_weights, value)
        return contiguous(attn_output.transpose(1, 2)), attn_weights

    def attend_fused(
        self, query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, mask: ShapeTensor | None
    ) -> ShapeTensor:
        """One fused kernel, which keeps no weights.

        Grouped KV heads are taken as they are, but beside a mask: then they are written out, or of one query the heads
        of a group become its rows.
        """
        if self.traits(DecoderTraits).flash_half_precision_only and query.dtype == "float32":
            raise ModelMeterError(
                f"{type(self).__name__}: execution={self.code.execution.name} calls FlashAttention 2, which takes half "
                f"precision only, and runtime.dtype=float32; set runtime.attention=eager or runtime.dtype=bfloat16."
            )
        batch, heads, queries, width = query.shape
        if mask is not None and self.groups > 1:
            if queries == 1:
                query = reshape(query, batch, -1, self.groups, width)
            else:
                key, value = repeat_kv(key, self.groups), repeat_kv(value, self.groups)
        attn_output = scaled_dot_product_attention(query, key, value, mask)
        attn_output = reshape(attn_output, batch, heads, queries, width)
        return contiguous(attn_output.transpose(1, 2))


def repeat_kv(x: ShapeTensor, groups: int) -> ShapeTensor:
    """Each KV head written `groups` times, [B, KV heads, S, d] -> [B, heads, S, d]."""
    if groups == 1:
        return x
    batch, heads, positions, width = x.shape
    return reshape(x.unsqueeze(2).expand(-1, -1, groups, -1, -1), batch, heads * groups, positions, width)
