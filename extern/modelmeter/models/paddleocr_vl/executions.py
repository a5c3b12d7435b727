"""The code that PaddleOCR-VL can be walked as: transformers' modules, and an engine at its best."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.layers.vision.packed_siglip import SiglipTraits
from modelmeter.models.common.packed_pages import ENGINE_AT_ITS_BEST

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution("serving", (*ENGINE_AT_ITS_BEST, SiglipTraits(qkv_fused=True)))

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType({each.name: each for each in (TRANSFORMERS, SERVING)})
