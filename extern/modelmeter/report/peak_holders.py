"""Who holds a page's memory at its peak: tensors alike in repeated modules together; their sum is the peak, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelmeter.models.common.loading import LOAD
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import Show, figures_table
from modelmeter.report.parts import BETWEEN, module_name, shape_text
from modelmeter.shape_tensor import KV

if TYPE_CHECKING:
    from modelmeter.models.common.contract import CostModel, PageCost
    from modelmeter.page_sizes import PageSize
    from modelmeter.walk import Allocation


@dataclass(frozen=True, kw_only=True)
class PeakHolders:
    """The tensors that are alive at the peak of a stage, "prefill" or "decode" (its last step), the largest first."""

    stage: str
    peak_bytes: int
    holdings: Sequence[Allocation]


@dataclass(frozen=True, kw_only=True)
class Held:
    """Tensors alike: in which modules and by which operator they were made, how many, and their bytes together."""

    module: str
    operator: str
    shape: str
    dtype: str
    kind: str
    tensors: int
    nbytes: int


def peak_holders(model: CostModel, page: PageCost, size: PageSize, output_tokens: int) -> PeakHolders:
    """Who holds the larger of the peaks of prefill and decode."""
    stage = max(("prefill", "decode"), key=lambda name: getattr(page, name).resident_peak_bytes)
    return stage_holders(model, page, size, output_tokens, stage)


def stage_holders(model: CostModel, page: PageCost, size: PageSize, output_tokens: int, stage: str) -> PeakHolders:
    """Who holds the peak of "prefill" or "decode"."""
    return PeakHolders(
        stage=stage,
        peak_bytes=getattr(page, stage).resident_peak_bytes,
        holdings=model.peak_holders(stage, size.width, size.height, output_tokens),
    )


def folded(holdings: Sequence[Allocation]) -> list[Held]:
    """Tensors of one shape that one operator made in repeated modules together, those with the most bytes first."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for each in holdings:
        module = module_name(each.path) if each.path else "the given cache" if _given(each) else BETWEEN
        alike = module, each.operator, shape_text(each.shape), each.dtype, each.kind
        groups.setdefault(alike, []).append(each.nbytes)
    held = [
        Held(
            module=module,
            operator=operator,
            shape=shape,
            dtype=dtype,
            kind=kind,
            tensors=len(sizes),
            nbytes=sum(sizes),
        )
        for (module, operator, shape, dtype, kind), sizes in groups.items()
    ]
    return sorted(held, key=lambda each: -each.nbytes)


def _given(holding: Allocation) -> bool:
    return holding.operator == "given"


def holders_title(holders: PeakHolders, load_bytes: int) -> str:
    """Which peak it is; load_bytes: what loading holds beside the weights."""
    which = "prefill" if holders.stage == "prefill" else "the last decode step"
    more = f"; {LOAD} holds more: {load_bytes:,} bytes beside the weights" if load_bytes > holders.peak_bytes else ""
    return f"alive at the peak of {which}, weights not counted{more}"


def holders_table(holders: PeakHolders, top: int, show: Show) -> Fitting:
    """The largest holders, the others together, and the peak."""
    table = figures_table("made in, by", "shape", "type", "tensors", "bytes", "%")
    table.padding = (0, 1, 0, 0)
    table.columns[1].justify = table.columns[2].justify = "left"
    held = folded(holders.holdings)
    rows = [(held_name(each), each.shape, each.dtype, each.tensors, each.nbytes) for each in held[:top]]
    rest = held[top:]
    if rest:
        tensors, nbytes = sum(each.tensors for each in rest), sum(each.nbytes for each in rest)
        rows.append((f"{len(rest)} more", "", "", tensors, nbytes))
    whole = sum(each.nbytes for each in held)
    rows.append(("all", "", "", sum(each.tensors for each in held), whole))
    for number, (name, shape, dtype, tensors, nbytes) in enumerate(rows, start=2):
        share = f"{100 * nbytes / whole:.1f}" if whole else "-"
        cells = (shape, dtype, f"{tensors:,}", show(nbytes, "B"), share)
        table.add_row(name, *cells, end_section=number == len(rows))
    return Fitting(table=table, spare=("type",))


def held_name(held: Held) -> str:
    """Where tensors were made and by what; of the cache, that they are it."""
    by = "" if held.operator == "given" else f" {held.operator.removeprefix('aten.').removesuffix('.default')}"
    return f"{held.module}{by}{' (KV cache)' if held.kind == KV else ''}"


def holders_content(holders: PeakHolders) -> dict[str, Any]:
    """For JSON: every tensor, the largest first."""
    return {
        "stage": holders.stage,
        "peak_bytes": holders.peak_bytes,
        "holders": [each._asdict() for each in holders.holdings],
    }
