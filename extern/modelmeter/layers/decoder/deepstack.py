"""DeepStack on shapes: features of a vision encoder's middle blocks, added to what a decoder's first layers give.

Source: arXiv:2406.04334; of the walk, `_deepstack_process` of transformers 5.23, which `Qwen3VLTextModel` and
`GraniteDoclingTextModel` have alike. An engine adds them as it normalises what a layer gives, or just before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from modelmeter.layers.basic import RMSNorm
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.operators import add, clone, gather, index_put
from modelmeter.shape_tensor import ShapeTensor

#: features of one layer, and the numbers of the rows that they are added to; None: to all
Features = tuple[ShapeTensor, ShapeTensor | None]


class Deepstack(NamedTuple):
    """features: [n, D] for each layer from the first.

    places: which positions are image tokens, truth values [B, T], or in an engine's code their numbers [n]; None:
    features have a row for every position.
    """

    places: ShapeTensor | None
    features: tuple[ShapeTensor, ...]

    def of(self, index: int) -> Features | None:
        """Those of layer `index`, if it has some."""
        return (self.features[index], self.places) if index < len(self.features) else None


def added(hidden_states: ShapeTensor, features: ShapeTensor, places: ShapeTensor | None) -> ShapeTensor:
    """A copy of what a layer gives, [B, T, D], with its features added at their places."""
    assert places is not None  # the library has a mask
    hidden_states = clone(hidden_states)
    rows = hidden_states.view(-1, hidden_states.shape[-1])
    tokens = features.shape[0]
    local_this = add(gather(rows, tokens, aten="aten.index.Tensor", index=places), features)
    index_put(hidden_states, places, local_this)
    return hidden_states


def add_and_normalize(
    norm: RMSNorm, hidden_states: ShapeTensor, residual: ShapeTensor, features: Features | None
) -> Any:
    """What a layer gave to its sum with a residual and with its features, and the norm of that."""
    if features is None:
        return norm(hidden_states, residual)
    if norm.traits(DecoderTraits).features_added_apart:
        return norm(hidden_states, add(residual, features[0].view(*residual.shape)))
    return norm(hidden_states, residual, *features)
