"""Conformance vectors: pages with what this library makes of them, which another evaluator of a file must give."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from modelmeter.devices.device import Device
from modelmeter.devices.stage_time import Estimate, StageTimes
from modelmeter.errors import ModelMeterError

if TYPE_CHECKING:
    from modelmeter.models.common.contract import CostModel

#: sides that rules are told apart by: one pixel, a page too long, limits of tiles and grids, and large scans
_SIDES: Final = (
    1,
    2,
    13,
    14,
    27,
    28,
    29,
    512,
    640,
    641,
    768,
    769,
    1024,
    1025,
    1275,
    1540,
    1541,
    1650,
    2481,
    3508,
    9000,
)
#: decode steps, of which some are tried with every page
_STEPS: Final = (0, 1, 2, 3, 8, 9, 64, 127, 128, 129, 130, 500, 1000)
_MOST_STEPS: Final = 1500
#: decode steps whose time is told: it is a sum over all of them, which takes a plain evaluator long
_TIMED_STEPS: Final = 130


def vectors(
    content: Mapping[str, Any],
    cost_model: CostModel,
    devices: Sequence[Device],
    *,
    number: int,
    place: int = 0,
) -> list[dict[str, Any]]:
    """`number` pages of a model, the same for everybody, with every integer, and times on one of the devices each.

    content: the file's; place: of the model in it. What it has no laws for is not asked.
    """
    laws = content["laws"][content["models"][place]["laws"]]
    left_out = laws["left_out"]
    decodes = not any(stage == "decode" for stage, _, _ in left_out)
    batches = [1] if any("pages" in variables for _, _, variables in left_out) else content["batches"]
    made = _Made(cost_model, devices if laws["timed"] else ())
    draws = random.Random(place)
    return [made.vector(draws, batches, decodes, place) for _ in range(number)]


class _Made:
    """A model for several numbers of pages at once, and its times, each made once."""

    def __init__(self, cost_model: CostModel, devices: Sequence[Device]) -> None:
        self.devices = devices
        self.model = cache(lambda pages: cost_model if pages == 1 else cost_model.batched(pages))
        self.times = cache(lambda pages, number: StageTimes(self.model(pages), devices[number]))

    def vector(self, draws: random.Random, batches: Sequence[int], decodes: bool, place: int) -> dict[str, Any]:
        """One page."""
        width, height = (
            draws.choice(_SIDES) if draws.random() < 0.3 else int(2 ** draws.uniform(4, 13)) for _ in range(2)
        )
        most = _MOST_STEPS if decodes else 2
        steps = (
            draws.choice([each for each in _STEPS if each < most]) if draws.random() < 0.6 else draws.randrange(most)
        )
        pages = draws.choice(batches)
        number = draws.randrange(max(len(self.devices), 1))
        asked = {"model": place, "width": width, "height": height, "pages": pages, "output_tokens": steps}
        try:
            page = self.model(pages).page(width, height, steps)
        except ModelMeterError:
            return asked | {"refused": True}
        stages = {name: [str(each) for each in asdict(cost).values()] for name, cost in page.stages().items()}
        found = asked | {"image_tokens": page.tokens.total, "seq_len": page.seq_len, "stages": stages}
        if not self.devices:
            return found
        told = {
            "device": self.devices[number].name,
            "prefill": _told(self.times(pages, number).stage("prefill", page.layout)),
        }
        if 0 < steps <= _TIMED_STEPS:
            told["decode"] = _told(self.times(1, number).decode(page.seq_len, steps, batch=pages))
        return found | {"times": told}


def _told(estimate: Estimate) -> dict[str, Any]:
    return {
        "seconds": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "launches": estimate.launches,
        "by_class": dict(estimate.by_class),
    }
