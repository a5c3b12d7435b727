"""A report as Markdown: the same blocks; a chart is its caption, a tree a table of its modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelmeter.errors import printable
from modelmeter.report.document import (
    Cell,
    Chart,
    Column,
    Fold,
    Item,
    Node,
    Pairs,
    Report,
    Table,
    Text,
    Tree,
    cell_text,
    holds_figures,
)


def report_markdown(report: Report) -> str:
    """The Markdown text of a report."""
    parts = [f"# {report.title}", _escaped(report.subject)]
    for section in report.sections:
        parts.append(f"## {section.title}")
        for block in section.blocks:
            for each in block.charts if isinstance(block, Fold) else (block,):
                parts += _block(each)
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Text | Pairs | Table | Tree | Chart) -> list[str]:
    if isinstance(block, Text):
        return [_escaped(block.text)]
    title = f"### {_escaped(block.title)}" if block.title else ""
    if isinstance(block, Chart):
        return [title, _escaped(block.caption)]
    if isinstance(block, Pairs):
        return [title, "\n".join(map(_item, block.items))]
    if isinstance(block, Table):
        return [title, _table(block.columns, block.rows), _escaped(block.note)]
    note = f"{block.note} The operators within the modules are in the HTML and the JSON report.".strip()
    return [title, _table(block.columns, list(_nodes(block.nodes))), note]


def _item(item: Item) -> str:
    origin = f" ({item.origin})" if item.origin else ""
    return f"- {_escaped(item.label + origin)}: {_escaped(cell_text(item.cell))}"


def _nodes(nodes: Sequence[Node], prefix: str = "") -> Iterator[Sequence[Cell]]:
    """A row a module, under its whole path."""
    for node in nodes:
        path = f"{prefix}.{node.name}" if prefix else node.name
        yield (path, *node.cells)
        yield from _nodes(node.children, path)


def _table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> str:
    lines = [
        [_escaped(f"{column.title} ({column.origin})" if column.origin else column.title) for column in columns],
        ["---:" if each else "---" for each in holds_figures(columns, rows)],
    ]
    lines += [[_cell(column, cell) for column, cell in zip(columns, row, strict=True)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(column: Column, cell: Cell) -> str:
    if isinstance(cell, str):
        words = printable(cell.strip())
        if column.code and "`" not in words and words:
            return f"`{words}`".replace("|", "\\|")
        indent = "&nbsp;" * (len(cell) - len(cell.lstrip()))
        return indent + _escaped(words)
    return cell_text(cell)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    text = printable(text)
    for sign in "\\`*_<|#[]":
        text = text.replace(sign, f"\\{sign}")
    return text
