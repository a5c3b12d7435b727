"""The layers of Qwen2-VL beside the real modules that they describe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from modelmeter.models.common.reference.packed_cases import PAGES, PackedCases, verification_of
from modelmeter.models.qwen2_vl.cost_model import load_cost_model
from modelmeter.models.qwen2_vl.executions import TRANSFORMERS
from modelmeter.models.qwen2_vl.reference.page import PageReference
from modelmeter.reference.layer_case import Given, LayerCase, LayerVerification


class Qwen2VLCases(PackedCases):
    """Those of packed pages, and the activation of this tower."""

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        yield from super().parts()
        inner = self.vision_sizes.mlp_ratio * self.width
        for grid in PAGES:
            yield self.case("visual.blocks.0.mlp.act", Given((self.patches(grid), inner)))


#: the lines of a type and an attention
LayerCases: Final = partial(Qwen2VLCases, load_cost_model, PageReference)


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return verification_of("modelmeter.models.qwen2_vl", TRANSFORMERS.name, LayerCases)
