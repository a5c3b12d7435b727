"""A page's cost and a cost model as text and as HTML: what `print`, `repr` and a notebook show of them.

At most 80 columns and 20 lines. What rests on a declaration, an assumption or a convention carries its label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from modelmeter.memory import GPU
from modelmeter.quantities import readable

if TYPE_CHECKING:
    from modelmeter.models.common.contract import CostModel
    from modelmeter.models.common.cost_model import TextCost

#: columns of a terminal that everybody has
WIDTH: Final = 80

#: rows of a table: figure of `StageCost`, words for it, unit of its readable form
FIGURES: Final = (
    ("tensor_core_flops", "tensor-core FLOPs", ""),
    ("cuda_core_flops", "vector FLOPs", ""),
    ("io_bytes", "traffic", "B"),
    ("io_weight_bytes", "  weights", "B"),
    ("io_activation_bytes", "  activations", "B"),
    ("io_kv_bytes", "  KV cache", "B"),
    ("weight_bytes", "resident weights", "B"),
    ("activation_peak_bytes", "activation peak", "B"),
    ("resident_peak_bytes", "  given KV cache included", "B"),
    ("kv_bytes", "KV cache at the end", "B"),
)

#: values of a list that are written out
_LISTED: Final = 4
#: settings that are left out of a line
_OF_THE_DECODER: Final = ("runtime.head", "runtime.experts_hit")


class _Parts(NamedTuple):
    """What is shown: paragraphs above the table, its columns and rows, paragraphs below it."""

    above: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    below: Sequence[str]


def short(model: CostModel) -> str:
    """A cost model in a line."""
    told = [each for each in _settings(model) if not each.startswith(_OF_THE_DECODER)]
    return f"<CostModel {' '.join(told)}>"


def line(page: TextCost) -> str:
    """A page in a line."""
    model, total = page.cost_model, page.total
    return (
        f"<{type(page).__name__} {model.name} {workload_overrides(model)[0]}: {page.seq_len:,} tokens, {_steps(page)}, "
        f"{readable(total.tensor_core_flops, 'FLOPs')} on tensor cores, {readable(total.io_bytes, 'B')} moved>"
    )


def text(page: TextCost) -> str:
    """A page as a table."""
    parts = _parts(page)
    first = max(len(name) for name, _ in parts.rows) + 1
    width = (WIDTH - first) // len(parts.columns)
    rows = [("", parts.columns), *parts.rows]
    lines = [f"{name:<{first}}{''.join(f'{cell:>{width}}' for cell in cells)}".rstrip() for name, cells in rows]
    return "\n".join((*_wrapped(parts.above), *lines, *_wrapped(parts.below)))


def html(page: TextCost) -> str:
    """A page as an HTML table."""
    from html import escape

    def paragraphs(texts: Sequence[str]) -> str:
        return "".join(f"<p>{escape(each)}</p>" for each in texts)

    parts = _parts(page)
    head = "".join(f'<th scope="col" style="text-align: right">{escape(each)}</th>' for each in parts.columns)
    rows = "".join(
        f'<tr><th scope="row" style="text-align: left; white-space: pre">{escape(name)}</th>'
        + "".join(f'<td style="text-align: right">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for name, cells in parts.rows
    )
    table = f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div>{paragraphs(parts.above)}{table}{paragraphs(parts.below)}</div>"


def _parts(page: TextCost) -> _Parts:
    labels, stages = labels_of(page.cost_model), page.stages()
    return _Parts(
        above=[" ".join(_settings(page.cost_model)), _tokens(page, labels)],
        columns=list(stages),
        rows=[
            (labelled(words, labels, figure), [readable(getattr(cost, figure), unit) for cost in stages.values()])
            for figure, words, unit in FIGURES
        ],
        below=[*(["Prefill includes vision."] if "vision" in stages else []), _memory(page, labels)],
    )


def _settings(model: CostModel) -> list[str]:
    """The model's name, then what its figures depend on as overrides: checkpoint, workload, execution, type, …"""
    labels = labels_of(model)
    told = {key: labelled(f"{key}={plain(value)}", labels, key) for key, value in model.settings().items()}
    checkpoint = told.pop("checkpoint", None)
    name = [labelled(model.name, labels, "checkpoint")] if checkpoint is None else [model.name, checkpoint]
    return [*name, *workload_overrides(model), *told.values()]


