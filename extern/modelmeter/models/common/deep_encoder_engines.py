"""What inference engines do of models with this vision encoder, as facts: vLLM, SGLang, and an engine at its best.

Source: the public code of vLLM (vllm-project/vllm) and SGLang (sgl-project/sglang) as of 2026. docs/counted.md says
for each line in which file and function it was read, or that it is assumed.
"""

from typing import Final

from modelmeter.layers.code import EngineTraits
from modelmeter.layers.decoder.moe import MoeTraits
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.vision.clip import ClipTraits
from modelmeter.layers.vision.sam import SamTraits
from modelmeter.models.common.deep_encoder import FusionTraits, PageLoopTraits
from modelmeter.models.common.stage_cost import STAGES
from modelmeter.models.common.vision_language import StageTraits

#: what an engine at its best does of this network
ENGINE_AT_ITS_BEST: Final[tuple[object, ...]] = (
    EngineTraits(
        chains_fused=True,
        add_norm_fused=True,
        attention_fused_only=True,
        vision_takes_eager=False,
        graphed=frozenset(STAGES),
        at_its_best=True,
    ),
    SamTraits(
        rel_pos_always_resized=False,
        rel_pos_resized_in_float32=True,
        rel_pos_index_on_host=False,
        rel_pos_bias_copied=False,
        norm_kept=False,
        windows_always_padded=False,
    ),
    ClipTraits(qkv_fused=True),
    DecoderTraits(
        cos_sin_cached=True,
        kv_paged=True,
        eager_scores_multiplied=False,
        eager_weights_returned=False,
        qkv_and_gate_up_fused=True,
        position_ids_given=True,
    ),
    MoeTraits(gate_in_float32=False, grouped_gemm_indexed=True, index_dtype="int32"),
    FusionTraits(image_tokens_first=True),
)

#: the decoder's kernels are fused, its steps run as CUDA graphs
_DECODER: Final = EngineTraits(
    chains_fused=True,
    add_norm_fused=True,
    attention_fused_only=True,
    vision_takes_eager=False,
    graphed=frozenset({"decode"}),
)
#: the vision encoders are not compiled: operator by operator
EAGER_VISION: Final[tuple[object, ...]] = (EngineTraits(vision_takes_eager=False, graphed=_DECODER.graphed),)

VLLM: Final[tuple[object, ...]] = (
    _DECODER,
    SamTraits(
        rel_pos_always_resized=False,
        rel_pos_resized_in_float32=True,
        rel_pos_index_on_host=False,
        rel_pos_bias_copied=False,
        norm_kept=False,
        resized_table_kept=True,
        windows_always_padded=False,
        layer_norm_2d_fused=False,
        blocks_output_kept=True,
    ),
    ClipTraits(patch_convolution=True, qkv_fused=True, attention_over_sequences=True, positions_looked_up=True),
    DecoderTraits(
        cos_sin_cached=True,
        kv_paged=True,
        cache_written_apart=True,
        log_sum_exp_written=True,
        eager_scores_multiplied=False,
        eager_weights_returned=False,
        qkv_and_gate_up_fused=True,
        position_ids_given=True,
    ),
    MoeTraits(
        gate_in_float32=False,
        grouped_gemm_indexed=True,
        weights_in_epilogue=True,
        topk_of_groups=True,
        index_dtype="int32",
    ),
    FusionTraits(image_tokens_cached=True, embeddings_copied=True),
    PageLoopTraits(first="global", copied=("global",), pages_summed=True, tiles_summed=True),
    StageTraits(logits_to_float32=True, last_gathered="always", token_dtype="int32"),
)

#: but for how a page's views go through vision, which each model's file says
SGLANG: Final[tuple[object, ...]] = (
    _DECODER,
    SamTraits(
        rel_pos_always_resized=False,
        rel_pos_bias_copied=False,
        norm_kept=False,
        resized_table_kept=True,
        windows_always_padded=False,
        layer_norm_2d_fused=False,
        map_cloned=True,
    ),
    ClipTraits(
        patch_convolution=True,
        qkv_fused=True,
        attention_kept=True,
        embeddings_kept=True,
        quick_gelu_fused=True,
        positions_looked_up=True,
    ),
    DecoderTraits(
        cos_sin_cached=True,
        kv_paged=True,
        cache_written_apart=True,
        query_copied=True,
        log_sum_exp_written=True,
        eager_scores_multiplied=False,
        eager_weights_returned=False,
        qkv_and_gate_up_fused=True,
        position_ids_given=True,
    ),
    MoeTraits(
        gate_in_float32=False,
        grouped_gemm_indexed=True,
        weights_in_epilogue=True,
        experts_output_in_place=True,
        topk_weights_scaled=False,
        index_dtype="int32",
    ),
    FusionTraits(image_tokens_cached=True, placeholders_sought=True),
    StageTraits(logits_to_float32=True, last_gathered="prompts", token_dtype="int64"),
)
