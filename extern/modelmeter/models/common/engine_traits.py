"""What inference engines do around any model's vision, as facts: vLLM, SGLang, and an engine at its best.

Source: the public code of vLLM (vllm-project/vllm) and SGLang (sgl-project/sglang) as of 2026. docs/counted.md says
for each line in which file and function it was read, or that it is assumed.
"""

from dataclasses import replace
from typing import Final

from modelmeter.layers.code import EngineTraits
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.parallel import ParallelTraits
from modelmeter.models.common.deep_encoder import FusionTraits
from modelmeter.models.common.stage_cost import STAGES
from modelmeter.models.common.vision_language import StageTraits

#: what an engine at its best does
BEST: Final[tuple[object, ...]] = (
    EngineTraits(
        chains_fused=True,
        add_norm_fused=True,
        attention_fused_only=True,
        vision_takes_eager=False,
        graphed=frozenset(STAGES),
        at_its_best=True,
    ),
    DecoderTraits(
        cos_sin_cached=True,
        kv_paged=True,
        eager_scores_multiplied=False,
        eager_weights_returned=False,
        qkv_and_gate_up_fused=True,
        position_ids_given=True,
    ),
    FusionTraits(image_tokens_first=True),
    ParallelTraits(decoder_split=True, vision_split=True, whole_experts=True),
)

#: how vLLM splits a model whose images it can share out
VLLM_IMAGES: Final = ParallelTraits(decoder_split=True, vision_split=True, images_shared_out=True, whole_experts=True)

#: the decoder's kernels are fused, its steps run as CUDA graphs
_COMPILED: Final = EngineTraits(
    chains_fused=True,
    add_norm_fused=True,
    attention_fused_only=True,
    vision_takes_eager=False,
    graphed=frozenset({"decode"}),
)

#: over a paged cache, whose keys and values a kernel of its own writes
_PAGED: Final = DecoderTraits(
    cos_sin_cached=True,
    kv_paged=True,
    cache_written_apart=True,
    log_sum_exp_written=True,
    eager_scores_multiplied=False,
    eager_weights_returned=False,
    qkv_and_gate_up_fused=True,
    position_ids_given=True,
)

VLLM: Final[tuple[object, ...]] = (
    _COMPILED,
    _PAGED,
    FusionTraits(image_tokens_cached=True, embeddings_copied=True),
    StageTraits(logits_to_float32=True, last_gathered="always", token_dtype="int32"),
    ParallelTraits(decoder_split=True, vision_split=True, whole_experts=True),
)

SGLANG: Final[tuple[object, ...]] = (
    _COMPILED,
    replace(_PAGED, qk_norm_in_place=True, query_copied=True),
    FusionTraits(image_tokens_cached=True, placeholders_sought=True),
    StageTraits(logits_to_float32=True, last_gathered="prompts", token_dtype="int64"),
    ParallelTraits(decoder_split=True, vision_split=True, projection="whole"),
)


def eager_vision(*own_kernels: str) -> EngineTraits:
    """Vision encoders are not compiled: operator by operator, but for chains that are kernels of their own."""
    return EngineTraits(own_kernels=frozenset(own_kernels), vision_takes_eager=False, graphed=_COMPILED.graphed)
