"""A pass of a model, then the passes of its further layer that propose the tokens of the next step.

The layer runs over all positions of the model's pass, each with the token behind it, then over each proposal but the
last. Embedding and head are the model's own; the largest logit is the proposal.
Source of the walk: `SpecDecodeBaseProposer.propose` of vLLM (`vllm/v1/spec_decode`), which runs over the positions that
were rejected too; no code runs the layer in transformers.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Unpack

from modelmeter.layers import BaseLayer, Settings, State
from modelmeter.layers.decoder.multi_token import MultiTokenLayer
from modelmeter.operators import argmax, gather
from modelmeter.shape_tensor import ShapeTensor

if TYPE_CHECKING:
    from modelmeter.models.common.vision_language import VisionLanguageModel


class DraftedStage(BaseLayer):
    """Token ids [B, T] over the cache -> logits or next tokens, the proposals, and the image tokens that outlive it.

    drafts: how many are proposed.
    """

    def __init__(
        self, model: VisionLanguageModel, layer: MultiTokenLayer, drafts: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.text = model.text
        self.decoder = model.decoder
        self.layer = layer
        self.place = f"layers.{len(model.decoder.layers)}"
        self.drafts = drafts

    def forward(
        self,
        input_ids: ShapeTensor,
        images: tuple[Any, ...],
        states: tuple[State, ...],
        experts_hit: int | Fraction,
        head: str,
    ) -> tuple[ShapeTensor, ...]:
        """As `TextStage.forward`; the last of `states` is the layer's."""
        *own, state = states
        hidden_states, held = self.text.run(input_ids, images, tuple(own), experts_hit)
        said = hidden_states if head == "none" else self.text.scored(hidden_states, head)
        return (said, *self.propose(hidden_states, state), *held)

    def propose(self, hidden_states: ShapeTensor, state: State) -> tuple[ShapeTensor, ...]:
        """The tokens proposed behind hidden states [B, T, D], [B, 1] each."""
        batch, _, width = hidden_states.shape
        following = self.further(hidden_states, state)
        index = following.tape.input((batch,), "int64")  # the last position that was accepted, of each page
        last = gather(following.view(-1, width), batch, 1, aten="aten.index.Tensor", index=index)
        del following
        proposed = [self.proposal(last)]
        for _ in range(self.drafts - 1):
            last = self.further(last, state)
            proposed.append(self.proposal(last))
        return tuple(proposed)

    def further(self, hidden_states: ShapeTensor, state: State) -> ShapeTensor:
        """The layer over hidden states [B, T, D] and the tokens behind them, which come with the pass."""
        tape = hidden_states.tape
        batch, tokens, _ = hidden_states.shape
        inputs_embeds = self.text.embed_tokens(tape.input((batch, tokens), "int64"))
        positions = self.decoder.positions(self.decoder.given_position_ids(tape, batch, tokens))
        return self.layer.call_remembered(self.place, inputs_embeds, hidden_states, positions, state)  # type: ignore[no-any-return]

    def proposal(self, last: ShapeTensor) -> ShapeTensor:
        """The token that hidden states [B, 1, D] propose."""
        return argmax(self.text.lm_head.call_remembered("lm_head", self.layer.norm(last)))
