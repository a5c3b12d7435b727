"""Pages of one size in batches of several sizes; figures are totals over the batch.

python -m modelmeter.programs.sweep.batches 'batch_sizes=[1,8,64]' model=NAME
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
    output_tokens_of,
    page_of,
    run_sweep,
    whole_numbers,
)


def points(cost_model: AnyCostModel, own: Mapping[str, Any]) -> Iterator[SweepPoint]:
    """The page in each batch size."""
    page, output_tokens = page_of(own), output_tokens_of(own)
    for batch_size in whole_numbers(own, "batch_sizes", 1):
        batched = cost_model.batched(batch_size)
        yield SweepPoint(label=str(batch_size), cost_model=batched, page=page, output_tokens=output_tokens)


def sweep_of(_: ModelPackage) -> Sweep:
    """The sweep over numbers of pages."""
    return Sweep(
        title="Batch sizes",
        axis="pages in a batch",
        about="Pages of one size, batched: figures are totals over the batch, tokens are one page's.",
        varied=("runtime.batch_size",),
        points=points,
        x="batch_size",
        x_text="pages in a batch",
        log_x=True,
    )


PROGRAM: Final = SweepProgram(name="batches", keys=("page", "batch_sizes", "output_tokens"), of=sweep_of)


def main() -> None:
    """The program."""
    run_sweep(PROGRAM)


if __name__ == "__main__":
    main()
