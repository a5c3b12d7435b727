"""The code that Granite-Docling can be walked as: transformers' modules."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType({each.name: each for each in (TRANSFORMERS,)})
