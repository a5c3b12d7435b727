"""A page's cost by stage, and the costs of several modes side by side, as rich tables and the lines around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.contract import CostModel, PageCost, Stages, TextCost, Views, Workload
from modelmeter.models.common.page_text import FIGURES, labelled, labels_of, mode_words, plain
from modelmeter.models.common.passes import REGIONS
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


def model_lines(model: CostModel, overrides: Sequence[str], *more: tuple[str, str]) -> Table:
    """What all pages have in common: workload and settings, and more lines of a label and a text."""
    labels = labels_of(model)
    workload = labelled(workload_text(model), labels, "layout")
    return label_lines(("workload", workload), *_settings(model, overrides), *more)


def workload_text(model: CostModel) -> str:
    """The workload's knobs, after the name of the mode that they make, with what the engine sets of it."""
    return f"{mode_words(model)}: {' '.join(f'{key}={plain(value)}' for key, value in vars(model.workload).items())}"


def views_line(model: CostModel, page: PageCost) -> str:
    """Number, sides and grids of the views, and which there are none of; of a single view, how it is cut."""
    if page.views[0].name == REGIONS:
        return f"{view_count(page)}: {REGIONS} as {_all_sides(page.views)}"
    whole, *parts = page.views
    first = f"the page as {whole.width} x {whole.height}" if whole.columns * whole.rows == 1 else _tiles(whole)
    text = f"{view_count(page)}: {first}"
    others = [name for name in page.tokens.by_view() if name != whole.name]
    grid = f"{text}, {model.workload.layout_title} {model.workload.layout_text(page.layout)}"
    if not others:
        return text if first == _tiles(whole) else grid
    if len(page.passes(0)) > 1:
        return f"{grid}; {parts[0].name} as {_all_sides(parts)}"
    there = {views.name: _tiles(views) for views in parts}
    return ", ".join((text, *(there.get(name, f"no {model.workload.layout_title}") for name in others)))


def _all_sides(views: Iterable[Views]) -> str:
    """Width x height of views, those alike once with their number."""
    sides = Counter(f"{each.width} x {each.height}" for each in views)
    return ", ".join(_times(side, count) for side, count in sides.items())


def _times(words: str, count: int) -> str:
    """Words, and how often."""
    return words if count == 1 else f"{count} of {words}"


def _tiles(views: Views) -> str:
    return (
        f"{views.count} {views.name} of {views.width} x {views.height} in {views.columns} columns x {views.rows} rows"
    )


def view_count(page: PageCost) -> int:
    """Views of one page."""
    return sum(views.count for views in page.views)


def _settings(model: CostModel, overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    labels = labels_of(model)
    yield "settings", settings_line(model.settings(), labels)
    others = [each for each in overrides if each != f"checkpoint={model.config.checkpoint.name}"]  # a setting, too
    if others:
        yield "overrides", " ".join(others)


def settings_line(settings: Mapping[str, object], labels: Mapping[str, str]) -> str:
    """Settings as overrides give them, with their labels."""
    return " ".join(labelled(f"{key}={plain(value)}", labels, key) for key, value in settings.items())


def stage_table(
    page: Stages | TextCost,
    assumptions: Sequence[Assumption],
    show: Show,
    figures: Mapping[str, str | None] | None = None,
) -> Table:
    """A row a figure, a column a stage, vision's where there is one.

    figures: which of `FIGURES`, with their own words or None; by default all.
    """
    labels = {assumption.figure: assumption.label for assumption in assumptions}
    stages = [stage for stage in WITH_TOTAL if hasattr(page, stage)]
    table = figures_table("prefill includes vision" if stages == [*WITH_TOTAL] else "", *stages)
    for figure, words, unit in FIGURES:
        if figures is None or figure in figures:
            row = labelled((figures or {}).get(figure) or words, labels, figure)
            table.add_row(row, *(show(getattr(getattr(page, stage), figure), unit) for stage in stages))
    return table


def totals_lines(name: str, totals: Totals, batch_size: int) -> Table:
    """What the pages of one file have together, before their table."""
    batches = f", each as a batch of {batch_size} of its kind" if batch_size > 1 else ""
    return label_lines(
        (
            "together",
            f"{totals.pages:,} pages of {name}{batches}: {totals.views:,} views, {totals.image_tokens:,} image tokens, "
            f"{totals.output_tokens:,} decode steps; each run alone, and peaks and KV cache are the largest page's",
        )
    )


def peak_place(cost: StageCost) -> str:
    """The module and the operator that reach a stage's activation peak first."""
    return f"{cost.peak_path or 'between the layers'} ({cost.peak_operator})"


def modes_lines(model: CostModel, overrides: Sequence[str], output_tokens: int | None) -> Table:
    """What all modes have in common."""
    return label_lines(("output", _output(model, output_tokens)), *_settings(model, overrides))


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
    grid = labelled(f"{workload.layout_title}, columns x rows", labels, "layout")
    add(grid, lambda page: workload.layout_text(page.layout))
    add("image tokens", lambda page: str(page.tokens.total))
    add(f"prefill tokens (prompt {labels['prompt_tokens']})", lambda page: str(page.seq_len), end_section=True)
    for figure, stages in COMPARED:
        name, unit = words[figure]
        name = labelled(name, labels, figure)
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


def _output(model: CostModel, output_tokens: int | None) -> str:
    if output_tokens is None:
        return "0 (default; --output-tokens N adds decode)"
    return f"{model.steps_text(output_tokens)}, so {output_tokens + 1:,} tokens with the prefill's"


def runaway_words(share: float) -> str:
    """Pages that run away, behind what pages say.

    >>> runaway_words(0.03), runaway_words(0)
    ('; 3 % repeat to the last position', '')
    """
    return f"; {100 * share:.3g} % repeat to the last position" if share else ""


def label_lines(*lines: tuple[str, str]) -> Table:
    """A label and a text a line."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row(*line)
    return grid


def figures_table(first: str, *columns: str) -> Table:
    """An empty table: names in its first column, figures in the others, whose heads may take several lines."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(Text(first), no_wrap=True)
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=True)
    return table
