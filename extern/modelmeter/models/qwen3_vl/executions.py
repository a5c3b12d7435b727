"""The code that Qwen3-VL can be walked as: transformers' modules, vLLM, SGLang, and an engine at its best."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.models.common import engine_traits
from modelmeter.models.common.engine_traits import VLLM_IMAGES, eager_vision
from modelmeter.models.common.packed_pages import ENGINE_AT_ITS_BEST, SGLANG_TOWER, VLLM_TOWER

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution("serving", ENGINE_AT_ITS_BEST)

#: what vLLM launches for this model
VLLM: Final = Execution(
    "vllm",
    (*engine_traits.VLLM, replace(VLLM_TOWER, positions="kernel", features_joined=True), VLLM_IMAGES),
    (eager_vision(),),
)

#: what SGLang launches for it, page by page
SGLANG: Final = Execution(
    "sglang",
    (
        *(
            replace(each, features_added_apart=True) if isinstance(each, DecoderTraits) else each
            for each in engine_traits.SGLANG
        ),
        replace(SGLANG_TOWER, tables="rows", patches_by_product=True, positions="written", features_joined=True),
    ),
    (eager_vision(),),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {each.name: each for each in (TRANSFORMERS, VLLM, SGLANG, SERVING)}
)
