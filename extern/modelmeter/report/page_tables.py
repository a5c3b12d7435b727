"""A page's cost by stage, and the costs of several modes side by side, as rich tables and the lines around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.contract import CostModel, PageCost, Stages, Views, Workload
from modelmeter.models.common.page_text import FIGURES
from modelmeter.models.common.stage_cost import WITH_TOTAL, StageCost
from modelmeter.models.common.totals import Totals
from modelmeter.models.common.vram import Vram
from modelmeter.quantities import exact, readable

#: rows of the comparison of modes: figure of `StageCost`, stages
COMPARED: Final = (
    ("tensor_core_flops", WITH_TOTAL),
    ("cuda_core_flops", WITH_TOTAL),
    ("io_bytes", WITH_TOTAL),
    ("activation_peak_bytes", ("vision", "prefill", "decode")),
    ("kv_bytes", ("prefill", "total")),
    ("weight_bytes", ("total",)),
)

MEANING: Final = (
    "Sums over the pages, each run alone. The peaks and the KV cache at the end are the largest page's,\n"
    "and the resident weights, which all pages share, are there once. Prefill includes vision."
)
"""What a table of several pages together says."""

Show = Callable[[int, str], str]
"""An integer and its unit as text."""


def exact_figure(value: int, unit: str) -> str:
    """All digits, and the unit.

    >>> exact_figure(56094720, "B")
    '56,094,720 B'
    """
    return f"{exact(value)} {unit}".rstrip()


def readable_figure(value: int, unit: str) -> str:
    """Four digits, the prefix of a power of ten, and the unit.

    >>> readable_figure(56094720, "B"), readable_figure(0, "B"), readable_figure(4266546065408, "")
    ('56.09 MB', '0 B', '4.267 T')
    """
    return readable(value, unit)


def page_lines(
    model: CostModel, modes: Mapping[str, object], overrides: Sequence[str], page: PageCost, output_tokens: int | None
) -> Table:
    """What a page becomes before it costs anything: workload, views, tokens; and the settings.

    modes: the named workloads of the model. output_tokens: None where they were not given.
    """
    tokens = page.tokens
    labels = {assumption.figure: assumption.label for assumption in model.assumptions()}
    passes = len(page.passes(0))
    each = f"{passes} x " if passes > 1 else ""
    return label_lines(
        ("workload", _workload(model, modes)),
        ("views", _labelled(_views(model, page), labels, "layout")),
        ("tokens", f"{tokens.total} image ({_by_view(page)})"),
        ("", f"+ {each}{model.prompt_tokens} prompt ({labels['prompt_tokens']}) = {page.seq_len} in prefill"),
        ("", _labelled(f"output {_output(output_tokens)}", labels if output_tokens else {}, "output_tokens")),
        *_settings(model, overrides),
    )


def _labelled(words: str, labels: Mapping[str, str], figure: str) -> str:
    """Words, and after them the label of a figure that rests on something."""
    return f"{words} ({labels[figure]})" if figure in labels else words


def model_lines(
    model: CostModel, modes: Mapping[str, object], overrides: Sequence[str], *more: tuple[str, str]
) -> Table:
    """What all pages have in common: workload and settings, and more lines of a label and a text."""
    labels = {assumption.figure: assumption.label for assumption in model.assumptions()}
    workload = _labelled(_workload(model, modes), labels, "layout")
    return label_lines(("workload", workload), *_settings(model, overrides), *more)


def _workload(model: CostModel, modes: Mapping[str, object]) -> str:
    """The workload's knobs, after the name of the mode that they make, with what the engine sets of it."""
    knobs = vars(model.workload)
    of_engine = model.engine_workload()
    set_by_engine = {key: value for key, value in of_engine.items() if knobs[key] == value}
    name = "of your own"
    for mode, workload in modes.items():
        unlike = {key for key, value in vars(workload).items() if knobs[key] != value}
        if not unlike:
            name = mode
            break
        if unlike <= set(set_by_engine) and name == "of your own":
            told = ", ".join(f"{key}={_plain(set_by_engine[key])}" for key in sorted(unlike))
            name = f"{mode}, {told} of engine={model.engine.name}"
    return f"{name}: {' '.join(f'{key}={_plain(value)}' for key, value in knobs.items())}"


def _views(model: CostModel, page: PageCost) -> str:
    """Number, sides and grids of the views, and which there are none of; of a single view, how it is cut."""
    whole, *parts = page.views
    first = f"the page as {whole.width} x {whole.height}" if whole.columns * whole.rows == 1 else _tiles(whole)
    text = f"{view_count(page)}: {first}"
    others = [name for name in page.tokens.by_view() if name != whole.name]
    grid = f"{text}, {model.workload.layout_title} {model.workload.layout_text(page.layout)}"
    if not others:
        return text if first == _tiles(whole) else grid
    if len(page.passes(0)) > 1:
        sides = Counter(f"{views.width} x {views.height}" for views in parts)
        return f"{grid}; {parts[0].name} as {', '.join(_times(side, count) for side, count in sides.items())}"
    there = {views.name: _tiles(views) for views in parts}
    return ", ".join((text, *(there.get(name, f"no {model.workload.layout_title}") for name in others)))


