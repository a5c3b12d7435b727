"""A page's work by component, from the walks of its stages: SAM, CLIP, projector, attention, MLP, MoE, head, other.

    >>> cost_model = load_cost_model()
    >>> parts = page_components(cost_model, cost_model.page(1275, 1650), output_tokens=0)
    >>> parts["prefill"]["head"].tensor_core_flops
    330956800

The components of a stage sum to it. "other" is what runs between them: the embedding, newlines and separator, the
scatter of the image's tokens, masks, rotary tables, norms and residual sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from modelmeter.layers import BaseLayer
from modelmeter.layers.basic import LMHead
from modelmeter.layers.decoder.block import DecoderLayer
from modelmeter.layers.decoder.moe import MixtureOfExperts
from modelmeter.models.common import StageCost
from modelmeter.models.common.vision_language import LayerCost
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost
from modelmeter.models.deepseek_ocr.layers.vision.image_encoder_vit import ImageEncoderViT
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import MlpProjector
from modelmeter.models.deepseek_ocr.layers.vision.vit_model import VitModel
from modelmeter.walk import Call, OperatorRecord, Walk

COMPONENTS: Final = ("sam", "clip", "projector", "attention", "mlp", "moe", "head", "other")

_WHOLE_LAYERS: Final[dict[type[BaseLayer], str]] = {
    ImageEncoderViT: "sam",
    VitModel: "clip",
    MlpProjector: "projector",
    LMHead: "head",
}


def component_costs(layers: Iterable[LayerCost]) -> dict[str, StageCost]:
    """What each component computes and moves; memory is the stage's and stays 0."""
    costs = dict.fromkeys(COMPONENTS, StageCost())
    for layer in layers:
        for component, entry in _entries(layer):
            costs[component] += StageCost.of_entry(entry)
    return costs


def page_components(cost_model: CostModel, page: PageCost, output_tokens: int) -> dict[str, dict[str, StageCost]]:
    """The components of a page's prefill, vision included, and of its `output_tokens` decode steps."""
    prefill = component_costs(cost_model.prefill_layers(page.layout))
    if not output_tokens:
        return {"prefill": prefill, "decode": dict.fromkeys(COMPONENTS, StageCost())}
    first, second = (component_costs(cost_model.step_layers(page.seq_len + index)) for index in (0, 1))
    decode = {name: cost.summed(second[name], cost, output_tokens) for name, cost in first.items()}
    return {"prefill": prefill, "decode": decode}


def _entries(cost: LayerCost) -> Iterator[tuple[str, Walk | OperatorRecord]]:
    """A layer's walk, or the entries of a decoder layer's, with their components."""
    if not isinstance(cost.layer, DecoderLayer):
        yield _WHOLE_LAYERS[type(cost.layer)] if cost.layer else "other", cost.walk
        return
    assert isinstance(cost.walk, Walk)
    parts = {"self_attn": "attention", "mlp": "moe" if isinstance(cost.layer.mlp, MixtureOfExperts) else "mlp"}
    for entry in cost.walk.entries:
        component = parts.get(entry.path.partition(".")[0], "other")
        if isinstance(entry, Call):
            yield from [(component, entry.walk)] * entry.times
        else:
            yield component, entry
