"""The code that HunyuanOCR can be walked as: transformers' modules, vLLM, and an engine at its best."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.models.common import engine_traits
from modelmeter.models.common.engine_traits import eager_vision
from modelmeter.models.hunyuan_vl.traits import HunYuanTraits

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers", (DecoderTraits(rotary_in_float32=True, sections_doubled=True),))

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution(
    "serving", (*engine_traits.BEST, HunYuanTraits(qkv_fused=True, table_kept=True, merged_together=True))
)

#: what vLLM launches for this model, each block page by page
VLLM: Final = Execution(
    "vllm",
    (*engine_traits.VLLM, HunYuanTraits(qkv_fused=True, table_kept=True, pages_apart=True)),
    (eager_vision(),),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {each.name: each for each in (TRANSFORMERS, VLLM, SERVING)}
)
