"""Predicted beside measured times, as rich tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from modelmeter.calibration.validation import StageComparison
from modelmeter.devices import BOUNDS
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table

_STAGES: Final = {"vision": "vision", "prefill": "prefill, with vision", "decode": "decode, one step"}


def validation_table(rows: Sequence[StageComparison]) -> Fitting:
    """A row a stage and mode."""
    table = figures_table(
        "stage",
        "mode",
        "predicted\nms",
        "measured\nms",
        "measured /\npredicted",
        "spread of\nmeasured",
        "operators",
        *(f"predicted\n{bound}" for bound in BOUNDS),
    )
    table.columns[1].justify = "left"
    for row in rows:
        table.add_row(
            _STAGES[row.stage],
            row.mode,
            milliseconds(row.predicted.seconds),
            milliseconds(row.measured_s),
            f"{row.ratio:.2f}",
            f"{row.spread:.0%}",
            f"{row.predicted.operators:,}",
            *(f"{row.predicted.share(bound):.0%}" for bound in BOUNDS),
        )
    return Fitting(table=table, spare=("operators", *(f"predicted {bound}" for bound in reversed(BOUNDS))))


def milliseconds(seconds: float) -> str:
    """Four digits, in milliseconds.

    >>> milliseconds(0.00123456), milliseconds(12.3456)
    ('1.235', '12,346')
    """
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
