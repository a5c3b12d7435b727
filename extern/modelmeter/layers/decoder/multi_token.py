"""A further layer behind a decoder that predicts one more token of the hidden state and the token just said, on shapes.

Source of the walk: `GlmOcrMultiTokenPredictorLayer` of vLLM (`vllm/model_executor/models/glm_ocr_mtp.py`) and
`GlmOcrModelNextN` of SGLang (`python/sglang/srt/models/glm_ocr_nextn.py`), after arXiv:2412.19437, section 2.2.
transformers leaves such layers of a checkpoint out.
"""

from __future__ import annotations

from typing import Unpack

from modelmeter.layers import BaseLayer, Linear, State
from modelmeter.layers.basic import RMSNorm
from modelmeter.layers.code import EngineTraits, Settings
from modelmeter.layers.decoder.block import DecoderLayer
from modelmeter.operators import add, cat
from modelmeter.shape_tensor import ShapeTensor


class MultiTokenLayer(BaseLayer):
    """Tokens' embeddings [B, T, D] and the hidden states [B, T, D] before them -> hidden states [B, T, D].

    mtp_block: a layer of the decoder's kind, with a KV cache of its own. `norm`: of what the head is given.
    Counted: everything. Left out: the embedding of a prompt's first position is zeroed.
    """

    def __init__(self, hidden_size: int, mtp_block: DecoderLayer, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.enorm = RMSNorm(hidden_size, code=self.code)
        self.hnorm = RMSNorm(hidden_size, code=self.code)
        self.eh_proj = Linear(2 * hidden_size, hidden_size, bias=False, code=self.code)
        self.mtp_block = mtp_block
        self.norm = RMSNorm(hidden_size, code=self.code)

    def forward(
        self, inputs_embeds: ShapeTensor, previous: ShapeTensor, positions: tuple[ShapeTensor, ...], cache: State
    ) -> ShapeTensor:
        """`positions`: what attention makes cos and sin of."""
        inputs_embeds = self.enorm(inputs_embeds)
        previous = self.hnorm(previous)
        hidden_states = self.eh_proj(cat((inputs_embeds, previous), -1))
        if not self.traits(EngineTraits).add_norm_fused:
            return self.mtp_block(hidden_states, positions, None, cache)  # type: ignore[no-any-return]
        hidden_states, residual = self.mtp_block(hidden_states, positions, None, cache)
        return add(residual, hidden_states)
