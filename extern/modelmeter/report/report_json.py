"""A report as JSON: sections by key, in each its texts, and its tables, trees and charts by key; integers exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelmeter.report.document import (
    Block,
    Cell,
    Chart,
    Column,
    Fold,
    Node,
    Pairs,
    Quantity,
    Report,
    Table,
    Text,
    Tree,
)
from modelmeter.report.json_document import json_text


def report_json(report: Report) -> str:
    """The JSON document of a report."""
    return json_text(
        "report",
        {
            "title": report.title,
            "subject": report.subject,
            "sections": {
                section.key: {"title": section.title} | _blocks(section.blocks) for section in report.sections
            },
        },
    )


def _blocks(blocks: Sequence[Block]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    texts = [block.text for block in blocks if isinstance(block, Text)]
    if texts:
        content["texts"] = texts
    for block in blocks:
        if isinstance(block, Fold):
            content |= _blocks(block.charts)
        elif not isinstance(block, Text):
            content[block.key] = _block(block)
    return content


def _block(block: Pairs | Table | Tree | Chart) -> dict[str, Any]:
    if isinstance(block, Pairs):
        items = [
            {"key": item.key, "label": item.label} | _cell("value", item.cell) | {"origin": item.origin}
            for item in block.items
        ]
        return {"title": block.title, "items": items}
    if isinstance(block, Table):
        rows = [_row(block.columns, row) for row in block.rows]
        return {"title": block.title, "note": block.note, "columns": _columns(block.columns), "rows": rows}
    if isinstance(block, Tree):
        return {
            "title": block.title,
            "note": block.note,
            "columns": _columns(block.columns),
            "modules": [_node(block, node) for node in block.nodes],
        }
    return {"title": block.title, "caption": block.caption, "data": block.data}


def _columns(columns: Sequence[Column]) -> dict[str, Any]:
    return {column.key: {"title": column.title, "origin": column.origin} for column in columns}


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column, cell in zip(columns, row, strict=True):
        values |= _cell(column.key, cell)
    return values


def _cell(key: str, cell: Cell) -> dict[str, Any]:
    """The value; of a figure its unit and the ends of its interval beside it, where it has them."""
    if not isinstance(cell, Quantity):
        return {key: cell.strip() if cell else cell}
    ends = {} if cell.low is None else {f"{key}_low": cell.low, f"{key}_high": cell.high}
    return {key: cell.value} | ends | ({f"{key}_unit": cell.unit} if cell.unit else {})


def _node(tree: Tree, node: Node) -> dict[str, Any]:
    return _row(tree.columns, (node.name, *node.cells)) | {
        "run_here": [_row(tree.operator_columns, operator) for operator in node.operators],
        "modules": [_node(tree, child) for child in node.children],
    }