def workload_overrides(model: CostModel) -> list[str]:
    """The workload as overrides: the named one that it differs least from, and what it has otherwise."""
    mode, others = _nearest_mode(model)
    return [f"workload={mode}", *(f"workload.{key}={plain(value)}" for key, value in others.items())]


def mode_words(model: CostModel) -> str:
    """The named workload that the model's differs least from, what it has otherwise, which of it the engine sets."""
    mode, others = _nearest_mode(model)
    of_engine = model.engine_workload()
    told = (
        f"{key}={plain(value)}{f' of engine={model.engine.name}' if of_engine.get(key) == value else ''}"
        for key, value in others.items()
    )
    return ", ".join((mode, *told))


def mode_name(model: CostModel) -> str:
    """The named workload that the model's differs least from."""
    return _nearest_mode(model)[0]


def _nearest_mode(model: CostModel) -> tuple[str, dict[str, object]]:
    """The named workload that the model's differs least from, and what it has otherwise."""
    knobs = vars(model.workload)
    unlike = {
        name: {key: value for key, value in knobs.items() if value != vars(workload)[key]}
        for name, workload in model.modes.items()
    }
    nearest = min(unlike, key=lambda name: len(unlike[name]))
    return nearest, unlike[nearest]


def _tokens(page: TextCost, labels: Mapping[str, str]) -> str:
    """How the page is cut, and the tokens of its prefill and of its decode."""
    model, tokens = page.cost_model, getattr(page, "tokens", None)
    pages = f"{model.batch_size:,} pages at once, each: " if model.batch_size > 1 else ""
    if tokens is None:
        return f"{pages}{page.seq_len:,} tokens in prefill, {_steps(page)}"
    layout, views = attrgetter("layout", "views")(page)
    count = sum(each.count for each in views)
    cut = labelled(f"{model.workload.layout_title} {model.workload.layout_text(layout)}", labels, "layout")
    of_request = model.request.pages
    prompt = labelled(f"{page.seq_len - of_request * tokens.total:,} prompt", labels, "prompt_tokens")
    images = f"{of_request} x {tokens.total:,}" if of_request > 1 else f"{tokens.total:,}"
    sums = f"{images} image + {prompt} = {page.seq_len:,} tokens in prefill"
    return f"{pages}{count} view{'s' * (count != 1)}, {cut}: {sums}, {_steps(page)}"


def _steps(page: TextCost) -> str:
    return page.cost_model.steps_text(page.output_tokens, len(page.passes(0)))


def _memory(page: TextCost, labels: Mapping[str, str]) -> str:
    """What a device must hold."""
    need = page.vram(device_kind=GPU)
    parts = (
        f"weights {readable(need.weight_bytes, 'B')}",
        labelled(f"peak of {need.stage} {readable(need.resident_peak_bytes, 'B')}", labels, need.stage),
        f"{readable(need.reserve_bytes, 'B')} ({labels['reserve_bytes']})",
    )
    return f"Memory of a GPU: {readable(need.total_bytes, 'B')} = {' + '.join(parts)}"


def labels_of(model: CostModel) -> dict[str, str]:
    """By figure, why it is not simply a fact of the shapes."""
    return {each.figure: each.label for each in model.assumptions()}


def labelled(words: str, labels: Mapping[str, str], figure: str) -> str:
    """Words, and after them the label of a figure that rests on something."""
    return f"{words} ({labels[figure]})" if figure in labels else words


def plain(value: object) -> str:
    """A value as an override gives it; of a long list, how long it is.

    >>> plain(True), plain("base"), plain(((600, 400), (300, 200)))
    ('true', 'base', '[[600,400],[300,200]]')
    """
    if isinstance(value, tuple | list) and len(value) > _LISTED:
        return f"[{len(value):,} values]"
    if isinstance(value, tuple | list):
        return f"[{','.join(plain(each) for each in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(paragraphs: Sequence[str]) -> Iterator[str]:
    import textwrap

    for each in paragraphs:
        yield from textwrap.wrap(each, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
