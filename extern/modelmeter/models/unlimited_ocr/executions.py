"""The code that Unlimited-OCR can be walked as: transformers' modules, two inference engines, and one at its best."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.models.common.deep_encoder import PageLoopTraits
from modelmeter.models.common.deep_encoder_engines import (
    ENGINE_AT_ITS_BEST,
    SGLANG,
    SGLANG_VISION,
    VLLM,
    VLLM_VISION,
)

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution("serving", ENGINE_AT_ITS_BEST)

#: what vLLM and SGLang launch for this model
ENGINES: Final = (
    Execution("vllm", VLLM, VLLM_VISION),
    Execution(
        "sglang",
        (*SGLANG, PageLoopTraits(first="global", copied=("global", "tiles"), output_copied=True)),
        SGLANG_VISION,
    ),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {each.name: each for each in (TRANSFORMERS, *ENGINES, SERVING)}
)
