"""The masks that decoders make of positions, on shapes.

Source of the walk: `masking_utils` of transformers 5.23, and for the published code its own causal mask.
"""

from __future__ import annotations

from modelmeter.operators import add, arange, compare, copy_number, fill, gather, masked_fill, sub, to, where
from modelmeter.shape_tensor import ShapeTensor, Tape


def mask_indices(tape: Tape, batch: int, tokens: int, context: int) -> tuple[ShapeTensor, ...]:
    """Indices of pages, heads, queries and keys that a mask is a function of."""
    batch_arange = arange(tape, batch)
    head_arange = arange(tape, 1)
    q_arange = add(arange(tape, tokens))
    kv_arange = add(arange(tape, context))
    return batch_arange, head_arange, q_arange, kv_arange


def both(left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """Logical and."""
    return compare("aten.bitwise_and.Tensor", left, right)


def either(left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """Logical or."""
    return compare("aten.bitwise_or.Tensor", left, right)


def causal(queries: ShapeTensor, keys: ShapeTensor) -> ShapeTensor:
    """Which keys are not after which queries, [T, context]."""
    return compare("aten.le.Tensor", keys, queries.unsqueeze(1))


def sliding(queries: ShapeTensor, keys: ShapeTensor) -> ShapeTensor:
    """Causal, and within the window."""
    seen = fill(queries, queries.shape, "bool", "aten.new_ones.default").unsqueeze(1)
    seen = both(seen, compare("aten.gt.Tensor", keys, sub(queries).unsqueeze(1)))
    return both(seen, causal(queries, keys))


def prefilled(queries: ShapeTensor, keys: ShapeTensor) -> ShapeTensor:
    """Causal, and among the tokens of the prompt."""
    seen = fill(queries, queries.shape, "bool", "aten.new_ones.default").unsqueeze(1)
    seen = both(seen, causal(queries, keys))
    return both(seen, compare("aten.lt.Scalar", sub(keys)))


def sliding_mask(tape: Tape, batch: int, tokens: int, context: int) -> ShapeTensor:
    """Mask [B, 1, T, context] of a sliding window that keeps the prompt."""
    _batches, _heads, queries, keys = mask_indices(tape, batch, tokens, context)
    allowed = fill(queries, queries.shape, "bool", "aten.new_zeros.default").unsqueeze(1)
    allowed = either(allowed, sliding(queries, keys))
    allowed = either(allowed, prefilled(queries, keys))
    return allowed.unsqueeze(0).unsqueeze(0).expand(batch, -1, -1, -1)


def causal_mask(tape: Tape, batch: int, tokens: int, context: int) -> ShapeTensor:
    """Mask [B, 1, T, context] of full attention."""
    _batches, _heads, queries, keys = mask_indices(tape, batch, tokens, context)
    return causal(queries, keys).unsqueeze(0).unsqueeze(0).expand(batch, -1, -1, -1)


def in_one_block(block_ids: ShapeTensor, batches: ShapeTensor, queries: ShapeTensor, keys: ShapeTensor) -> ShapeTensor:
    """Which queries and keys [B, 1, T, T] are of the same block; block_ids [B, T]: -1 is none."""
    batch, tokens = block_ids.shape
    ids, aten = block_ids.view(-1), "aten.index.Tensor"
    q_group = gather(ids, batch, 1, tokens, 1, aten=aten, index=(batches, queries))
    kv_group = gather(ids, batch, 1, 1, tokens, aten=aten, index=(batches, keys))
    return both(compare("aten.eq.Tensor", q_group, kv_group), compare("aten.ge.Scalar", q_group))


def prefix_block(inputs_embeds: ShapeTensor, prefix: int) -> ShapeTensor:
    """The block [B, T] that each position of inputs [B, T, D] is of: the first `prefix` of one, the others of none."""
    block_ids = fill(inputs_embeds, inputs_embeds.shape[:2], "int64", "aten.full.default")
    copy_number(block_ids.narrow(1, 0, prefix))
    return block_ids


def blockwise_mask(block_ids: ShapeTensor) -> ShapeTensor:
    """Mask [B, 1, T, T] of positions in blocks [B, T]: causal, and within a block all see all."""
    batch, tokens = block_ids.shape
    batches, _heads, queries, keys = mask_indices(block_ids.tape, batch, tokens, tokens)
    allowed = fill(queries, (), "bool", "aten.new_zeros.default")
    allowed = either(allowed, causal(queries, keys))
    return either(allowed, in_one_block(block_ids, batches, queries, keys))


def additive(mask: ShapeTensor, dtype: str) -> ShapeTensor:
    """A mask as numbers to add: 0 where allowed, the least number where not."""
    zero = fill(mask, (), dtype, "aten.zeros.default")
    return where(mask, zero, fill(mask, (), dtype, "aten.scalar_tensor.default"))


def causal_only_mask(position_ids: ShapeTensor, batch: int, dtype: str) -> ShapeTensor | None:
    """The published code's mask [B, 1, T, T] to add, filled in float32; a single token needs none."""
    tokens = position_ids.shape[1]
    if tokens == 1:
        return None
    mask = fill(position_ids, (tokens, tokens), "float32", "aten.full.default")
    mask_cond = arange(position_ids.tape, tokens)
    masked_fill(mask, compare("aten.lt.Tensor", mask_cond, add(mask_cond).view(tokens, 1)))
    mask = to(mask, dtype)
    return mask.unsqueeze(0).unsqueeze(0).expand(batch, 1, tokens, tokens)
