"""The modules of a walk as a tree, with what each of them computes, moves and takes; modules alike are folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from modelmeter.devices import BOUNDS
from modelmeter.quantities import ranges
from modelmeter.report.document import SHARE, Cell, Column, Node, Quantity, Tree
from modelmeter.walk import OperatorRecord


def _columns(timed: str) -> tuple[Column, ...]:
    """Of a module; timed: where times come from."""
    return (
        Column(key="module", title="module", code=True),
        Column(key="operators", title="operators", origin="analytic"),
        Column(key="tensor_core_flops", title="tensor-core FLOPs", origin="analytic"),
        Column(key="cuda_core_flops", title="vector FLOPs", origin="by convention"),
        Column(key="io_bytes", title="traffic", origin="analytic"),
        Column(key="io_weight_bytes", title="weights read", origin="analytic"),
        Column(key="seconds", title="time", origin=timed),
        Column(key="share", title="share of time", origin=timed),
        Column(key="bound", title="mostly bound by", origin="roofline"),
    )


def _operator_columns(timed: str) -> tuple[Column, ...]:
    """Of an operator."""
    return (
        Column(key="operator", title="operator", code=True),
        Column(key="times", title="times", origin="analytic"),
        Column(key="shapes", title="shapes", code=True),
        Column(key="dtype", title="type", code=True),
        Column(key="tensor_core_flops", title="tensor-core FLOPs", origin="analytic"),
        Column(key="cuda_core_flops", title="vector FLOPs", origin="by convention"),
        Column(key="io_bytes", title="traffic", origin="analytic"),
        Column(key="seconds", title="time", origin=timed),
        Column(key="bound", title="bound by", origin="roofline"),
    )


class Timed(NamedTuple):
    """An operator with its seconds on a device, and as the roofline has it: what bounds it."""

    record: OperatorRecord
    seconds: float
    bound: str

    def alone(self) -> Timed:
        """The same wherever it stands: without its path and what was alive."""
        return self._replace(record=self.record._replace(path="", live_bytes=0))


#: operators, tensor-core FLOPs, vector FLOPs, bytes moved, bytes of weights read, then seconds by bound (`BOUNDS`)
_Sums = tuple[Any, ...]


@dataclass
class _Module:
    """One module: the operators that it runs itself, and its submodules by name."""

    operators: list[Timed] = field(default_factory=list)
    children: dict[str, _Module] = field(default_factory=dict)

    def alike(self) -> object:
        """What two modules have in common whose folding loses nothing."""
        own = tuple(each.alone() for each in self.operators)
        return own, tuple((name, child.alike()) for name, child in self.children.items())

    def sums(self) -> _Sums:
        """What the module and its submodules do together."""
        parts = [_operator_sums(each) for each in self.operators]
        parts += [child.sums() for child in self.children.values()]
        return tuple(sum(figures) for figures in zip(*parts, strict=True))


def _operator_sums(timed: Timed) -> _Sums:
    record = timed.record
    return (
        1,
        record.tensor_core_flops,
        record.cuda_core_flops,
        record.bytes_read + record.bytes_written,
        record.weight_bytes,
        *(timed.seconds if bound == timed.bound else 0.0 for bound in BOUNDS),
    )


def module_tree(key: str, title: str, operators: Sequence[Timed], origin: str) -> Tree:
    """The tree of a walk's operators.

    Siblings that do the same are one node, `0-1, 3-4 (4 ×)`, and equal operators of a module one line.
    origin: where the times come from.
    """
    root = _Module()
    for each in operators:
        module = root
        for name in each.record.path.split(".") if each.record.path else ():
            module = module.children.setdefault(name, _Module())
        module.operators.append(each)
    writer = _Writer(sum(each.seconds for each in operators))
    nodes = writer.nodes(root.children, 1)
    if root.operators:
        alone = _Module(root.operators)
        nodes.append(writer.node("between the modules", alone, 1))
    return Tree(key=key, title=title, columns=_columns(origin), operator_columns=_operator_columns(origin), nodes=nodes)


class _Writer:
    """Nodes of a walk that takes `total` seconds."""

    def __init__(self, total: float) -> None:
        self.total = total

    def nodes(self, modules: dict[str, _Module], times: int) -> list[Node]:
        """A node for each module; numbered ones that are alike share one."""
        folded: dict[object, list[str]] = {}
        for name, module in modules.items():
            folded.setdefault(module.alike() if name.isdecimal() else name, []).append(name)
        return [self.node(_folded_name(names), modules[names[0]], times * len(names)) for names in folded.values()]

    def node(self, name: str, module: _Module, times: int) -> Node:
        """The node of `times` modules that are all like this one."""
        operators, tensor, cuda, moved, weights, *by_bound = (each * times for each in module.sums())
        seconds = sum(by_bound)
        cells = (
            Quantity(operators),
            Quantity(tensor, "FLOPs"),
            Quantity(cuda, "FLOPs"),
            Quantity(moved, "B"),
            Quantity(weights, "B"),
            Quantity(seconds, "s", estimate=True),
            Quantity(seconds / self.total if self.total else 0.0, SHARE),
            _mostly(by_bound),
        )
        alike = Counter(each.alone() for each in module.operators)
        own = [self._operator(each, times * count) for each, count in alike.items()]
        return Node(name=name, cells=cells, operators=own, children=self.nodes(module.children, times))

    def _operator(self, timed: Timed, times: int) -> tuple[Cell, ...]:
        record = timed.record
        return (
            record.aten,
            Quantity(times),
            shapes_text(record),
            record.dtype,
            Quantity(record.tensor_core_flops * times, "FLOPs"),
            Quantity(record.cuda_core_flops * times, "FLOPs"),
            Quantity((record.bytes_read + record.bytes_written) * times, "B"),
            Quantity(timed.seconds * times, "s", estimate=True),
            timed.bound,
        )


def _folded_name(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{ranges(sorted(int(name) for name in names))} ({len(names)} ×)"


def _mostly(seconds: Sequence[float]) -> str:
    """The bound that most of the time falls to."""
    return BOUNDS[max(range(len(BOUNDS)), key=seconds.__getitem__)] if any(seconds) else "-"


def shapes_text(record: OperatorRecord) -> str:
    """Shapes in and out: 1x64x64x768, 768 -> 1x64x64x768."""

    def text(shapes: Iterable[tuple[int, ...]]) -> str:
        return ", ".join("x".join(str(size) for size in shape) or "scalar" for shape in shapes) or "nothing"

    return f"{text(record.inputs)} -> {text(record.outputs)}"
