"""The layers of GLM-OCR beside the real modules that they describe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from modelmeter.layers.vision.packed import Grid
from modelmeter.models.common.reference.packed_cases import PackedCases, PackedModules, verification_of
from modelmeter.models.glm_ocr.cost_model import load_cost_model
from modelmeter.models.glm_ocr.executions import TRANSFORMERS
from modelmeter.models.glm_ocr.reference.page import PageReference
from modelmeter.reference.layer_case import Given, LayerCase, LayerVerification


def call_downsample(module: Any, patches: Any) -> object:
    """Call the convolution as the tower does: patches of a token as a picture."""
    side = module.kernel_size[0]
    result: object = module(patches.view(-1, side, side, patches.shape[-1]).permute(0, 3, 1, 2)).view(
        -1, module.out_channels
    )
    return result


class GlmOcrModules(PackedModules):
    """The modules of transformers, by the paths of the layers."""

    calls = MappingProxyType({**PackedModules.calls, "Downsample": call_downsample})


class GlmOcrCases(PackedCases):
    """Those of packed pages, with this tower's way from patches to tokens."""

    modules_class = GlmOcrModules

    def merging(self, grid: Grid) -> Iterator[LayerCase]:
        """What makes tokens of patches."""
        tokens = Given((grid.tokens, self.vision_sizes.out_hidden_size))
        yield self.case("visual.blocks.0.attn.q_norm", Given((self.patches(grid), self.head_dim)))
        yield self.case("visual.downsample", Given((self.patches(grid), self.width)))
        yield self.case("visual.merger.proj", tokens)
        yield self.case("visual.merger.post_projection_norm", tokens)
        yield self.case("visual.merger.act1", tokens)
        yield self.case("visual.merger", tokens)


#: the lines of a type and an attention
LayerCases: Final = partial(GlmOcrCases, load_cost_model, PageReference)


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return verification_of("modelmeter.models.glm_ocr", TRANSFORMERS.name, LayerCases)
