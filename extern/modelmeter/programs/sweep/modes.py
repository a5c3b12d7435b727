"""One page in each of the named modes.

python -m modelmeter.programs.sweep.modes page=1275x1650 model=NAME
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from modelmeter.models.common.contract import ModelPackage
from modelmeter.programs.hydra_program import AnyCostModel
from modelmeter.programs.sweep.sweep import (
    Sweep,
    SweepPoint,
    SweepProgram,
    chosen_modes,
    decided,
    output_tokens_of,
    page_of,
    run_sweep,
)


def in_mode(cost_model: AnyCostModel, package: ModelPackage, mode: str) -> AnyCostModel:
    """The cost model with what a mode decides, and its own values of everything else."""
    config = cost_model.config
    values = {name: getattr(package.MODES[mode], name) for name in decided(package)}
    return type(cost_model)(replace(config, workload=replace(config.workload, **values)))


def sweep_of(package: ModelPackage) -> Sweep:
    """The sweep over a model's modes."""

    def points(cost_model: AnyCostModel, own: Mapping[str, Any]) -> Iterator[SweepPoint]:
        page, output_tokens = page_of(own), output_tokens_of(own)
        for mode in chosen_modes(own, package):
            model = in_mode(cost_model, package, mode)
            yield SweepPoint(label=mode, cost_model=model, page=page, output_tokens=output_tokens)

    return Sweep(
        title="Modes",
        axis="mode",
        about="One page in each named mode.",
        varied=tuple(f"workload.{name}" for name in decided(package)),
        points=points,
        x="image_tokens",
        x_text="image tokens",
        log_x=True,
    )


PROGRAM: Final = SweepProgram(name="modes", keys=("page", "modes", "output_tokens"), of=sweep_of)


def main() -> None:
    """The program."""
    run_sweep(PROGRAM)


if __name__ == "__main__":
    main()
