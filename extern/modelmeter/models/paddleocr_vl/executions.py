"""The code that PaddleOCR-VL can be walked as: transformers' modules, vLLM, SGLang, and an engine at its best."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.layers.parallel import ParallelTraits
from modelmeter.layers.vision.packed import PackedTraits
from modelmeter.layers.vision.packed_siglip import SiglipTraits
from modelmeter.models.common import engine_traits
from modelmeter.models.common.engine_traits import eager_vision
from modelmeter.models.common.packed_pages import ENGINE_AT_ITS_BEST
from modelmeter.models.paddleocr_vl.traits import ProjectorTraits

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution(
    "serving", (*ENGINE_AT_ITS_BEST, SiglipTraits(qkv_fused=True), ProjectorTraits(counted=False))
)

#: what the towers of vLLM and SGLang do alike, page by page
_TOWER: Final = PackedTraits(
    attention_packed=True, log_sum_exp_written=True, copied="each", patches_by_product=True, pages_looped=True
)
_RESAMPLED: Final = SiglipTraits(qkv_fused=True, positions_resampled=True, angles_made=True)

#: what vLLM launches for this model
VLLM: Final = Execution(
    "vllm",
    (
        *engine_traits.VLLM,
        replace(_TOWER, copied="together"),
        replace(_RESAMPLED, turned_in_float32=True),
        ProjectorTraits(counted=False, joined=False),
        ParallelTraits(decoder_split=True, vision_split=True, vision_qkv_gathered=True, whole_experts=True),
    ),
    (eager_vision(),),
)

#: what SGLang launches for it
SGLANG: Final = Execution(
    "sglang", (*engine_traits.SGLANG, _TOWER, _RESAMPLED, ProjectorTraits(counted=False)), (eager_vision(),)
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {each.name: each for each in (TRANSFORMERS, VLLM, SGLANG, SERVING)}
)
