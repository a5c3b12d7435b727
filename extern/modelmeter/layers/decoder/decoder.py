"""The decoder as a whole on shapes: masks, rotary tables, the layers, the final norm.

Source of the walk: `UnlimitedOcrTextModel.forward` of transformers 5.23, its mask functions included: the mask of the
sliding-window layers is built in every pass, whether a layer uses it or not. `Qwen3Model`, `Qwen2_5_VLTextModel` and
`Qwen3VLTextModel` build that of full attention alone. An engine builds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Unpack

from modelmeter.layers import BaseLayer, LayerList, State
from modelmeter.layers.basic import RMSNorm
from modelmeter.layers.code import Code, EngineTraits, Settings
from modelmeter.layers.decoder.attention import GroupedQueryAttention
from modelmeter.layers.decoder.block import DecoderLayer
from modelmeter.layers.decoder.cache import GrowingCache, Piece, ReferenceWindowCache
from modelmeter.layers.decoder.deepstack import Deepstack, Features, add_and_normalize, added
from modelmeter.layers.decoder.masks import additive, causal_mask, causal_only_mask, sliding_mask
from modelmeter.layers.decoder.mlp import GatedMLP
from modelmeter.layers.decoder.moe import Experts, MixtureOfExperts
from modelmeter.layers.decoder.rotary import RotaryEmbedding
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.operators import BIAS_ALIGNMENT, add, arange, mul
from modelmeter.shape_tensor import ShapeTensor, Tape


class Decoder(BaseLayer):
    """Decoder without embedding and head: x [B, T, D] over the cache -> [B, T, D].

    n_routed_experts: of each layer from `first_k_dense_replace` on; None: every layer is dense, and what else is said
    of experts goes without saying. sliding_window: positions that a generated token sees of those generated, itself
    included, beside all of the prefill (reference sliding attention, in every layer); None: it sees all. window_mask:
    the mask of such a window is made in every pass, used or not. head_dim, qkv_bias, qk_norm, norm_after_rotary: of
    `GroupedQueryAttention`. mrope_section, mrope_interleaved, in_pairs: of `RotaryEmbedding`; with sections the
    positions are given. output_norms, multiplied: of `DecoderLayer`; the embeddings are multiplied too. gate_up_joined:
    of a dense `GatedMLP`. layer_outputs_kept: the code has a name of its own for what a layer gives, which lives until
    the next layer has run even where features are added to it.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        num_key_value_heads: int,
        max_position_embeddings: int,
        n_routed_experts: int | None = None,
        num_experts_per_tok: int = 0,
        n_shared_experts: int = 0,
        moe_intermediate_size: int = 0,
        first_k_dense_replace: int = 0,
        sliding_window: int | None = None,
        window_mask: bool = True,
        head_dim: int | None = None,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        norm_after_rotary: bool = False,
        mrope_section: Sequence[int] = (),
        mrope_interleaved: bool = False,
        in_pairs: bool = False,
        output_norms: bool = False,
        multiplied: bool = False,
        gate_up_joined: bool = False,
        layer_outputs_kept: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.layer_outputs_kept = layer_outputs_kept
        self.multiplied = multiplied
        self.cache_kind = GrowingCache()
        if sliding_window is not None:
            self.cache_kind = ReferenceWindowCache(sliding_window, paged=self.traits(DecoderTraits).kv_paged)
        self.norm = RMSNorm(hidden_size, code=self.code)

        @cache
        def attention(code: Code) -> GroupedQueryAttention:
            return GroupedQueryAttention(
                hidden_size,
                num_attention_heads,
                num_key_value_heads,
                head_dim=head_dim,
                qkv_bias=qkv_bias,
                qk_norm=qk_norm,
                norm_after_rotary=norm_after_rotary,
                mrope_section=mrope_section,
                in_pairs=in_pairs,
                cache_kind=self.cache_kind,
                code=code,
            )

        @cache
        def layer(code: Code, *, sparse: bool) -> DecoderLayer:
            mlp: GatedMLP | MixtureOfExperts
            if sparse:
                assert n_routed_experts is not None
                mlp = MixtureOfExperts(
                    hidden_size,
                    moe_intermediate_size,
                    n_routed_experts,
                    num_experts_per_tok,
                    n_shared_experts,
                    code=code,
                )
            else:
                mlp = GatedMLP(hidden_size, intermediate_size, joined=gate_up_joined, code=code)
            made = DecoderLayer(
                hidden_size,
                self_attn=attention(code),
                mlp=mlp,
                output_norms=output_norms and not sparse,
                multiplied=multiplied and not sparse,
                code=code,
            )
            for norm in made.norms():
                norm.remember_with(self.norm)
            return made

        codes = [self.code.in_layer(index, num_hidden_layers) for index in range(num_hidden_layers)]
        dense_layers = num_hidden_layers if n_routed_experts is None else first_k_dense_replace
        each = [layer(code, sparse=index >= dense_layers) for index, code in enumerate(codes)]
        self.layers = LayerList(each, code=self.code)
        #: bytes of an expert that each of its grouped GEMMs reads; None: no layer has any, or not all the same
        self.expert_bytes: tuple[int, int] | None = None
        if n_routed_experts is not None:
            read = {expert_bytes(layer(code, sparse=True)) for code in codes[dense_layers:] or codes[-1:]}
            self.expert_bytes = read.pop() if len(read) == 1 else None
        self.kv_heads = attention(codes[0]).kv_heads
        #: experts of a layer and how many a token visits, those of this device; None: no layer has experts
        self.routed = None if n_routed_experts is None else self.of_device(n_routed_experts, num_experts_per_tok)
        self.head_dim = attention(codes[0]).head_dim
        self.window_mask = window_mask
        #: coordinates of a position: an image's tokens have one for each rotary section
        self.axes = len(mrope_section) or 1
        if not self.traits(DecoderTraits).rotary_per_layer:
            self.rotary_emb = RotaryEmbedding(
                self.head_dim,
                max_position_embeddings,
                mrope_section=mrope_section,
                mrope_interleaved=mrope_interleaved,
                in_pairs=in_pairs,
                code=self.code,
            )

    def forward(
        self,
        inputs_embeds: ShapeTensor,
        caches: Sequence[State],
        experts_hit: int | Fraction = 0,
        deepstack: Deepstack | None = None,
    ) -> ShapeTensor:
        """`experts_hit`: of a layer with experts. `deepstack`: what is added after the first layers."""
        tape = inputs_embeds.tape
        if self.multiplied and not self.traits(EngineTraits).at_its_best:
            inputs_embeds = mul(inputs_embeds)
        batch, tokens, _ = inputs_embeds.shape
        past = self.cache_kind.positions(caches[0])
        mask: ShapeTensor | None = None
        if self.traits(DecoderTraits).position_ids_given:
            position_ids = self.given_position_ids(tape, batch, tokens)
        elif self.traits(DecoderTraits).causal_mask_only:
            position_ids = arange(tape, tokens, aten="aten.arange.start").unsqueeze(0)
            mask = causal_only_mask(position_ids, batch, self.dtype) if self.attention == "eager" else None
        else:
            if self.axes > 1:
                position_ids = self.given_position_ids(tape, batch, tokens)
            else:
                position_ids = add(arange(tape, tokens)).unsqueeze(0)
            full, window = self.masks(tape, batch, tokens, past)  # both held to the end
            mask = window if self.windowed else full
        hidden_states = inputs_embeds
        positions = self.positions(position_ids)
        if self.traits(EngineTraits).add_norm_fused:
            residual = None
            features: Features | None = None
            for index, (layer, cache) in enumerate(zip(self.layers, caches, strict=True)):
                state = (positions, mask, cache, experts_hit)
                hidden_states, residual = layer(hidden_states, *state, residual, features)
                features = deepstack.of(index) if deepstack is not None else None
            assert residual is not None  # there is a layer
            return add_and_normalize(self.norm, hidden_states, residual, features)[1]  # type: ignore[no-any-return]
        for index, (layer, cache) in enumerate(zip(self.layers, caches, strict=True)):
            hidden_states = layer(hidden_states, positions, mask, cache, experts_hit)
            _kept = hidden_states if self.layer_outputs_kept else None
            features = deepstack.of(index) if deepstack is not None else None
            if features is not None:
                hidden_states = added(hidden_states, *features)
        return self.norm(hidden_states)  # type: ignore[no-any-return]

    def of_device(self, experts: int, top_k: int) -> tuple[int, int]:
        """Experts of a layer, and how many a token visits: all, or where devices have whole ones its even part."""
        parallel = self.code.parallel
        if not parallel.experts:
            return experts, top_k
        return parallel.share("n_routed_experts", experts), parallel.share("num_experts_per_tok", top_k)

    def empty_cache(self, further: int = 0) -> tuple[State, ...]:
        """A cache before the first pass, by layer; `further`: of layers behind the decoder's own."""
        return tuple(State() for _ in range(len(self.layers) + further))

    @property
    def windowed(self) -> bool:
        """Whether generated tokens see a window of those before them."""
        return isinstance(self.cache_kind, ReferenceWindowCache)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Where the law of decode steps changes."""
        fused_mask = self.attention == "flash" and not self.traits(DecoderTraits).position_ids_given
        return self.cache_kind.pieces(masked=fused_mask)

    def given_cache(
        self, tape: Tape, batch: int, context: int, generated: int = 0, further: int = 0
    ) -> tuple[State, ...]:
        """A cache of `context` positions, the last `generated` of them from steps; by layer, as `empty_cache`."""
        shape, dtype = (batch, self.kv_heads, self.head_dim), self.code.precision.kv
        layers = range(len(self.layers) + further)
        return tuple(self.cache_kind.given(tape, shape, context, generated, dtype) for _ in layers)

    @property
    def alignment(self) -> int:
        """Positions by which a step of several queries grows evenly: the rows of a fused kernel's mask are aligned."""
        fused_mask = self.attention == "flash" and not self.traits(DecoderTraits).position_ids_given
        return BIAS_ALIGNMENT if fused_mask else 1

    def positions(self, position_ids: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """What each layer's attention makes cos and sin of."""
        if self.traits(DecoderTraits).rotary_per_layer:
            return (position_ids,)
        if self.traits(DecoderTraits).cos_sin_cached:
            return position_ids, self.rotary_emb.buffers["cos_sin_cache"].on(position_ids.tape)
        return self.rotary_emb(position_ids)  # type: ignore[no-any-return]

    def given_position_ids(self, tape: Tape, batch: int, tokens: int) -> ShapeTensor:
        """Positions that come with the tokens: [B, T], or [axes, B, T]."""
        return tape.input((batch, tokens) if self.axes == 1 else (self.axes, batch, tokens), "int64")

    def masks(self, tape: Tape, batch: int, tokens: int, past: int) -> tuple[ShapeTensor | None, ShapeTensor | None]:
        """The mask of full attention, and that of a sliding window where it is made.

        A fused kernel takes none of a prompt, nor of a single query.
        """
        full = window = None
        context = past + tokens
        if self.attention != "flash":
            full = additive(causal_mask(tape, batch, tokens, context), self.dtype)
        elif (not isinstance(past, int) or past) and tokens != 1:  # queries over a cache: a kernel must be told what
            full = causal_mask(tape, batch, tokens, context)
        if self.window_mask:
            window = sliding_mask(tape, batch, tokens, context)
            if self.attention != "flash":
                window = additive(window, self.dtype)
        return full, window


def expert_bytes(layer: DecoderLayer) -> tuple[int, int] | None:
    """Bytes of an expert that each of a layer's grouped GEMMs reads; None: its experts run one by one."""
    experts = layer.mlp.experts if isinstance(layer.mlp, MixtureOfExperts) else None
    return experts.read_bytes(1) if isinstance(experts, Experts) else None
