"""Rotary position embedding on shapes.

Source of the walk: `UnlimitedOcrTextRotaryEmbedding`, `Qwen2_5_VLRotaryEmbedding`, `Qwen3VLTextRotaryEmbedding`,
`HunYuanVLRotaryEmbedding` and
`apply_rotary_pos_emb` of transformers 5.23, and for the published code Llama's rotary embedding as it was when that
code was written.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final, Unpack

from modelmeter.layers import BaseLayer
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.operators import Parameter, add, cat, clone, copy_over, cos, gather, matmul, mul, neg, sin, stack, to
from modelmeter.shape_tensor import ACTIVATION, ShapeTensor

#: coordinates of a position in multimodal rotary embedding: time, row, column
MROPE_AXES: Final = 3


class RotaryEmbedding(BaseLayer):
    """Position ids [1, T] -> cos and sin [1, T, d], built in float32, then cast to the model's type.

    mrope_section: frequencies in each section of the d/2, which turn by the coordinates of position ids [axes, B, T] in
    turn, one a section -> cos and sin [B, T, d]; none: one coordinate for all. mrope_interleaved: frequencies of the
    coordinates alternate, and the first's take the others' places where a section has come to its end. in_pairs: of
    sections, each angle stands twice in a row, for two neighbours that turn together; otherwise the second is half of d
    behind the first.

    The published code multiplies frequencies and positions as matrices, which costs 2 * d/2 * T FLOPs. An engine keeps
    the cosines and sines of all positions, side by side, and reads the rows of the positions that it needs.
    """

    remembered = True

    def __init__(
        self,
        head_dim: int,
        max_position_embeddings: int = 8192,
        *,
        mrope_section: Sequence[int] = (),
        mrope_interleaved: bool = False,
        in_pairs: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.sections = tuple(accumulate(mrope_section, initial=0))
        self.interleaved = mrope_interleaved
        self.in_pairs = in_pairs
        # a buffer, not a parameter: it is read, but no checkpoint holds it
        if self.traits(DecoderTraits).cos_sin_cached:
            self.buffers = {"cos_sin_cache": self.parameter(max_position_embeddings, head_dim)}
        else:
            self.buffers = {"inv_freq": Parameter(head_dim // 2, dtype="float32")}

    def forward(self, position_ids: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        inv_freq = self.buffers["inv_freq"].on(position_ids.tape)
        if self.traits(DecoderTraits).rotary_per_layer:
            return self.forward_by_product(inv_freq, position_ids)
        if len(self.sections) > 1:
            return self.forward_by_section(inv_freq, position_ids)
        freqs = mul(to(position_ids.unsqueeze(2), "float32"), inv_freq)  # [1, T, d/2]
        emb = cat((freqs, freqs), -1)
        cosine = mul(cos(emb))
        sine = mul(sin(emb))
        return to(cosine, self.dtype), to(sine, self.dtype)

    def forward_by_section(self, inv_freq: ShapeTensor, position_ids: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """The same tables, each section of frequencies by one of the coordinates."""
        freqs = mul(to(position_ids.unsqueeze(3), "float32"), inv_freq)  # [axes, B, T, d/2]
        cosine = mul(cos(freqs))
        sine = mul(sin(freqs))
        sine = self.by_section(sine)
        cosine = self.by_section(cosine)
        return to(cosine, self.dtype), to(sine, self.dtype)

    def by_section(self, tables: ShapeTensor) -> ShapeTensor:
        """[axes, B, T, d/2] -> [B, T, d]: of each section one coordinate's, and all of it twice."""
        if self.traits(DecoderTraits).sections_doubled:
            tables = cat((tables, tables), -1)
            ends_of = [(2 * start, 2 * end) for start, end in pairwise(self.sections)]
            return cat([tables.narrow(-1, *ends).select(0, index) for index, ends in enumerate(ends_of)], -1)
        if self.interleaved:
            freq = tables.select(0, 0)  # the others' are written over it
            for axis, (start, end) in enumerate(pairwise(self.sections)):
                if axis:
                    places = (MROPE_AXES, -1, axis, MROPE_AXES * (end - start))
                    copy_over(freq.every(*places), tables.select(0, axis).every(*places))
            return cat((freq, freq), -1)
        sections = enumerate(pairwise(self.sections))
        freq = cat([tables.narrow(-1, *ends).select(0, index) for index, ends in sections], -1)
        if self.in_pairs:
            return clone(freq.unsqueeze(3).expand(-1, -1, -1, 2)).flatten(2)
        return cat((freq, freq), -1)

    def forward_by_product(self, inv_freq: ShapeTensor, position_ids: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """The same tables, from a GEMM of [1, d/2, 1] and [1, 1, T]."""
        position_ids_expanded = to(position_ids.unsqueeze(1), "float32")
        freqs = matmul(inv_freq.view(1, -1, 1), position_ids_expanded).transpose(1, 2)
        emb = cat((freqs, freqs), -1)
        cosine = cos(emb)
        sine = sin(emb)
        cosine = mul(cosine)
        sine = mul(sine)
        return to(cosine, self.dtype), to(sine, self.dtype)


def rotary_rows(
    position_ids: ShapeTensor, cos_sin_cache: ShapeTensor, mrope_section: Sequence[int] = ()
) -> tuple[ShapeTensor, ...]:
    """Cos and sin [B, T, d] of positions [B, T], from the table [positions, d]: d/2 cosines and d/2 sines a row.

    With sections the positions are [axes, B, T], and of each section the row of one coordinate is read.
    """
    if mrope_section:
        return tuple(sections_of_rows(position_ids, half, mrope_section) for half in cos_sin_cache.chunk(2, -1))
    rows = gather(cos_sin_cache, *position_ids.shape, aten="aten.index.Tensor", index=position_ids)
    return tuple(cat((half, half), -1) for half in rows.chunk(2, -1))


def sections_of_rows(position_ids: ShapeTensor, table: ShapeTensor, mrope_section: Sequence[int]) -> ShapeTensor:
    """Positions [axes, B, T], table [positions, d/2] -> [B, T, d]: each section by one of the coordinates."""
    half = []
    for index, (start, end) in enumerate(pairwise(accumulate(mrope_section, initial=0))):
        coordinate = position_ids.select(0, index)
        section = table.narrow(1, start, end)
        half.append(gather(section, *coordinate.shape, aten="aten.index.Tensor", index=coordinate))
    return cat((*half, *half), -1)


def rotate_half(x: ShapeTensor) -> ShapeTensor:
    """The halves of the last dimension exchanged, the second with its sign changed."""
    x1, x2 = x.chunk(2, -1)
    return cat((neg(x2), x1), -1)


def rotate_pairs(x: ShapeTensor) -> ShapeTensor:
    """The two of each pair of neighbours exchanged, the second with its sign changed."""
    axis = len(x.shape)
    pairs = x.view(*x.shape[:-1], -1, 2)
    return stack((neg(pairs.select(axis, 1)), pairs.select(axis, 0))).flatten(axis - 1)


def turn_pairs(
    query: ShapeTensor, key: ShapeTensor, tables: tuple[ShapeTensor, ...], key_kind: str = ACTIVATION
) -> tuple[ShapeTensor, ShapeTensor]:
    """Query and key [B, H, T, d] turned by their positions, neighbours together.

    The code puts what of a head does not turn behind it, a copy even where nothing is left.
    Source: `rotate_half_llm` and `apply_rotary_pos_emb` of transformers 5.23's `glm_ocr`.
    """
    cosine, sine = (table.unsqueeze(1) for table in tables)
    q_embed = add(mul(query, cosine), mul(rotate_pairs(query), sine))
    k_embed = add(mul(key, cosine), mul(rotate_pairs(key), sine))
    q_embed = cat((q_embed,), -1)
    k_embed = cat((k_embed,), -1, key_kind)
    return q_embed, k_embed


def apply_rotary_pos_emb(
    query: ShapeTensor, key: ShapeTensor, tables: tuple[ShapeTensor, ...], key_kind: str = ACTIVATION
) -> tuple[ShapeTensor, ShapeTensor]:
    """Query and key [B, H, T, d] turned by their positions.

    tables: cos and sin. key_kind: what the turned keys are kept as.
    """
    cosine, sine = (table.unsqueeze(1) for table in tables)
    q_embed = add(mul(query, cosine), mul(rotate_half(query), sine))
    k_embed = add(mul(key, cosine), mul(rotate_half(key), sine), key_kind)
    return q_embed, k_embed


def apply_rotary_in_float32(
    query: ShapeTensor, key: ShapeTensor, tables: tuple[ShapeTensor, ...], key_kind: str = ACTIVATION
) -> tuple[ShapeTensor, ShapeTensor]:
    """The same in float32, and the results cast back. Source: `apply_rotary_pos_emb` of `hunyuan_vl`."""
    dtype = query.dtype
    query, key = to(query, "float32"), to(key, "float32")
    wide = tuple(to(table, "float32") for table in tables)
    q_embed, k_embed = apply_rotary_pos_emb(query, key, wide, key_kind)
    return to(q_embed, dtype), to(k_embed, dtype)
