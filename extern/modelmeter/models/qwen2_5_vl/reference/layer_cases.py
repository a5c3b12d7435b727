"""The layers of Qwen2.5-VL beside the real modules that they describe."""

from __future__ import annotations

from functools import partial
from typing import Final

from modelmeter.models.common.reference.packed_cases import PackedCases, verification_of
from modelmeter.models.qwen2_5_vl.cost_model import load_cost_model
from modelmeter.models.qwen2_5_vl.executions import TRANSFORMERS
from modelmeter.models.qwen2_5_vl.reference.page import PageReference
from modelmeter.reference.layer_case import LayerVerification

#: the lines of a type and an attention
LayerCases: Final = partial(PackedCases, load_cost_model, PageReference)


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return verification_of("modelmeter.models.qwen2_5_vl", TRANSFORMERS.name, LayerCases)
