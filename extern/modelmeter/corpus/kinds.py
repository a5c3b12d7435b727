"""From a corpus that was counted to the kinds of pages whose throughput a device has."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING

from modelmeter.corpus.totals import CorpusCost
from modelmeter.devices import PageKind
from modelmeter.models.common.contract import CorpusModel, Layout

if TYPE_CHECKING:
    from modelmeter.models.common.contract import PageCost

#: decode steps of each page, or several numbers with their weights
OutputTokens = int | Mapping[int, float | Fraction]


def page_kinds(
    cost: CorpusCost,
    model: CorpusModel,
    output_tokens: OutputTokens | None = None,
    *,
    by_group: Mapping[str | None, OutputTokens] = MappingProxyType({}),
    label: str = "",
) -> list[PageKind[PageCost]]:
    """A kind for the pages of each group and layout, for `compute_throughput`; its label is the group's name.

    Output tokens: `by_group`, else `output_tokens`, else the decode steps that the corpus was counted with. `label`: of
    pages without a group.
    """
    steps: dict[tuple[str | None, Layout], dict[int, int]] = {}
    for cell in sorted(cost.cells, key=lambda cell: (cell.group is None, cell.group or "", *cell[1:])):
        steps.setdefault((cell.group, cell.layout), {})[cell.decode_steps] = cost.cells[cell]
    return [
        PageKind(
            page=model.layout_cost(layout),
            output_tokens=by_group.get(group, counted if output_tokens is None else output_tokens),
            count=sum(counted.values()),
            label=label if group is None else group,
        )
        for (group, layout), counted in steps.items()
    ]
