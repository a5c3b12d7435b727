"""A page's work by component, from the walks of its stages: the parts of vision, attention, MLP, MoE, head, other.

    >>> from modelmeter import load_cost_model
    >>> cost_model = load_cost_model()
    >>> parts = page_components(cost_model, cost_model.page(1275, 1650), output_tokens=0)
    >>> parts["prefill"]["head"].tensor_core_flops
    330956800

The components of a stage sum to it. "other" is what runs between them: the embedding, what separates tokens, the
scatter of the image's tokens, masks, rotary tables, norms and residual sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from modelmeter.layers.basic import LMHead
from modelmeter.layers.decoder.block import DecoderLayer
from modelmeter.layers.decoder.moe import MixtureOfExperts
from modelmeter.models.common.cost_model import CostModel, PageCost
from modelmeter.models.common.stage_cost import StageCost
from modelmeter.models.common.vision_language import LayerCost
from modelmeter.walk import Call, OperatorRecord, Walk

AnyCostModel = CostModel[Any, Any, Any]

#: what the decoder's components are called in words
DECODER_TITLES: Final[Mapping[str, str]] = {
    "attention": "decoder attention",
    "mlp": "decoder MLP",
    "moe": "decoder MoE",
    "head": "head",
    "other": "other",
}


def component_titles(cost_model: AnyCostModel) -> dict[str, str]:
    """The components of this model and what they are called in words, those of vision first."""
    model = cost_model.model
    titles = {name: model.part_titles.get(name, name) for name in model.vision_parts()}
    return {title.lower(): title for title in titles.values()} | dict(DECODER_TITLES)


def component_costs(cost_model: AnyCostModel, layers: Iterable[LayerCost]) -> dict[str, StageCost]:
    """What each component computes and moves; memory is the stage's and stays 0."""
    model = cost_model.model
    vision = {id(layer): model.part_titles.get(name, name).lower() for name, layer in model.vision_parts().items()}
    costs = dict.fromkeys(component_titles(cost_model), StageCost())
    for layer in layers:
        for component, entry in _entries(layer, vision):
            costs[component] += StageCost.of_entry(entry)
    return costs


def page_components(cost_model: AnyCostModel, page: PageCost, output_tokens: int) -> dict[str, dict[str, StageCost]]:
    """The components of a page's prefill, vision included, and of its `output_tokens` decode steps."""

    def step(context: int, generated: int) -> dict[str, StageCost]:
        return component_costs(cost_model, cost_model.step_layers(context + generated, generated))

    passes = page.passes(output_tokens)
    layers = (layer for each, _ in passes for layer in cost_model.prefill_layers(each.layout))
    decode = component_costs(cost_model, ())
    for each, steps in passes:
        for run in cost_model.decode_runs(steps):
            first = step(each.seq_len, run.first)
            second = step(each.seq_len, run.first + run.period) if run.count > 1 else None
            for name, cost in first.items():
                decode[name] += cost if second is None else cost.summed(second[name], cost, run.count)
    return {"prefill": component_costs(cost_model, layers), "decode": decode}


def _entries(cost: LayerCost, vision: Mapping[int, str]) -> Iterator[tuple[str, Walk | OperatorRecord]]:
    """A layer's walk, or the entries of a decoder layer's, with their components."""
    if not isinstance(cost.layer, DecoderLayer):
        component = "head" if isinstance(cost.layer, LMHead) else vision.get(id(cost.layer), "other")
        yield component, cost.walk
        return
    assert isinstance(cost.walk, Walk)
    parts = {"self_attn": "attention", "mlp": "moe" if isinstance(cost.layer.mlp, MixtureOfExperts) else "mlp"}
    for entry in cost.walk.entries:
        component = parts.get(entry.path.partition(".")[0], "other")
        if isinstance(entry, Call):
            yield from [(component, entry.walk)] * entry.times
        else:
            yield component, entry
