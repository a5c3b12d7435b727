"""The code that LightOnOCR can be walked as: transformers' modules, and an inference engine at its best."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import EngineTraits, Execution
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.models.common.deep_encoder import FusionTraits
from modelmeter.models.common.stage_cost import STAGES
from modelmeter.models.lighton_ocr.traits import PixtralTraits

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution(
    "serving",
    (
        EngineTraits(
            chains_fused=True,
            add_norm_fused=True,
            attention_fused_only=True,
            vision_takes_eager=False,
            graphed=frozenset(STAGES),
            at_its_best=True,
        ),
        PixtralTraits(qkv_fused=True, positions_given=True),
        DecoderTraits(
            cos_sin_cached=True,
            kv_paged=True,
            eager_scores_multiplied=False,
            eager_weights_returned=False,
            qkv_and_gate_up_fused=True,
            position_ids_given=True,
        ),
        FusionTraits(image_tokens_first=True),
    ),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType({each.name: each for each in (TRANSFORMERS, SERVING)})
