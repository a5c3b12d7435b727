"""Layers on shapes: the base class, lists of layers, the layers every network has, and the code that they are of."""

from modelmeter.layers.base_layer import BaseLayer, CacheSpec, InputSpec, LayerList
from modelmeter.layers.basic import Conv2d, Embedding, LayerNorm, Linear, LMHead, RMSNorm, run_blocks
from modelmeter.layers.code import Code, Execution, Settings
from modelmeter.layers.remembering import State, kv_bytes

__all__ = [
    "BaseLayer",
    "CacheSpec",
    "Code",
    "Conv2d",
    "Embedding",
    "Execution",
    "InputSpec",
    "LMHead",
    "LayerList",
    "LayerNorm",
    "Linear",
    "RMSNorm",
    "Settings",
    "State",
    "kv_bytes",
    "run_blocks",
]
