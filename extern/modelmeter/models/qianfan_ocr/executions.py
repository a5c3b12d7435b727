"""The code that Qianfan-OCR can be walked as: transformers' modules, vLLM, and an engine at its best."""

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
SERVING: Final = Execution("serving", (*engine_traits.BEST, InternVitTraits(qkv_fused=True, patches_kept=True)))

#: what vLLM launches for this model, which it takes for an InternVL
VLLM: Final = Execution(
    "vllm",
    (
        *engine_traits.VLLM,
        PackedTraits(patches_by_product=True),
        InternVitTraits(qkv_fused=True, patches_kept=True, attention_over_sequences=True),
    ),
    (eager_vision(),),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {each.name: each for each in (TRANSFORMERS, VLLM, SERVING)}
)
