"""How transformers' modules of several models are called with what the layers are given."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from transformers.cache_utils import DynamicCache

from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import Cache
from modelmeter.reference.whole_page import LOGITS_TO_KEEP, values_unchecked


def last_hidden_state(module: Any, *inputs: Any) -> object:
    """Call a module that returns a record."""
    result: object = module(*inputs).last_hidden_state
    return result


def call_attention(module: Any, hidden: Any, tables: Any, mask: Any, cache: Any, _hit: int = 0) -> object:
    """Call the decoder's attention, or a layer of it."""
    result: object = module(hidden, position_embeddings=tables, attention_mask=mask, past_key_values=cache)
    return result


def call_decoder(module: Any, hidden: Any, cache: Any, _hit: int) -> object:
    """Call the decoder on embeddings."""
    result: object = module(inputs_embeds=hidden, past_key_values=cache, use_cache=True).last_hidden_state
    return result


def run_whole(modeling: ModuleType, module: Any, input_ids: Any, cache: Any, head: str, **images: Any) -> Any:
    """Call the whole model, whose classes stand in `modeling`: the record that it returns."""
    with values_unchecked(modeling):
        return module(input_ids, past_key_values=cache, use_cache=True, logits_to_keep=LOGITS_TO_KEEP[head], **images)


def filled_cache(text: Any, cache: Cache, dtype: str) -> DynamicCache:
    """The library's cache of a text configuration, filled by its own updates: a prompt's, then those of steps."""
    held = DynamicCache(config=text)
    for positions in [cache.context - cache.generated, *[1] * cache.generated] if cache.context else []:
        for layer in range(text.num_hidden_layers):
            shape = (cache.batch, cache.kv_heads, positions, cache.head_dim)
            held.update(meta_tensor(shape, dtype), meta_tensor(shape, dtype), layer)
    return held
