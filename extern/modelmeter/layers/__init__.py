"""Layers on shapes: the base class, lists of layers, the layers every network has, and the executions."""

from modelmeter.layers.base_layer import BaseLayer, CacheSpec, InputSpec, LayerList, State, kv_bytes
from modelmeter.layers.basic import Conv2d, LayerNorm, Linear, after_sum, run_blocks
from modelmeter.layers.execution import EXECUTIONS, Execution

__all__ = [
    "EXECUTIONS",
    "BaseLayer",
    "CacheSpec",
    "Conv2d",
    "Execution",
    "InputSpec",
    "LayerList",
    "LayerNorm",
    "Linear",
    "State",
    "after_sum",
    "kv_bytes",
    "run_blocks",
]
