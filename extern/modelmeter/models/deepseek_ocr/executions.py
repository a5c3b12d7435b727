"""The code that DeepSeek-OCR can be walked as: each execution states where it differs from transformers'."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import EngineTraits, Execution
from modelmeter.layers.decoder.moe import MoeTraits
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.vision.clip import ClipTraits
from modelmeter.layers.vision.sam import SamTraits
from modelmeter.models.common.deep_encoder import PageLoopTraits
from modelmeter.models.common.deep_encoder_engines import (
    ENGINE_AT_ITS_BEST,
    SGLANG,
    SGLANG_VISION,
    VLLM,
    VLLM_VISION,
)
from modelmeter.models.common.vision_language import StageTraits
from modelmeter.models.deepseek_ocr.traits import PageTraits

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: DeepSeek's own code, without autocast
PUBLISHED: Final = Execution(
    "published",
    (
        EngineTraits(vision_takes_eager=False),
        SamTraits(
            rel_pos_always_resized=False,
            rel_pos_resized_in_float32=True,
            rel_pos_index_on_host=False,
            rel_pos_bias_copied=False,
            norm_kept=False,
            resized_table_kept=True,
            windows_always_padded=False,
            layer_norm_2d_fused=False,
            map_cloned=True,
            blocks_output_kept=True,
        ),
        ClipTraits(
            patch_convolution=True, qkv_fused=True, attention_kept=True, embeddings_kept=True, positions_looked_up=True
        ),
        DecoderTraits(
            rotary_per_layer=True,
            first_kv_uncopied=True,
            eager_scores_multiplied=False,
            flash_half_precision_only=True,
            eager_weights_returned=False,
            causal_mask_only=True,
        ),
        MoeTraits(experts_grouped=False),
        StageTraits(head="all", logits_to_float32=True, one_image=True),
        PageTraits(decoder_made_first=True, pages_looped=True),
    ),
)

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution("serving", ENGINE_AT_ITS_BEST)

#: what vLLM launches for this model, and what SGLang does, which takes a page's crops first
ENGINES: Final = (
    Execution("vllm", VLLM, VLLM_VISION),
    Execution(
        "sglang",
        (
            *SGLANG,
            PageLoopTraits(
                first="tiles", copied=("global", "tiles"), tiles_summed=True, names_kept=True, output_copied=True
            ),
        ),
        SGLANG_VISION,
    ),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {execution.name: execution for execution in (TRANSFORMERS, PUBLISHED, *ENGINES, SERVING)}
)
