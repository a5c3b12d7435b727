"""Layers on shapes: the base class, lists of layers, the layers every network has, and the executions."""

from modelmeter.layers.base_layer import BaseLayer, InputSpec, LayerList, State
from modelmeter.layers.basic import Conv2d, LayerNorm, Linear
from modelmeter.layers.execution import EXECUTIONS, Execution

__all__ = ["EXECUTIONS", "BaseLayer", "Conv2d", "Execution", "InputSpec", "LayerList", "LayerNorm", "Linear", "State"]
