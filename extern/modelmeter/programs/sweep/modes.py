"""One page in each of the named modes.

python -m modelmeter.programs.sweep.modes page=1275x1650 'modes=[base,gundam]'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from modelmeter.models.deepseek_ocr.cost_model import CostModel
from modelmeter.models.deepseek_ocr.vision_workload import MODES
from modelmeter.programs.sweep.sweep import (
    Point,
    Sweep,
    names,
    output_tokens_of,
    page_of,
    run_sweep,
)

#: keys of the group workload that a mode decides
DECIDED = ("base_size", "image_size", "crop_mode")


def in_mode(cost_model: CostModel, mode: str) -> CostModel:
    """The cost model with a mode's sizes, and its own limits of the number of crops."""
    config = cost_model.config
    decided = {name: getattr(MODES[mode], name) for name in DECIDED}
    return CostModel(replace(config, workload=replace(config.workload, **decided)))


def points(cost_model: CostModel, own: Mapping[str, Any]) -> Iterator[Point]:
    """The page in each mode."""
    page, output_tokens = page_of(own), output_tokens_of(own)
    for mode in names(own, "modes", MODES):
        yield Point(label=mode, cost_model=in_mode(cost_model, mode), page=page, output_tokens=output_tokens)


SWEEP = Sweep(
    name="modes",
    title="Modes",
    axis="mode",
    about="One page in each named mode.",
    keys=("page", "modes", "output_tokens"),
    varied=tuple(f"workload.{name}" for name in DECIDED),
    points=points,
    x="image_tokens",
    x_text="image tokens",
    log_x=True,
)


def main() -> None:
    """The program."""
    run_sweep(SWEEP)


if __name__ == "__main__":
    main()
