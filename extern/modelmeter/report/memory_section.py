"""A report's memory: what a device must hold for a page, the live set over its stages, and who holds the peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

from modelmeter.models.common.contract import CostModel
from modelmeter.models.common.loading import LOAD
from modelmeter.models.common.vram import Vram
from modelmeter.report import charts
from modelmeter.report.document import Block, Cell, Chart, Column, Item, Pairs, Quantity, Section, Table
from modelmeter.report.layout_pages import LayoutPages
from modelmeter.report.origins import ANALYTIC, origin
from modelmeter.report.parts import BETWEEN, WalkedStage
from modelmeter.report.peak_holders import PeakHolders, folded, held_name, peak_holders, stage_holders

#: tensors that a picture names, and those that the table lists; the others are counted
NAMED_HOLDERS: Final = 3
LISTED_HOLDERS: Final = 16


def memory_section(
    model: CostModel,
    pages: LayoutPages,
    stages: Sequence[WalkedStage],
    labels: Mapping[str, str],
    timed: str | None,
) -> Section:
    """The section of one of `pages`. timed: where the operators' times come from; None where nobody named a device."""
    of = pages.cost, pages.first, pages.output_tokens
    blocks: list[Block] = [_needs(pages.vram, pages.first.source, labels)]
    for stage in stages:
        holders = stage_holders(model, *of, "prefill" if stage.key == "prefill" else "decode")
        blocks.append(_live_chart(stage, holders, timed))
    blocks.append(_holders_block(peak_holders(model, *of), labels))
    return Section(key="memory", title="Memory", blocks=blocks)


def _needs(vram: Vram, source: str, labels: Mapping[str, str]) -> Pairs:
    held = "beside the weights as they stay" if vram.stage == LOAD else "KV cache included"
    return Pairs(
        key="device_memory",
        title=f"What a device must hold for {source}",
        items=[
            Item("weight_bytes", "weights, resident", Quantity(vram.weight_bytes, "B"), ANALYTIC),
            Item(
                "resident_peak_bytes",
                f"peak of {vram.stage}, {held}",
                Quantity(vram.resident_peak_bytes, "B"),
                f"{ANALYTIC}; {labels['activation_peak_bytes']}",
            ),
            Item("reserve_bytes", "reserve", Quantity(vram.reserve_bytes, "B"), "assumed"),
            Item(
                "total_bytes",
                "together",
                Quantity(vram.total_bytes, "B"),
                f"{ANALYTIC}; {labels['reserve_bytes']}",
            ),
        ],
    )


def _live_chart(stage: WalkedStage, holders: PeakHolders, timed: str | None) -> Chart:
    walk, prefill = stage.walk, stage.key == "prefill"
    live = [each.record.live_bytes for each in stage.operators]
    ends = None if timed is None else list(accumulate(each.seconds for each in stage.operators))
    named = [
        f"{Quantity(each.nbytes, 'B').text}: {f'{each.tensors} × ' if each.tensors > 1 else ''}{held_name(each)}"
        for each in folded(holders.holdings)[:NAMED_HOLDERS]
    ]
    over = (
        f"the time that the device's kernels take, one after another ({timed})"
        if ends
        else "the operators in their order: no device was named, which would say how long each takes (--device)"
    )
    given = "" if prefill else " The KV cache that the step is given is not in the curve."
    return Chart(
        key=f"live_set_{stage.key}",
        title="Live set over the prefill" if prefill else "Live set over the last decode step",
        svg=charts.memory_chart(
            live,
            [each.record.path for each in stage.operators],
            walk.peak_path or BETWEEN,
            ends,
            "The largest at the peak:" if prefill else "The largest at the peak with the given KV cache:",
            named,
        ),
        caption=f"Bytes of all live tensors, weights not counted, over {over}. The peak of "
        f"{Quantity(walk.peak_bytes, 'B').digits} is reached at {walk.peak_path or BETWEEN} "
        f"({walk.peak_operator}).{given}",
        data={
            "peak_bytes": walk.peak_bytes,
            "peak_path": walk.peak_path,
            "peak_operator": walk.peak_operator,
            "live_bytes": live,
            "end_s": ends,
        },
    )


def _holders_block(holders: PeakHolders, labels: Mapping[str, str]) -> Table:
    held = folded(holders.holdings)
    rows: list[list[Cell]] = [
        [
            each.module,
            each.operator,
            each.shape,
            each.dtype,
            each.kind,
            Quantity(each.tensors),
            Quantity(each.nbytes, "B"),
        ]
        for each in held[:LISTED_HOLDERS]
    ]
    if rest := held[LISTED_HOLDERS:]:
        tensors, nbytes = sum(each.tensors for each in rest), sum(each.nbytes for each in rest)
        rows.append([f"{len(rest)} more", None, None, None, None, Quantity(tensors), Quantity(nbytes, "B")])
    return Table(
        key="holders",
        title=f"Who holds the peak of {holders.stage}",
        columns=[
            Column(key="path", title="made in", code=True),
            Column(key="operator", title="by", code=True),
            Column(key="shape", title="shape", code=True),
            Column(key="dtype", title="type", code=True),
            Column(key="holds", title="holds"),
            Column(key="tensors", title="tensors", origin=ANALYTIC),
            Column(key="bytes", title="bytes", origin=origin(labels, "activation_peak_bytes")),
        ],
        rows=rows,
        note="All tensors alive at the peak, those alike in repeated modules together; all have "
        f"{Quantity(holders.peak_bytes, 'B').digits}.",
    )
