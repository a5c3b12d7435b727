"""How a layer's call is remembered: what it was given, what it did, what it left behind.

A call depends on the geometry of its arguments alone, and so may be repeated wherever that comes again: its walk is
noted as it was, and fresh tensors stand for what it returned.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from modelmeter.shape_tensor import KV, ShapeTensor, Storage
from modelmeter.sizes import Condition, Variables
from modelmeter.walk import Shape, Walk


class State:
    """Tensors that calls replace and that outlive them, such as the keys and values of one decoder layer."""

    __slots__ = ("items",)

    def __init__(self, *items: ShapeTensor) -> None:
        self.items = list(items)


def kv_bytes(state: State) -> int:
    """Bytes of the KV cache that a state holds."""
    return sum(item.storage.nbytes for item in state.items if item.storage.kind == KV)


class Output(NamedTuple):
    """Geometry of a tensor that a walk returned: a view of an argument, or of a storage that the walk made."""

    argument: int | None
    storage: int
    storage_bytes: int
    kind: str
    shape: Shape
    strides: Shape
    dtype: str
    offset: int  # from the argument's, where it is a view of one


class Remembered(NamedTuple):
    """A call that was walked."""

    walk: Walk
    outputs: tuple[Output, ...]  # what it returned, then what it left in each state
    returned: tuple[bool, ...]  # of each value returned, whether it is a tensor; else it is None
    returns_tuple: bool
    state_items: tuple[int, ...]
    variables: Variables | None  # those that its sizes are of
    conditions: tuple[Condition, ...]  # under which it is what the call does


def flat(args: Sequence[Any]) -> Iterator[ShapeTensor]:
    """The tensors among arguments, those in states and tuples too."""
    for arg in args:
        if isinstance(arg, ShapeTensor):
            yield arg
        elif isinstance(arg, State):
            yield from arg.items
        elif isinstance(arg, tuple):
            yield from flat(arg)


def states_in(args: Sequence[Any]) -> Iterator[State]:
    """The states among arguments."""
    for arg in args:
        if isinstance(arg, State):
            yield arg
        elif isinstance(arg, tuple):
            yield from states_in(arg)


def geometry_of(args: Sequence[Any]) -> object:
    """What a walk depends on: shapes, strides, types, which arguments share memory, and plain values."""
    storages: dict[int, tuple[int, int]] = {}
    key: list[object] = []
    for arg in args:
        if isinstance(arg, ShapeTensor):
            # where in its storage the first argument of it starts is of no consequence
            number, start = storages.setdefault(id(arg.storage), (len(storages), arg.offset))
            held = arg.storage
            key.append((arg.shape, arg.strides, arg.dtype, held.kind, held.given, number, arg.offset - start))
        elif isinstance(arg, State):
            key.append(("state", geometry_of(arg.items)))
        elif isinstance(arg, tuple):
            key.append(geometry_of(arg))
        else:
            key.append(arg)
    return tuple(key)


def describe(
    tensors: Sequence[ShapeTensor], arguments: Sequence[tuple[weakref.ref[Storage], int]]
) -> tuple[Output, ...]:
    """The geometry of what a walk left; `arguments` are the storages of its arguments and where they start."""
    made: dict[int, int] = {}
    outputs = []
    for tensor in tensors:
        storage = tensor.storage
        number = made.setdefault(id(storage), len(made))
        argument, start = next(
            ((index, offset) for index, (each, offset) in enumerate(arguments) if each() is storage), (None, 0)
        )
        geometry = (tensor.shape, tensor.strides, tensor.dtype, tensor.offset - start)
        outputs.append(Output(argument, number, storage.nbytes, storage.kind, *geometry))
    return tuple(outputs)
