"""The modules of a walk as a tree, with what each of them computes, moves and takes; modules alike are folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modelmeter.quantities import ranges
from modelmeter.report.document import Cell, Column, Node, Quantity, Tree
from modelmeter.report.origins import ANALYTIC, origin
from modelmeter.report.part_blocks import part_cells, part_columns
from modelmeter.report.parts import BETWEEN, Part, TimedOperator, WalkedStage, shapes_text


def _operator_columns(labels: Mapping[str, str], timed: str) -> tuple[Column, ...]:
    """Of an operator."""
    return (
        Column(key="operator", title="operator", code=True),
        Column(key="times", title="times", origin=ANALYTIC),
        Column(key="shapes", title="shapes", code=True),
        Column(key="dtype", title="type", code=True),
        Column(key="tensor_core_flops", title="tensor-core FLOPs", origin=ANALYTIC),
        Column(key="cuda_core_flops", title="vector FLOPs", origin=labels["cuda_core_flops"]),
        Column(key="io_bytes", title="traffic", origin=origin(labels, "io_bytes")),
        Column(key="seconds", title="time", origin=timed),
        Column(key="bound", title="bound by", origin="roofline"),
    )


@dataclass
class _Module:
    """One module: the operators that it runs itself, and its submodules by name."""

    operators: list[TimedOperator] = field(default_factory=list)
    children: dict[str, _Module] = field(default_factory=dict)

    def alike(self) -> object:
        """What two modules have in common whose folding loses nothing."""
        own = tuple(each.alone() for each in self.operators)
        return own, tuple((name, child.alike()) for name, child in self.children.items())

    def all_operators(self) -> Iterator[TimedOperator]:
        """Those of the module and its submodules."""
        yield from self.operators
        for child in self.children.values():
            yield from child.all_operators()


def module_tree(stage: WalkedStage, title: str, labels: Mapping[str, str], timed: str) -> Tree:
    """The tree of a stage's operators.

    Siblings that do the same are one node, `0-1, 3-4 (4 ×)`, and equal operators of a module one line.
    timed: where the times come from.
    """
    root = _Module()
    for each in stage.operators:
        module = root
        for name in each.record.path.split(".") if each.record.path else ():
            module = module.children.setdefault(name, _Module())
        module.operators.append(each)
    writer = _Writer(stage.seconds)
    nodes = writer.nodes(root.children, 1)
    if root.operators:
        alone = _Module(root.operators)
        nodes.append(writer.node(BETWEEN, alone, 1))
    columns = (
        Column(key="module", title="module", code=True),
        Column(key="operators", title="operators", origin=ANALYTIC),
        *part_columns(labels, timed),
    )
    return Tree(
        key=stage.key, title=title, columns=columns, operator_columns=_operator_columns(labels, timed), nodes=nodes
    )


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
        part = Part.of((name,), [*module.all_operators()] * times)
        alike = Counter(each.alone() for each in module.operators)
        own = [self._operator(each, times * count) for each, count in alike.items()]
        cells = part_cells(part, self.total)
        return Node(name=name, cells=cells, operators=own, children=self.nodes(module.children, times))

    def _operator(self, timed: TimedOperator, times: int) -> tuple[Cell, ...]:
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
