"""What inference engines do of models with this vision encoder, as facts: vLLM, SGLang, and an engine at its best.

Source: as of `models/common/engine_traits.py`, which has what they do around it.
"""

from typing import Final

from modelmeter.layers.decoder.moe import MoeTraits
from modelmeter.layers.parallel import ParallelTraits
from modelmeter.layers.vision.clip import ClipTraits
from modelmeter.layers.vision.sam import SamTraits
from modelmeter.models.common import engine_traits
from modelmeter.models.common.deep_encoder import PageLoopTraits
from modelmeter.models.common.engine_traits import eager_vision

#: what an engine at its best does of this network
ENGINE_AT_ITS_BEST: Final[tuple[object, ...]] = (
    *engine_traits.BEST,
    SamTraits(
        rel_pos_always_resized=False,
        rel_pos_resized_in_float32=True,
        rel_pos_index_on_host=False,
        rel_pos_bias_copied=False,
        norm_kept=False,
        windows_always_padded=False,
    ),
    ClipTraits(qkv_fused=True),
    MoeTraits(gate_in_float32=False, grouped_gemm_indexed=True, index_dtype="int32"),
)

VLLM: Final[tuple[object, ...]] = (
    *engine_traits.VLLM,
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
    MoeTraits(
        gate_in_float32=False,
        grouped_gemm_indexed=True,
        weights_in_epilogue=True,
        topk_of_groups=True,
        index_dtype="int32",
    ),
    PageLoopTraits(first="global", copied=("global",), pages_summed=True, tiles_summed=True),
)
VLLM_VISION: Final[tuple[object, ...]] = (eager_vision(),)

#: but for how a page's views go through vision, which each model's file says
SGLANG: Final[tuple[object, ...]] = (
    *engine_traits.SGLANG,
    ParallelTraits(decoder_split=True),
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
        patch_convolution=True, qkv_fused=True, attention_kept=True, embeddings_kept=True, positions_looked_up=True
    ),
    MoeTraits(
        gate_in_float32=False,
        grouped_gemm_indexed=True,
        weights_in_epilogue=True,
        experts_output_in_place=True,
        topk_weights_scaled=False,
        index_dtype="int32",
    ),
)
SGLANG_VISION: Final[tuple[object, ...]] = (eager_vision("quick_gelu"),)
