"""What a decoder layer keeps of keys and values, and what a pass does to it, on shapes.

A cache kind says how new keys and values join those that are there; the tensors themselves are a `State`.
Source of the walks: `DynamicLayer` of transformers 5.23, and `UnlimitedOcrDynamicReferenceSlidingWindowLayer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from modelmeter.layers.remembering import State
from modelmeter.operators import BIAS_ALIGNMENT, cat, to_device
from modelmeter.shape_tensor import KV, ShapeTensor, Tape


class Piece(NamedTuple):
    """Decode steps from `start` on, until the next piece: what they add up grows evenly every `period` steps."""

    start: int
    period: int


@dataclass(frozen=True)
class GrowingCache:
    """Keys and values of all positions, [B, KV heads, context, d] each."""

    def given(self, tape: Tape, shape: tuple[int, int, int], context: int, generated: int, dtype: str) -> State:
        """A cache of `context` positions; shape: pages, KV heads, elements of a head."""
        batch, heads, width = shape
        return State(*(tape.given((batch, heads, context, width), dtype) for _ in range(2)))

    def positions(self, state: State) -> int:
        """Positions that a mask counts."""
        return state.items[0].shape[2] if state.items else 0

    def update(
        self, state: State, key_states: ShapeTensor, value_states: ShapeTensor
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """Copy new keys and values behind those of the cache, one after the other; all of them are returned.

        The first are copied too, but for an execution that keeps them as they are.
        """
        if state.items:
            state.items[0] = cat((state.items[0], key_states), 2, KV)
            state.items[1] = cat((state.items[1], value_states), 2, KV)
        elif key_states.storage.kind == KV:  # made to be kept as they are
            state.items = [key_states, value_states]
        else:  # the library starts from empty tensors
            state.items = [cat((key_states,), 2, KV)]
            state.items.append(cat((value_states,), 2, KV))
        return state.items[0], state.items[1]

    def slots(self, state: State) -> tuple[ShapeTensor, ...]:
        """Keys and values of the position that a new one is written over, where the cache is paged; none: it grows."""
        return ()

    def pieces(self, *, masked: bool) -> tuple[Piece, ...]:
        """The law of decode steps. masked: whether a fused kernel takes a mask, whose rows are aligned."""
        return (Piece(0, 1),)


@dataclass(frozen=True)
class NoCache(GrowingCache):
    """No later pass sees anything: an encoder attends to what it is given."""

    copied: bool = False
    """The code fills a cache all the same, which is held to the end of the pass; otherwise it has none."""

    def update(
        self, state: State, key_states: ShapeTensor, value_states: ShapeTensor
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """Keys and values as they come, or copied as into a first cache; then they are no KV cache that is counted."""
        if not self.copied:
            return key_states, value_states
        state.items = [cat((key_states,), 2)]
        state.items.append(cat((value_states,), 2))
        return state.items[0], state.items[1]


@dataclass(frozen=True)
class ReferenceWindowCache(GrowingCache):
    """Keys and values of the prefill, all of them, and those of the last `window` - 1 generated positions.

    The generated ones are views of what the last step concatenated, one position more where the window is full.
    """

    window: int
    paged: bool = False
    """The window's positions stay where they are, and a new one is written over the oldest; otherwise all is copied."""

    def given(self, tape: Tape, shape: tuple[int, int, int], context: int, generated: int, dtype: str) -> State:
        """A cache of `context` positions, of which the last `generated` came in steps."""
        batch, heads, width = shape
        number = () if self.paged else (tape.input((), "int64"),)
        prefilled = [tape.given((batch, heads, context - generated, width), dtype) for _ in range(2)]
        if isinstance(generated, int) and not generated:
            return State(*number, *prefilled)
        held = self.window if generated >= self.window else generated
        sliding = [tape.given((batch, heads, held, width), dtype) for _ in range(2)]
        return State(*number, *prefilled, *(self._kept(each) for each in sliding))

    def _kept(self, full: ShapeTensor) -> ShapeTensor:
        """The last positions of a window, one less than it sees."""
        positions = full.shape[2]
        if self.paged or positions < self.window:
            return full
        return full.narrow(2, positions - self.window + 1, positions)

    def positions(self, state: State) -> int:
        """Positions that a mask counts."""
        return sum([keys.shape[2] for keys in state.items[0 if self.paged else 1 :: 2]])

    def update(
        self, state: State, key_states: ShapeTensor, value_states: ShapeTensor
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The first ones are the prefill's; later ones join the window, and both are copied behind one another."""
        if not state.items:
            state.items = [to_device(key_states.tape.input((), "int64"))]  # the window's length, held beside them
            state.items.append(cat((key_states,), 2, KV))
            state.items.append(cat((value_states,), 2, KV))
            return state.items[1], state.items[2]
        keys, values = state.items[3:] or (None, None)
        keys = cat((key_states,) if keys is None else (keys, key_states), 2, KV)
        values = cat((value_states,) if values is None else (values, value_states), 2, KV)
        state.items[3:] = [self._kept(keys), self._kept(values)]
        full_keys = cat((state.items[1], keys), 2)
        full_values = cat((state.items[2], values), 2)
        return full_keys, full_values

    def slots(self, state: State) -> tuple[ShapeTensor, ...]:
        """The place of the oldest generated position, where the window is full."""
        sliding = state.items[2:]
        if not sliding or sliding[0].shape[2] < self.window:
            return ()
        return tuple(each.narrow(2, 0, 1) for each in sliding)

    def pieces(self, *, masked: bool) -> tuple[Piece, ...]:
        """Steps until the window is full, then all alike."""
        return Piece(0, BIAS_ALIGNMENT if masked else 1), Piece(self.window, 1)
