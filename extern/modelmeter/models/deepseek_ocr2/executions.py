"""The code that DeepSeek-OCR-2 can be walked as: transformers' modules, an inference engine, and one at its best."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.parallel import ParallelTraits
from modelmeter.models.common.deep_encoder_engines import ENGINE_AT_ITS_BEST, VLLM, VLLM_VISION
from modelmeter.models.deepseek_ocr2.traits import QueryEncoderTraits

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution("serving", ENGINE_AT_ITS_BEST)

#: what vLLM launches for this model: its encoder is transformers' language model, operator by operator
ENGINE: Final = Execution(
    "vllm",
    (*VLLM, QueryEncoderTraits(cached_decoder=True), ParallelTraits(decoder_split=True, whole_experts=True)),
    (*VLLM_VISION, DecoderTraits()),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {each.name: each for each in (TRANSFORMERS, ENGINE, SERVING)}
)
