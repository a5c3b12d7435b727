"""The code that GLM-OCR can be walked as: transformers' modules, vLLM, SGLang, and an engine at its best."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.models.common import engine_traits
from modelmeter.models.common.engine_traits import VLLM_IMAGES, eager_vision
from modelmeter.models.common.packed_pages import ENGINE_AT_ITS_BEST, SGLANG_TOWER, VLLM_TOWER

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution("serving", ENGINE_AT_ITS_BEST)

#: how vLLM splits it over devices
SPLIT: Final = replace(VLLM_IMAGES, projection="gathered")

#: what vLLM launches for this model: norms written out
VLLM: Final = Execution(
    "vllm", (*engine_traits.VLLM, replace(VLLM_TOWER, sum_in_norm=True), SPLIT), (eager_vision("silu_and_mul"),)
)

#: what SGLang launches for it, page by page: norms as kernels of their own
SGLANG: Final = Execution(
    "sglang",
    (*engine_traits.SGLANG, replace(SGLANG_TOWER, tables="rows twice", sum_in_norm=True)),
    (eager_vision("rms_norm", "add_rms_norm", "silu_and_mul"),),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {each.name: each for each in (TRANSFORMERS, VLLM, SGLANG, SERVING)}
)
