"""The modules of a walk as a tree, with what each of them computes, moves and takes; modules alike are folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from modelmeter.devices import BOUNDS, OperatorTime, Roofline
from modelmeter.quantities import ranges
from modelmeter.report.document import SHARE, Cell, Column, Node, Quantity, Tree
from modelmeter.walk import OperatorRecord, Walk

COLUMNS: Final = (
    Column(key="module", title="module", code=True),
    Column(key="operators", title="operators", origin="analytic"),
    Column(key="tensor_core_flops", title="tensor-core FLOPs", origin="analytic"),
    Column(key="cuda_core_flops", title="vector FLOPs", origin="by convention"),
    Column(key="io_bytes", title="traffic", origin="analytic"),
    Column(key="io_weight_bytes", title="weights read", origin="analytic"),
    Column(key="seconds", title="time", origin="analytic"),
    Column(key="share", title="share of time", origin="analytic"),
    Column(key="bound", title="mostly bound by", origin="analytic"),
)

OPERATOR_COLUMNS: Final = (
    Column(key="operator", title="operator", code=True),
    Column(key="times", title="times", origin="analytic"),
    Column(key="shapes", title="shapes", code=True),
    Column(key="dtype", title="type", code=True),
    Column(key="tensor_core_flops", title="tensor-core FLOPs", origin="analytic"),
    Column(key="cuda_core_flops", title="vector FLOPs", origin="by convention"),
    Column(key="io_bytes", title="traffic", origin="analytic"),
    Column(key="seconds", title="time", origin="analytic"),
    Column(key="bound", title="bound by", origin="analytic"),
)


#: operators, tensor-core FLOPs, vector FLOPs, bytes moved, bytes of weights read, then ticks by bound as in `BOUNDS`
_Sums = tuple[int, ...]


@dataclass
class _Module:
    """One module: the operators that it runs itself, and its submodules by name."""

    operators: list[OperatorTime] = field(default_factory=list)
    children: dict[str, _Module] = field(default_factory=dict)

    def alike(self) -> object:
        """What two modules have in common whose folding loses nothing."""
        own = tuple((each.record._replace(path="", live_bytes=0), each.ticks) for each in self.operators)
        return own, tuple((name, child.alike()) for name, child in self.children.items())

    def sums(self) -> _Sums:
        """What the module and its submodules do together."""
        parts = [_operator_sums(each) for each in self.operators]
        parts += [child.sums() for child in self.children.values()]
        return tuple(sum(figures) for figures in zip(*parts, strict=True))


def _operator_sums(time: OperatorTime) -> _Sums:
    record = time.record
    return (
        1,
        record.tensor_core_flops,
        record.cuda_core_flops,
        record.bytes_read + record.bytes_written,
        record.weight_bytes,
        *(time.ticks if bound == time.bound else 0 for bound in BOUNDS),
    )


def module_tree(key: str, title: str, walk: Walk, roofline: Roofline, note: str = "") -> Tree:
    """The tree of a walk, its times those of `roofline`; siblings that do the same are one node, `0-1, 3-4 (4 ×)`."""
    root = _Module()
    for each in roofline.operators(walk):
        module = root
        for name in each.record.path.split(".") if each.record.path else ():
            module = module.children.setdefault(name, _Module())
        module.operators.append(each)
    writer = _Writer(roofline.ticks_per_s, roofline.stage(walk).ticks)
    nodes = writer.nodes(root.children, 1)
    if root.operators:
        alone = _Module(root.operators)
        nodes.append(writer.node("between the modules", alone, 1))
    return Tree(key=key, title=title, columns=COLUMNS, operator_columns=OPERATOR_COLUMNS, nodes=nodes, note=note)


class _Writer:
    """Nodes of a walk that takes `total` ticks."""

    def __init__(self, ticks_per_s: int, total: int) -> None:
        self.ticks_per_s = ticks_per_s
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
        ticks = sum(by_bound)
        cells = (
            Quantity(operators),
            Quantity(tensor, "FLOPs"),
            Quantity(cuda, "FLOPs"),
            Quantity(moved, "B"),
            Quantity(weights, "B"),
            self._seconds(ticks),
            Quantity(ticks / self.total if self.total else 0.0, SHARE),
            _mostly(by_bound),
        )
        own = [self._operator(each, times) for each in module.operators]
        return Node(name=name, cells=cells, operators=own, children=self.nodes(module.children, times))

    def _operator(self, time: OperatorTime, times: int) -> tuple[Cell, ...]:
        record = time.record
        return (
            record.aten,
            Quantity(times),
            shapes_text(record),
            record.dtype,
            Quantity(record.tensor_core_flops * times, "FLOPs"),
            Quantity(record.cuda_core_flops * times, "FLOPs"),
            Quantity((record.bytes_read + record.bytes_written) * times, "B"),
            self._seconds(time.ticks * times),
            time.bound,
        )

    def _seconds(self, ticks: int) -> Quantity:
        return Quantity(ticks / self.ticks_per_s, "s")


def _folded_name(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{ranges(sorted(int(name) for name in names))} ({len(names)} ×)"


def _mostly(ticks: Sequence[int]) -> str:
    """The bound that most of the time falls to."""
    return BOUNDS[max(range(len(BOUNDS)), key=ticks.__getitem__)] if any(ticks) else "-"


def shapes_text(record: OperatorRecord) -> str:
    """Shapes in and out: 1x64x64x768, 768 -> 1x64x64x768."""

    def text(shapes: Iterable[tuple[int, ...]]) -> str:
        return ", ".join("x".join(str(size) for size in shape) or "scalar" for shape in shapes) or "nothing"

    return f"{text(record.inputs)} -> {text(record.outputs)}"
