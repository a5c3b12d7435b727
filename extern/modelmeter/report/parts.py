"""What a stage of a page comes to by module, by operator or by class of kernel: as a table, as CSV, as JSON.

Every operator of a stage's walk falls into one part, so parts sum to the stage. A decode step is the last one: the
largest. On a device an operator has the seconds of its kernel (`devices.stage_time`), and what bounds it by the
roofline at the device's peaks (`devices.roofline`); both are estimates, the counts are exact. Without constants of the
device's kernels the seconds are the roofline's too, and a bound.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelmeter.devices import BOUNDS, Roofline
from modelmeter.devices.decode import last_step
from modelmeter.kernel_classes import kernel_class
from modelmeter.quantities import readable_seconds
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
    """An operator, its seconds on a device, and what bounds it, of `BOUNDS`; without a device 0 and ""."""

    record: OperatorRecord
    seconds: float = 0.0
    bound: str = ""

    def alone(self) -> TimedOperator:
        """The same wherever it stands: without its path and what was alive."""
        return self._replace(record=self.record._replace(path="", live_bytes=0))


@dataclass(frozen=True, kw_only=True)
class WalkedStage:
    """The operators of a stage, in order. key: "prefill" or "decode_step"; title: which one, in words."""

    key: str
    title: str
    walk: Walk
    operators: Sequence[TimedOperator]

    @property
    def name(self) -> str:
        """The stage in a table's words."""
        return self.key.replace("_", " ")

    @property
    def seconds(self) -> float:
        """Of all operators, one after another."""
        return sum(each.seconds for each in self.operators)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Operators of a stage together: how many, their FLOPs, the bytes that they move, and of those the weights'.

    words: its name, of an operator with the type apart. seconds: on a device; bound: what most of them fall to.
    """

    words: tuple[str, ...]
    operators: int
    tensor_core_flops: int
    cuda_core_flops: int
    io_bytes: int
    io_weight_bytes: int
    seconds: float | None = None
    bound: str | None = None

    @classmethod
    def of(cls, words: tuple[str, ...], operators: Sequence[TimedOperator]) -> Part:
        """These operators under a name."""
        records = [each.record for each in operators]
        by_bound = {bound: sum(each.seconds for each in operators if each.bound == bound) for bound in BOUNDS}
        timed = any(each.bound for each in operators)
        return cls(
            words=words,
            operators=len(records),
            tensor_core_flops=sum(record.tensor_core_flops for record in records),
            cuda_core_flops=sum(record.cuda_core_flops for record in records),
            io_bytes=sum(record.bytes_read + record.bytes_written for record in records),
            io_weight_bytes=sum(record.weight_bytes for record in records),
            seconds=sum(by_bound.values()) if timed else None,
            bound=max(BOUNDS, key=lambda bound: by_bound[bound]) if any(by_bound.values()) else None,
        )

    @property
    def name(self) -> str:
        """Its words in one."""
        return " ".join(self.words)

    def as_dict(self) -> dict[str, Any]:
        """Name and figures; None for what nobody computed."""
        figures = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "words"}
        return {"name": self.name} | figures


def module_name(path: str) -> str:
    """A module's path, the numbers of repeated modules left open.

    >>> module_name("layers.11.mlp.gate"), module_name("")
    ('layers.*.mlp.gate', 'between the modules')
    """
    return ".".join("*" if name.isdecimal() else name for name in path.split(".")) if path else BETWEEN


def shapes_text(record: OperatorRecord) -> str:
    """Shapes in and out: 1x64x64x768, 768 -> 1x64x64x768."""

    def text(shapes: Iterable[tuple[int, ...]]) -> str:
        return ", ".join(map(shape_text, shapes)) or "nothing"

    return f"{text(record.inputs)} -> {text(record.outputs)}"


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape: 1x64x64x768."""
    return "x".join(map(str, shape)) or "scalar"


