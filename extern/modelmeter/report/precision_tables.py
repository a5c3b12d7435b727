"""Precisions on a device: on a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modelmeter.devices.precision_fit import PrecisionFit, best_of, fastest_of
from modelmeter.quantities import estimated, readable
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table, label_lines

if TYPE_CHECKING:
    from rich.table import Table

    from modelmeter.devices.throughput import Interval


def precision_table(found: Sequence[PrecisionFit]) -> Fitting:
    """A line for each precision that can run at all."""
    table = figures_table(
        "precision",
        *("bits", "weights", "left", "longest context", "pages at once"),
        *("s/page", "s/page: interval", "pages/s", "pages/s: interval"),
    )
    for each in found:
        if each.weight_bytes is None:
            continue
        context = "-" if each.context is None else f"{each.context:,}"
        table.add_row(
            each.precision + (" *" if each is best_of(found) else ""),
            f"{each.bits:.2f}",
            readable(each.weight_bytes, "B"),
            readable(max(each.left_bytes or 0, 0), "B"),
            context,
            f"{each.pages_at_once:,}",
            *_estimate(each.page_s),
            *_estimate(each.pages_per_s),
        )
    return Fitting(table=table, spare=("bits", "s/page: interval", "pages/s: interval"))


def _estimate(interval: Interval | None) -> tuple[str, str]:
    if interval is None:
        return "-", ""
    return estimated(interval.value), f"{estimated(interval.low)} to {estimated(interval.high)}"


def answer_lines(found: Sequence[PrecisionFit], device: str) -> Table:
    """Which precision is best and which is fastest, and the longest context, in words."""
    best, fastest = best_of(found), fastest_of(found)
    if best is None or fastest is None:
        return label_lines(("best", f"none fits {device}"))
    lines = [("best", f"precision={best.precision}: most bits a weight of those that fit {_can(best)}")]
    if fastest is not best:
        lines.append(("fastest", f"precision={fastest.precision} {_can(fastest)}"))
    longest = max((each for each in found if each.refused is None), key=lambda each: each.context or 0)
    if (longest.context or 0) > (best.context or 0):
        lines.append(("longest", f"precision={longest.precision} {_can(longest)}"))
    return label_lines(*lines)


def _can(each: PrecisionFit) -> str:
    limit = ", all that the model has" if each.of_model else ""
    assert each.pages_per_s is not None
    return (
        f"({each.context or 0:,} tokens of context{limit}; {each.pages_at_once:,} "
        f"page{'s' if each.pages_at_once > 1 else ''} at once, "
        f"{estimated(each.pages_per_s.value)} pages/s)"
    )


def reason_lines(found: Sequence[PrecisionFit]) -> Table:
    """Why the others do not run."""
    reasons: dict[str, list[str]] = {}
    for each in found:
        if each.refused is not None:
            reason = each.refused.removeprefix(f"precision: {each.precision}, but ")
            reasons.setdefault(reason, []).append(each.precision)
    return label_lines(*((", ".join(names), reason) for reason, names in reasons.items()))


def precision_content(found: Sequence[PrecisionFit]) -> dict[str, Any]:
    """The same as JSON."""
    best, fastest = best_of(found), fastest_of(found)
    return {
        "best": None if best is None else best.precision,
        "fastest": None if fastest is None else fastest.precision,
        "precisions": [
            asdict(each)
            | {
                name: None if interval is None else interval._asdict()
                for name, interval in (("page_s", each.page_s), ("pages_per_s", each.pages_per_s))
            }
            for each in found
        ],
    }
