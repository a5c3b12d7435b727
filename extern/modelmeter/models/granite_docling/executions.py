"""The code that Granite-Docling can be walked as: transformers' modules, and an engine at its best."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.layers.vision.clip import ClipTraits
from modelmeter.layers.vision.siglip_tiles import SiglipTraits
from modelmeter.models.common import engine_traits

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution("serving", (*engine_traits.BEST, ClipTraits(qkv_fused=True), SiglipTraits(tiles_known=True)))

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType({each.name: each for each in (TRANSFORMERS, SERVING)})
