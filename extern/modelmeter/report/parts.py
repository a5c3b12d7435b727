"""What a stage of a page comes to by module, by operator or by class of kernel: as a table, as CSV, as JSON.

Every operator of a stage's walk falls into one part, so parts sum to the stage. A decode step is the last one: the
largest. On a device an operator has the seconds of its kernel (`devices.stage_time`), and what bounds it by the
roofline at the device's peaks (`devices.roofline`); both are estimates, the counts are exact.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelmeter.devices import Roofline
from modelmeter.devices.decode import last_step
from modelmeter.kernel_classes import kernel_class
from modelmeter.quantities import readable_seconds
from modelmeter.report.module_tree import shapes_text
from modelmeter.report.page_tables import Show, exact_figure, figures_table
from modelmeter.report.terminal import OneLine

if TYPE_CHECKING:
    from rich.table import Table

    from modelmeter.devices.stage_time import StageTimes
    from modelmeter.models.common.contract import CostModel, PageCost
    from modelmeter.walk import OperatorRecord, Walk

MODULE: Final = "module"
OPERATOR: Final = "operator"
KERNEL_CLASS: Final = "kernel-class"

#: of an operator that no module within the stage runs
BETWEEN: Final = "between the modules"


class TimedOperator(NamedTuple):
    """An operator; on a device with its seconds, and with what bounds it: "compute", "memory" or "launch"."""

    record: OperatorRecord
    seconds: float | None = None
    bound: str | None = None


@dataclass(frozen=True, kw_only=True)
class WalkedStage:
    """The operators of a stage, in order. key: "prefill" or "decode_step"; title: which one, in words."""

    key: str
    title: str
    walk: Walk
    operators: Sequence[TimedOperator]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Operators of a stage together: how many, their FLOPs, the bytes that they move, and of those the weights'.

    seconds: on a device; bound: what most of them fall to.
    """

    name: str
    operators: int
    tensor_core_flops: int
    cuda_core_flops: int
    io_bytes: int
    io_weight_bytes: int
    seconds: float | None = None
    bound: str | None = None

    @classmethod
    def of(cls, name: str, operators: Sequence[TimedOperator]) -> Part:
        """These operators under a name."""
        records = [each.record for each in operators]
        by_bound: dict[str, float] = {}
        for each in operators:
            if each.bound is not None and each.seconds is not None:
                by_bound[each.bound] = by_bound.get(each.bound, 0.0) + each.seconds
        return cls(
            name=name,
            operators=len(records),
            tensor_core_flops=sum(record.tensor_core_flops for record in records),
            cuda_core_flops=sum(record.cuda_core_flops for record in records),
            io_bytes=sum(record.bytes_read + record.bytes_written for record in records),
            io_weight_bytes=sum(record.weight_bytes for record in records),
            seconds=sum(by_bound.values()) if by_bound else None,
            bound=max(by_bound, key=lambda bound: by_bound[bound]) if by_bound else None,
        )


def module_name(path: str) -> str:
    """A module's path, the numbers of repeated modules left open.

    >>> module_name("layers.11.mlp.gate"), module_name("")
    ('layers.*.mlp.gate', 'between the modules')
    """
    return ".".join("*" if name.isdecimal() else name for name in path.split(".")) if path else BETWEEN


_NAMES: Final[Mapping[str, Callable[[OperatorRecord], str]]] = MappingProxyType(
    {
        MODULE: lambda record: module_name(record.path),
        OPERATOR: lambda record: f"{record.aten} {record.dtype}",
        KERNEL_CLASS: kernel_class,
    }
)
#: what parts may be told apart by
BY: Final = tuple(_NAMES)


def walked_stages(
    model: CostModel, page: PageCost, output_tokens: int, times: StageTimes | None = None
) -> list[WalkedStage]:
    """The operators of a page's prefill, and of the last of its decode steps if it has any; `times`: of a device.

    Of a page of several passes it is the last step of that pass which has most tokens before it.
    """
    timed = _untimed if times is None else _timed_by(times)
    prefill = model.stage_walk("prefill", page=page)
    stages = [WalkedStage(key="prefill", title="prefill, vision included", walk=prefill, operators=timed(prefill))]
    if output_tokens:
        last, of = last_step(page, output_tokens), len(page.passes(output_tokens))
        step = model.stage_walk("decode", context=last.context, generated=last.generated)
        steps = f"{last.generated + 1:,}"
        in_pass = f" in pass {last.number} of {of}" if of > 1 else ""
        title = f"decode step {steps} of {steps}{in_pass}, with {last.context:,} tokens before it"
        stages.append(WalkedStage(key="decode_step", title=title, walk=step, operators=timed(step)))
    return stages