_WORDS: Final[Mapping[str, Callable[[OperatorRecord], tuple[str, ...]]]] = MappingProxyType(
    {
        MODULE: lambda record: (module_name(record.path),),
        OPERATOR: lambda record: (record.aten, record.dtype),
        KERNEL_CLASS: lambda record: (kernel_class(record),),
    }
)
#: what parts may be told apart by
BY: Final = tuple(_WORDS)


def walked_stages(
    model: CostModel, page: PageCost, output_tokens: int, times: StageTimes | Roofline | None = None
) -> list[WalkedStage]:
    """The operators of a page's prefill, and of the last of its decode steps if it has any.

    times: of a device, by its kernels' constants or by its roofline alone. Of a page of several passes it is the last
    step of that pass which has most tokens before it.
    """
    prefill = model.stage_walk("prefill", page=page)
    stages = [_stage("prefill", "prefill, vision included", prefill, times)]
    if output_tokens:
        last, of = last_step(model, page, output_tokens), len(page.passes(output_tokens))
        step = model.stage_walk("decode", context=last.context, generated=last.generated)
        steps = f"{last.steps:,}"
        in_pass = f" in pass {last.number} of {of}" if of > 1 else ""
        title = f"decode step {steps} of {steps}{in_pass}, with {last.context:,} tokens before it"
        stages.append(_stage("decode_step", title, step, times))
    return stages


def _stage(key: str, title: str, walk: Walk, times: StageTimes | Roofline | None) -> WalkedStage:
    if times is None:
        operators = [TimedOperator(record) for record in walk.records()]
    elif isinstance(times, Roofline):
        operators = [
            TimedOperator(each.record, each.ticks / times.ticks_per_s, each.bound) for each in times.operators(walk)
        ]
    else:
        bounds = Roofline(times.device, float32=times.float32).operators(walk)
        operators = [
            TimedOperator(record, seconds, each.bound)
            for (record, seconds), each in zip(times.operators(walk), bounds, strict=True)
        ]
    return WalkedStage(key=key, title=title, walk=walk, operators=operators)


def parts_of(operators: Iterable[TimedOperator], by: str) -> list[Part]:
    """The parts of a stage by "module", "operator" or "kernel-class": those that take most time first.

    Without times, those with the most tensor-core FLOPs; of equal ones, those that move more.
    """
    groups: dict[tuple[str, ...], list[TimedOperator]] = {}
    words = _WORDS[by]
    for each in operators:
        groups.setdefault(words(each.record), []).append(each)
    parts = [Part.of(each, group) for each, group in groups.items()]
    return sorted(parts, key=lambda part: (part.seconds or 0.0, part.tensor_core_flops, part.io_bytes), reverse=True)


def parts_table(stage: WalkedStage, by: str, top: int, show: Show) -> Table:
    """The largest parts of a stage, the others together, and their sum."""
    timed = bool(stage.operators[0].bound)
    shares = ("time", "% of\ntime", "bound\nby") if timed else ("% of\nFLOPs", "% of\ntraffic")
    table = figures_table(by, "opera-\ntors", "tensor\nFLOPs", "traffic", *shares)
    table.columns[0].no_wrap = show is exact_figure
    table.padding = (0, 1, 0, 0)
    parts = parts_of(stage.operators, by)
    listed, rest = parts[:top], parts[top:]
    whole = Part.of(("all",), stage.operators)
    if rest:
        names = {part.words for part in rest}
        others = [each for each in stage.operators if _WORDS[by](each.record) in names]
        listed.append(Part.of((f"{len(rest)} more",), others))
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
    return {stage.key: [_told(part.as_dict()) for part in parts_of(stage.operators, by)] for stage in stages}


def _told(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part without what nobody computed."""
    return {name: value for name, value in part.items() if value is not None}


def parts_csv(stages: Iterable[WalkedStage], by: str) -> str:
    """A row a part, all of each stage."""
    return _csv({"stage": stage.key} | part.as_dict() for stage in stages for part in parts_of(stage.operators, by))


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
            "seconds": seconds if bound else None,
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
