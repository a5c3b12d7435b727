"""The code that LightOnOCR can be walked as: transformers' modules, vLLM, SGLang, and an engine at its best."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Execution
from modelmeter.layers.vision.packed import PackedTraits
from modelmeter.models.common import engine_traits
from modelmeter.models.common.engine_traits import eager_vision
from modelmeter.models.lighton_ocr.traits import PixtralTraits

#: the modules of the transformers library
TRANSFORMERS: Final = Execution("transformers")

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution("serving", (*engine_traits.BEST, PixtralTraits(qkv_fused=True, positions_given=True)))

#: what vLLM launches for this model: norms and rotary embedding written out
VLLM: Final = Execution(
    "vllm",
    (
        *engine_traits.VLLM,
        PackedTraits(attention_packed=True, log_sum_exp_written=True, patches_by_product=True),
        PixtralTraits(qkv_fused=True, angles_looked_up=True, features_joined=True),
    ),
    (eager_vision("silu_and_mul"),),
)

#: what SGLang launches for it, page by page
SGLANG: Final = Execution(
    "sglang",
    (
        *engine_traits.SGLANG,
        PackedTraits(attention_packed=True, log_sum_exp_written=True, copied="each", pages_looped=True),
        PixtralTraits(qkv_fused=True, angles_looked_up=True, mask_unread=True),
    ),
    (eager_vision("rms_norm", "silu_and_mul"),),
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {each.name: each for each in (TRANSFORMERS, VLLM, SGLANG, SERVING)}
)