def _untimed(walk: Walk) -> list[TimedOperator]:
    return [TimedOperator(record) for record in walk.records()]


def _timed_by(times: StageTimes) -> Callable[[Walk], list[TimedOperator]]:
    roofline = Roofline(times.device, float32=times.float32)

    def timed(walk: Walk) -> list[TimedOperator]:
        bounds = [each.bound for each in roofline.operators(walk)]
        return [
            TimedOperator(record, seconds, bound)
            for (record, seconds), bound in zip(times.operators(walk), bounds, strict=True)
        ]

    return timed


def parts_of(operators: Iterable[TimedOperator], by: str) -> list[Part]:
    """The parts of a stage by "module", "operator" or "kernel-class": those that take most time first.

    Without times, those with the most tensor-core FLOPs; of equal ones, those that move more.
    """
    groups: dict[str, list[TimedOperator]] = {}
    name = _NAMES[by]
    for each in operators:
        groups.setdefault(name(each.record), []).append(each)
    parts = [Part.of(each, group) for each, group in groups.items()]
    return sorted(parts, key=lambda part: (part.seconds or 0.0, part.tensor_core_flops, part.io_bytes), reverse=True)


def parts_table(stage: WalkedStage, by: str, top: int, show: Show) -> Table:
    """The largest parts of a stage, the others together, and their sum."""
    timed = stage.operators[0].seconds is not None
    shares = ("time", "% of\ntime", "bound\nby") if timed else ("% of\nFLOPs", "% of\ntraffic")
    table = figures_table(by, "opera-\ntors", "tensor\nFLOPs", "traffic", *shares)
    table.columns[0].no_wrap = show is exact_figure
    table.padding = (0, 1, 0, 0)
    parts = parts_of(stage.operators, by)
    listed, rest = parts[:top], parts[top:]
    whole = Part.of("all", stage.operators)
    if rest:
        names = {part.name for part in rest}
        others = [each for each in stage.operators if _NAMES[by](each.record) in names]
        listed.append(Part.of(f"{len(rest)} more", others))
    for number, part in enumerate([*listed, whole], start=1):
        table.add_row(
            OneLine(part.name.replace(".default ", " ")), *_cells(part, whole, show), end_section=number == len(listed)
        )
    return table


def _cells(part: Part, whole: Part, show: Show) -> list[str]:
    cells = [f"{part.operators:,}", show(part.tensor_core_flops, ""), show(part.io_bytes, "B")]
    if part.seconds is None:
        return [
            *cells,
            _share(part.tensor_core_flops, whole.tensor_core_flops),
            _share(part.io_bytes, whole.io_bytes),
        ]
    return [*cells, readable_seconds(part.seconds, 3), _share(part.seconds, whole.seconds or 0.0), part.bound or "-"]


def _share(value: float, whole: float) -> str:
    return f"{100 * value / whole:.1f}" if whole else "-"


def parts_content(stages: Iterable[WalkedStage], by: str) -> dict[str, list[dict[str, Any]]]:
    """For JSON: all parts of each stage; times where there are any."""
    return {stage.key: [_told(asdict(part)) for part in parts_of(stage.operators, by)] for stage in stages}


def _told(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part without what nobody computed."""
    return {name: value for name, value in part.items() if value is not None}


def parts_csv(stages: Iterable[WalkedStage], by: str) -> str:
    """A row a part, all of each stage."""
    return _csv({"stage": stage.key} | asdict(part) for stage in stages for part in parts_of(stage.operators, by))


def operators_csv(stages: Iterable[WalkedStage]) -> str:
    """A row an operator, in the order in which they run."""
    return _csv(
        {
            "stage": stage.key,
            "module": record.path,
            "operator": record.aten,
            "kernel_class": kernel_class(record),
            "dtype": record.dtype,
            "shapes": shapes_text(record),
            "tensor_core_flops": record.tensor_core_flops,
            "cuda_core_flops": record.cuda_core_flops,
            "bytes_read": record.bytes_read,
            "bytes_written": record.bytes_written,
            "io_weight_bytes": record.weight_bytes,
            "io_kv_bytes": record.kv_bytes,
            "live_bytes": record.live_bytes,
            "seconds": seconds,
            "bound": bound,
        }
        for stage in stages
        for record, seconds, bound in stage.operators
    )


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows with a head; what nobody computed is empty."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return text.getvalue()
