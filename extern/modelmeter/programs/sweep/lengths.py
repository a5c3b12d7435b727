"""One page with prompts and outputs of several lengths, each with each.

python -m modelmeter.programs.sweep.lengths 'output_lengths=[100,1000]' model=NAME
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelmeter.models.common.contract import ModelPackage
from modelmeter.programs.hydra_program import AnyCostModel
from modelmeter.programs.sweep.sweep import (
    Sweep,
    SweepPoint,
    SweepProgram,
    page_of,
    run_sweep,
    whole_numbers,
    with_runtime,
)


def points(cost_model: AnyCostModel, own: Mapping[str, Any]) -> Iterator[SweepPoint]:
    """Each prompt with each output."""
    page = page_of(own)
    prompts, outputs = whole_numbers(own, "prompt_lengths", 0), whole_numbers(own, "output_lengths", 0)
    for prompt in prompts:
        model = with_runtime(cost_model, prompt_tokens=prompt, prompt=None)
        for output in outputs:
            yield SweepPoint(label=f"{prompt} + {output}", cost_model=model, page=page, output_tokens=output)


def sweep_of(_: ModelPackage) -> Sweep:
    """The sweep over lengths."""
    return Sweep(
        title="Prompt and output lengths",
        axis="prompt + output",
        about="Prompt tokens that are not the image's, and decode steps. What exceeds "
        "`decoder.max_position_embeddings` is refused by the model, not computed.",
        varied=("runtime.prompt_tokens", "runtime.prompt"),
        points=points,
        x="context_tokens",
        x_text="tokens at the end: image, prompt and output",
        log_x=True,
    )


PROGRAM: Final = SweepProgram(name="lengths", keys=("page", "prompt_lengths", "output_lengths"), of=sweep_of)


def main() -> None:
    """The program."""
    run_sweep(PROGRAM)


if __name__ == "__main__":
    main()
