"""The code that the toy can be walked as."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import EngineTraits, Execution
from modelmeter.layers.decoder.traits import DecoderTraits

TRANSFORMERS: Final = Execution("transformers")
SERVING: Final = Execution(
    "serving",
    (
        EngineTraits(
            chains_fused=True,
            add_norm_fused=True,
            attention_fused_only=True,
            vision_takes_eager=False,
            at_its_best=True,
        ),
        DecoderTraits(cos_sin_cached=True, kv_paged=True, qkv_and_gate_up_fused=True, position_ids_given=True),
    ),
)
EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {execution.name: execution for execution in (TRANSFORMERS, SERVING)}
)
