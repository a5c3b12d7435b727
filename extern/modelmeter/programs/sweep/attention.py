"""Flash against eager attention, for one page in each of the named modes.

python -m modelmeter.programs.sweep.attention 'modes=[base,gundam]'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelmeter.layers.code import ATTENTIONS
from modelmeter.models.deepseek_ocr.cost_model import CostModel
from modelmeter.models.deepseek_ocr.vision_workload import MODES
from modelmeter.programs.sweep import modes
from modelmeter.programs.sweep.modes import in_mode
from modelmeter.programs.sweep.sweep import (
    Point,
    Sweep,
    names,
    output_tokens_of,
    page_of,
    run_sweep,
    with_runtime,
)


def points(cost_model: CostModel, own: Mapping[str, Any]) -> Iterator[Point]:
    """The page in each mode with each kernel."""
    page, output_tokens = page_of(own), output_tokens_of(own)
    attentions = names(own, "attentions", ATTENTIONS)
    for mode in names(own, "modes", MODES):
        for attention in attentions:
            model = with_runtime(in_mode(cost_model, mode), attention=attention)
            yield Point(label=f"{mode} {attention}", cost_model=model, page=page, output_tokens=output_tokens)


SWEEP = Sweep(
    name="attention",
    title="Flash against eager attention",
    axis="mode and attention",
    about="One page in each named mode, with fused attention (`flash`) and with attention in separate steps (`eager`): "
    "the same tensor-core FLOPs, other traffic and another peak.",
    keys=("page", "modes", "attentions", "output_tokens"),
    varied=(*modes.SWEEP.varied, "runtime.attention"),
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
