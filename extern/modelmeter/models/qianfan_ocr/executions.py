"""The code that Qianfan-OCR can be walked as: transformers' modules, vLLM, SGLang, and an engine at its best."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.layers.vision.packed import PackedTraits
from modelmeter.models.common import engine_traits
from modelmeter.models.common.engine_traits import eager_vision
from modelmeter.models.qianfan_ocr.traits import InternVitTraits

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution("serving", (*engine_traits.BEST, InternVitTraits(qkv_fused=True, names_kept=True)))

#: what vLLM launches for this model, which it takes for an InternVL
VLLM: Final = Execution(
    "vllm",
    (
        *engine_traits.VLLM,
        PackedTraits(patches_by_product=True),
        InternVitTraits(qkv_fused=True, names_kept=True, starts_made="layer"),
    ),
    (eager_vision(),),
)

#: what SGLang launches for it in the published layout, an InternVL with a Qwen3 decoder, page by page
SGLANG: Final = Execution(
    "sglang",
    (
        *engine_traits.SGLANG,
        PackedTraits(patches_by_product=True, copied="each", pages_looped=True),
        InternVitTraits(qkv_fused=True, names_kept=True, positions_resized=True, starts_made="pass"),
    ),
    (eager_vision(),),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {each.name: each for each in (TRANSFORMERS, VLLM, SGLANG, SERVING)}
)