def _times(words: str, count: int) -> str:
    """Words, and how often."""
    return words if count == 1 else f"{count} of {words}"


def _tiles(views: Views) -> str:
    grid = f"a grid of {views.columns} x {views.rows} (columns x rows)"
    return f"{views.count} {views.name} of {views.width} x {views.height} in {grid}"


def _by_view(page: PageCost) -> str:
    """Image tokens of each batch of views."""
    return ", ".join(f"{name} {tokens}" for name, tokens in page.tokens.by_view().items())


def view_count(page: PageCost) -> int:
    """Views of one page."""
    return sum(views.count for views in page.views)


def _settings(model: CostModel, overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    labels = {assumption.figure: f" ({assumption.label})" for assumption in model.assumptions()}
    settings = model.settings().items()
    yield "settings", " ".join(f"{key}={_plain(value)}{labels.get(key, '')}" for key, value in settings)
    if overrides:
        yield "overrides", " ".join(overrides)


def stage_table(page: Stages, assumptions: Sequence[Assumption], show: Show) -> Table:
    """A row a figure, a column a stage."""
    labels = {assumption.figure: assumption.label for assumption in assumptions}
    table = figures_table("", "vision", "prefill\nwith vision", "decode", "total")
    for figure, words, unit in FIGURES:
        row = _labelled(words, labels, figure)
        table.add_row(row, *(show(getattr(getattr(page, stage), figure), unit) for stage in WITH_TOTAL))
    return table


def totals_line(name: str, totals: Totals, batch_size: int) -> str:
    """What the pages of one file have together, before their table."""
    batches = f", each as a batch of {batch_size} of its kind" if batch_size > 1 else ""
    return (
        f"{name}, all {totals.pages:,} pages together{batches}: {totals.views:,} views, {totals.image_tokens:,} image "
        f"tokens, {totals.output_tokens:,} output tokens"
    )


def memory_lines(page: PageCost, vram: Vram) -> Table:
    """The module and the operator that reach each stage's activation peak first, and what a device must hold."""
    stages: dict[str, StageCost] = {stage: getattr(page, stage) for stage in WITH_TOTAL[:-1]}
    return label_lines(
        ("activation peak at", ""),
        *(
            (f"  {stage}", f"{cost.peak_path or 'between the layers'} ({cost.peak_operator})")
            for stage, cost in stages.items()
            if cost.activation_peak_bytes
        ),
        ("device memory", vram.describe()),
    )


def modes_lines(model: CostModel, overrides: Sequence[str], output_tokens: int | None) -> Table:
    """What all modes have in common."""
    return label_lines(("output", _output(output_tokens)), *_settings(model, overrides))


def modes_table(
    workload: Workload,
    pages: Mapping[str, tuple[PageCost, Vram] | None],
    assumptions: Sequence[Assumption],
    show: Show,
) -> Table:
    """A column a mode, cost and memory need of the same page below; None: the page does not fit that mode.

    workload: of any mode, for its words.
    """
    labels = {assumption.figure: assumption.label for assumption in assumptions}
    of_traffic = [labels[figure] for figure in ("io_bytes", "io_weight_bytes") if figure in labels]
    labels["io_bytes"] = ", ".join(of_traffic)  # the row of the weights alone is not shown here
    words = {figure: (words.strip(), unit) for figure, words, unit in FIGURES}
    table = figures_table("", *pages)

    def add(name: str, cell: Callable[[PageCost], str], end_section: bool = False) -> None:
        cells = ("-" if page is None else cell(page[0]) for page in pages.values())
        table.add_row(name, *cells, end_section=end_section)

    add("views", lambda page: str(view_count(page)))
    grid = _labelled(f"{workload.layout_title}, columns x rows", labels, "layout")
    add(grid, lambda page: workload.layout_text(page.layout))
    add("image tokens", lambda page: str(page.tokens.total))
    add(f"prefill tokens (prompt {labels['prompt_tokens']})", lambda page: str(page.seq_len), end_section=True)
    for figure, stages in COMPARED:
        name, unit = words[figure]
        name = _labelled(name, labels, figure)
        if len(stages) > 1:
            table.add_row(name)
        for stage in stages:
            row = f"  {stage}" if len(stages) > 1 else name

            def cell(page: PageCost, stage: str = stage, figure: str = figure, unit: str = unit) -> str:
                return show(getattr(getattr(page, stage), figure), unit)

            add(row, cell, end_section=stage == stages[-1])
    memory = ("-" if page is None else show(page[1].total_bytes, "B") for page in pages.values())
    table.add_row(f"device memory ({labels['reserve_bytes']})", *memory)
    return table


def assumption_lines(assumptions: Sequence[Assumption]) -> Table:
    """What stands behind the labels."""
    return label_lines(*((each.label, f"{each.figure}: {each.text}") for each in assumptions))


def _output(output_tokens: int | None) -> str:
    return "0 (default; --output-tokens N adds decode)" if output_tokens is None else str(output_tokens)


def label_lines(*lines: tuple[str, str]) -> Table:
    """A label and a text a line."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row(*line)
    return grid


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return "none" if not value else str(len(value)) if isinstance(value[0], tuple) else ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def figures_table(first: str, *columns: str) -> Table:
    """An empty table: names in its first column, figures in the others, whose heads may take several lines."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=True)
    return table
