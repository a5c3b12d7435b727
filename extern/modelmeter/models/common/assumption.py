"""`Assumption`: why a figure is not simply a fact of the model's shapes, in words that stand beside the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """A figure that rests on a declaration, an assumption or a convention.

    figure: its name in `StageCost` or in the report. label: a few words to stand beside it. text: what is assumed.
    """

    figure: str
    label: str
    text: str


#: what holds for every model
CONVENTIONS: Final = (
    Assumption(
        figure="cuda_core_flops",
        label="by convention",
        text="elements x a table of FLOPs an element (FLOPS_PER_ELEMENT in operators.py); not a measurement",
    ),
    Assumption(
        figure="io_bytes",
        label="no cache",
        text="what every operator reads and writes, with no cache between operators: an upper bound",
    ),
    Assumption(
        figure="activation_peak_bytes",
        label="tensors only",
        text="the live tensors; a kernel's own scratch memory and an allocator's rounding are left out",
    ),
)
