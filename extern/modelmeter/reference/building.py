"""What references are built with: element types, a device, and the tensors of a cache.

It needs torch alone, so that published files can be measured under the transformers that they were written for.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from modelmeter.errors import ModelMeterError, near

DTYPES: Mapping[str, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}

ATTENTION: Mapping[str, str] = {"flash": "sdpa", "eager": "eager"}
"""The attention asked for, and transformers' name for it; "flash" is to be run under `FusedAttention`."""


def choice(name: str, value: str, options: Mapping[str, Any]) -> Any:
    """What `options` holds for `value`; raises `ModelMeterError` for what it does not hold."""
    if value not in options:
        raise ModelMeterError(f"reference: no {name} {value!r}; {near(str(value), options)}")
    return options[value]


@contextmanager
def built_on(device: str, dtype: str) -> Iterator[None]:
    """Build on a device, with this default element type, for the length of the context."""
    chosen = choice("dtype", dtype, DTYPES)
    before = torch.get_default_dtype()
    torch.set_default_dtype(chosen)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def on_meta(dtype: str) -> Iterator[None]:
    """Build on the meta device, with this default element type, for the length of the context."""
    with built_on("meta", dtype):
        yield


#: what a layer of the library's caches holds
CACHED = ("prefill_keys", "prefill_values", "keys", "values")


def cache_tensors(cache: Any) -> list[Tensor]:
    """The keys and values that a `DynamicCache` holds, layer by layer; none before its first update."""
    if hasattr(cache, "key_cache"):  # transformers before 4.54
        return [*cache.key_cache, *cache.value_cache]
    held = (getattr(layer, name, None) for layer in cache.layers for name in CACHED)
    return [tensor for tensor in held if tensor is not None]
