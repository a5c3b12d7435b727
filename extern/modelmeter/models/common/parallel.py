"""The group `parallel`: over how many devices a model is split, whose figures are then those of one of them.

    engine=vllm parallel.tensor=2                           as `vllm serve --tensor-parallel-size 2`
    engine=vllm parallel.tensor=2 parallel.expert=true      and `--enable-expert-parallel`
    engine=vllm parallel.tensor=2 parallel.encoder=data     and `--mm-encoder-tp-mode data`

How layers are split is stated in `layers.parallel`; whole copies of a model (data parallel) are replicas, which
`modelmeter plan` counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Choice, Flag, Kind, Maybe, Said, Whole
from modelmeter.layers import Execution
from modelmeter.layers.parallel import Parallel, ParallelTraits
from modelmeter.models.common.assumption import Assumption

#: what the vision encoder does: a part of every matrix on each device, or some of the images
WEIGHTS: Final = "weights"
DATA: Final = "data"


@dataclass
class ParallelSchema:
    """The group `parallel`. encoder: None: as the execution does."""

    tensor: int = 1
    expert: bool = False
    encoder: str | None = None


PARALLEL_KINDS: Final[Mapping[str, Kind[Any]]] = MappingProxyType(
    {
        "parallel.tensor": Said(Whole(1, 64), "devices that each layer is split over; figures are of one of them"),
        "parallel.expert": Said(Flag(), "whether each of them has whole experts, in place of a part of every one"),
        "parallel.encoder": Said(
            Maybe(Choice((WEIGHTS, DATA))),
            "of the vision encoder, each has a part of the weights, or encodes some images; null: as the engine does",
        ),
    }
)


def parallel_of(config: ParallelSchema, execution: Execution, executions: Mapping[str, Execution]) -> Parallel:
    """What the group says; raises `ModelMeterError` for what the execution does not split, or where nothing is."""
    if config.tensor == 1:
        for key, value in (("expert", config.expert), ("encoder", config.encoder)):
            if value:
                shown = str(value).lower() if isinstance(value, bool) else value
                raise ModelMeterError(
                    f"parallel: {key}={shown}, but parallel.tensor=1 is one device, which has everything; give "
                    f"parallel.tensor=2 or more, or leave parallel.{key} out."
                )
        return Parallel()

    def check(key: str, value: object, what: str, able: Callable[[ParallelTraits], bool]) -> None:
        if able(execution.traits(ParallelTraits)):
            return
        others = [f"execution={each.name}" for each in executions.values() if able(each.traits(ParallelTraits))]
        way = f"take {' or '.join(others)}, or leave" if others else "leave"
        raise ModelMeterError(
            f"parallel: {key}={value}, but execution={execution.name} {what}; {way} parallel.{key} out."
        )

    check("tensor", config.tensor, "runs this model on one device", lambda traits: traits.decoder_split)
    if config.expert:
        check("expert", "true", "gives no device whole experts of this model", lambda traits: traits.whole_experts)
    if config.encoder == DATA:
        check(
            "encoder",
            DATA,
            "shares out no images of this model as far as it is modelled (docs/parallel.md)",
            lambda traits: traits.images_shared_out,
        )
    if config.encoder == WEIGHTS:
        check("encoder", WEIGHTS, "has the vision encoder whole on each device", lambda traits: traits.vision_split)
    return Parallel(config.tensor, experts=config.expert, images=config.encoder == DATA)


def parallel_settings(config: ParallelSchema) -> dict[str, object]:
    """The keys of the group where a model is split."""
    if config.tensor == 1:
        return {}
    return {
        "parallel.tensor": config.tensor,
        **({"parallel.expert": True} if config.expert else {}),
        **({} if config.encoder is None else {"parallel.encoder": config.encoder}),
    }


def parallel_assumptions(parallel: Parallel) -> tuple[Assumption, ...]:
    """What results of a split model rest on."""
    if parallel.ranks == 1:
        return ()
    stated = [
        Assumption(
            figure="flops",
            label=f"one of {parallel.ranks} devices",
            text=f"every figure is of one of the {parallel.ranks} devices that the model is split over; all are alike",
        )
    ]
    if parallel.experts:
        text = "the choices of each token fall evenly to the devices; the busiest has more where routing is uneven"
        stated.append(Assumption(figure="tensor_core_flops", label="experts shared out", text=text))
    if parallel.images:
        text = (
            "vision is that of the device that encodes most of a pass's pages, an equal part, rounded up; of one "
            "page the others encode nothing meanwhile"
        )
        stated.append(Assumption(figure="tensor_core_flops", label="images shared out", text=text))
    return tuple(stated)
