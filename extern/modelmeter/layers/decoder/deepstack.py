"""DeepStack on shapes: features of a vision encoder's middle blocks, added to what a decoder's first layers give.

Source: arXiv:2406.04334; of the walk, `_deepstack_process` of transformers 5.23, which `Qwen3VLTextModel` and
`GraniteDoclingTextModel` have alike.
"""

from __future__ import annotations

from typing import NamedTuple

from modelmeter.operators import add, clone, gather, index_put
from modelmeter.shape_tensor import ShapeTensor


class Deepstack(NamedTuple):
    """places: which positions are image tokens, truth values [B, T]. features: [n, D] for each layer from the first."""

    places: ShapeTensor
    features: tuple[ShapeTensor, ...]

    def added(self, hidden_states: ShapeTensor, index: int) -> ShapeTensor:
        """A copy of what layer `index` gives, [B, T, D], with its features added at their places."""
        hidden_states = clone(hidden_states)
        features = self.features[index]
        rows = hidden_states.view(-1, hidden_states.shape[-1])
        tokens = features.shape[0]
        local_this = add(gather(rows, tokens, aten="aten.index.Tensor", index=self.places), features)
        index_put(hidden_states, self.places, local_this)
        return hidden_states
