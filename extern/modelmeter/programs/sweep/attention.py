"""Flash against eager attention, for one page in each of the named modes.

python -m modelmeter.programs.sweep.attention page=1275x1650 model=NAME
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelmeter.layers.code import ATTENTIONS
from modelmeter.models.common.contract import ModelPackage
from modelmeter.programs.hydra_program import AnyCostModel
from modelmeter.programs.sweep.modes import in_mode
from modelmeter.programs.sweep.sweep import (
    Sweep,
    SweepPoint,
    SweepProgram,
    chosen_modes,
    decided,
    names,
    output_tokens_of,
    page_of,
    run_sweep,
    with_runtime,
)


def sweep_of(package: ModelPackage) -> Sweep:
    """The sweep over a model's modes with each kernel."""

    def points(cost_model: AnyCostModel, own: Mapping[str, Any]) -> Iterator[SweepPoint]:
        page, output_tokens = page_of(own), output_tokens_of(own)
        attentions = names(own, "attentions", ATTENTIONS)
        for mode in chosen_modes(own, package):
            for attention in attentions:
                model = with_runtime(in_mode(cost_model, package, mode), attention=attention)
                yield SweepPoint(label=f"{mode} {attention}", cost_model=model, page=page, output_tokens=output_tokens)

    return Sweep(
        title="Flash against eager attention",
        axis="mode and attention",
        about="One page in each named mode, with fused attention (`flash`) and with attention in separate steps "
        "(`eager`): the same tensor-core FLOPs, other traffic and another peak.",
        varied=(*(f"workload.{name}" for name in decided(package)), "runtime.attention"),
        points=points,
        x="image_tokens",
        x_text="image tokens",
        log_x=True,
    )


PROGRAM: Final = SweepProgram(name="attention", keys=("page", "modes", "attentions", "output_tokens"), of=sweep_of)


def main() -> None:
    """The program."""
    run_sweep(PROGRAM)


if __name__ == "__main__":
    main()
