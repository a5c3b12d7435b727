"""Where the figures of a report come from, in the words that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ANALYTIC: Final = "analytic"
#: of a time by the roofline
ROOFLINE: Final = "bound: at least"


def origin(labels: Mapping[str, str], figure: str) -> str:
    """Where a figure of a stage comes from, with its label, of `labels`, where it has one."""
    return f"{ANALYTIC}; {labels[figure]}" if figure in labels else ANALYTIC
