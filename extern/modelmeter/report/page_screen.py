"""What `modelmeter page` shows of a page, or of several: one screen of 80 columns, and behind `--explain` the rest.

A figure that is no plain fact of shapes has its label in brackets beside it; the last line lists all labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from modelmeter.memory import amount
from modelmeter.models.common.components import AnyCostModel, component_titles, page_components
from modelmeter.models.common.engines import SERVED_BY, is_chosen
from modelmeter.models.common.page_text import FIGURES, labelled, labels_of, workload_overrides
from modelmeter.models.common.stage_cost import WITH_TOTAL, StageCost
from modelmeter.quantities import exact, readable_seconds
from modelmeter.report.page_tables import (
    Show,
    assumption_lines,
    exact_figure,
    figures_table,
    label_lines,
    peak_place,
    settings_line,
    stage_table,
    views_line,
    workload_text,
)
from modelmeter.report.terminal import OneLine
from modelmeter.units import GIGA

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelmeter.devices import Device
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.contract import CostModel, PageCost, TextCost
    from modelmeter.models.common.vram import Vram
    from modelmeter.report.page_rows import Row
    from modelmeter.report.page_times import OnDevice

    #: what a device makes of the pages, or why it does not; None where none is named
    Found = OnDevice | str | None

#: the figures of a page's stages that the screen has, and their words where `FIGURES` has longer ones
SHORT: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "tensor_core_flops": None,
        "cuda_core_flops": None,
        "io_bytes": None,
        "io_weight_bytes": None,
        "activation_peak_bytes": None,
        "kv_bytes": "KV cache",
    }
)
#: components that are told, and the share from which one is worth telling
_TOLD: Final = 3
_WORTH: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the pages are asked under. show: how figures are printed."""

    name: str
    model: CostModel
    overrides: Sequence[str]
    output_tokens: int | None
    show: Show

    @property
    def steps(self) -> int:
        """Decode steps of each page."""
        return self.output_tokens or 0

    @property
    def labels(self) -> dict[str, str]:
        """Label by figure."""
        return labels_of(self.model)

    @property
    def engine(self) -> str:
        """Which engine serves the pages, and whether anybody asked for it."""
        name = self.model.engine.name
        if is_chosen(self.overrides):
            return name
        why = "" if name == SERVED_BY else f", as what {SERVED_BY} launches for this model is not written down"
        return f"{name} by default{why}"


# -- one page -------------------------------------------------------------------------------------------------------


def head_lines(asked: Asked, page: PageCost) -> Table:
    """Which model, as what; what the page becomes."""
    tokens = page.tokens
    by_view = ", ".join(f"{count} {name}" for name, count in tokens.by_view().items())
    parts = f" ({by_view})" if len(tokens.by_view()) > 1 else ""
    passes = len(page.passes(0))
    each = f"{passes} x " if passes > 1 else ""
    pages = asked.model.request.pages
    images = f"{pages} x {tokens.total} image{parts}" if pages > 1 else f"{tokens.total} image{parts}"
    prompt = f"{each}{(page.seq_len - pages * tokens.total) // passes} prompt ({asked.labels['prompt_tokens']})"
    return label_lines(
        *model_lines(asked),
        ("views", labelled(views_line(asked.model, page), asked.labels, "layout")),
        ("tokens", f"{images} + {prompt} = {page.seq_len} prefill"),
        *_on_a_hit(asked, page),
        ("output", _output(asked, passes)),
    )


def model_lines(asked: Asked) -> list[tuple[str, str]]:
    """Which model, and as what it is counted."""
    settings, workload = asked.model.settings(), workload_overrides(asked.model)
    execution = f"execution={settings['execution']}"
    several = f", {asked.model.batch_size} pages at once" if asked.model.batch_size > 1 else ""
    name = asked.model.config.checkpoint.name or asked.name
    code = labelled(execution, asked.labels, "execution")
    told = labelled(name, asked.labels, "checkpoint")
    lines = [("model", f"{told}, {' '.join(workload)}, {code}, {settings['runtime.dtype']}{several}")]
    others = [each for each in asked.overrides if each not in (*workload, execution, f"checkpoint={name}")]
    if others:
        lines.append(("with", " ".join(others)))
    return lines


def _output(asked: Asked, passes: int | None = None) -> str:
    """What N decode steps give: each pass's prefill gives a token of its own. passes: of one page."""
    if not asked.steps:
        alone = "the prefill's token alone" if passes in (None, 1) else f"the tokens of {passes} prefills alone"
        return f"0 decode steps, {alone} (--output-tokens N: N more)"
    steps = asked.model.steps_text(asked.steps, passes or 1)
    if passes is None:
        told = f"{steps} for each page, after the prefill's own token"
    else:
        prefills = "the prefill's" if passes == 1 else f"those of {passes} prefills"
        told = f"{steps}, so {asked.steps + passes:,} tokens with {prefills}"
    return labelled(told, asked.labels, "output_tokens")


def result_lines(asked: Asked, page: PageCost, vram: Vram, found: Found) -> Table:
    """What decides the memory, what most of the work is, how long it takes, and all labels."""
    return label_lines(
        ("memory", _memory(vram, asked, found)),
        ("peak", _peak(page, asked)),
        *_most(asked, [(page, 1)]),
        *_time(asked, found),
        _labels(asked.model.assumptions()),
    )


def prompt_lines(asked: Asked, text: TextCost) -> Table:
    """Which model, as what; the tokens of a prompt without an image."""
    system = asked.model.request.system_tokens
    shared = f" = {system:,} of the system prompt + {text.seq_len - system:,}" if system else ""
    return label_lines(
        *model_lines(asked),
        ("tokens", f"{text.seq_len:,} prefill{shared}"),
        *_on_a_hit(asked, text),
        ("output", _output(asked, 1)),
    )


def prompt_result_lines(asked: Asked, text: TextCost, vram: Vram, found: Found) -> Table:
    """The same of a prompt as `result_lines` of a page, without the components."""
    return label_lines(
        ("memory", _memory(vram, asked, found)),
        ("peak", _peak(text, asked)),
        *_time(asked, found),
        _labels([each for each in asked.model.assumptions() if each.figure != "layout"]),
    )


def _on_a_hit(asked: Asked, page: TextCost) -> list[tuple[str, str]]:
    """The prefill of a request whose prefix the engine has cached, where a share of them is declared."""
    request = asked.model.request
    if not request.hit_share:
        return []
    cost = asked.model.prefill_over_cache(page, request.cached_tokens)
    return [
        (
            "prefix",
            f"{request.cached_tokens:,} of these are cached for {100 * float(request.hit_share):g} % of requests "
            f"(declared), whose prefill is {asked.show(cost.tensor_core_flops, '')} tensor-core FLOPs and "
            f"{asked.show(cost.io_bytes, 'B')} of traffic; the table is of the others",
        )
    ]


def _memory(vram: Vram, asked: Asked, found: Found) -> str:
    """The need, the largest part first, and whether the device holds it."""
    exactly = asked.show is exact_figure

    def told(nbytes: int) -> str:
        return f"{exact(nbytes)} B" if exactly else f"{nbytes / GIGA:.3f} GB"

    parts = {
        "weights": vram.weight_bytes,
        f"peak of {vram.stage}": vram.resident_peak_bytes,
        f"reserve ({asked.labels['reserve_bytes'].removeprefix('reserve ')})": vram.reserve_bytes,
    }
    largest = sorted(parts.items(), key=lambda part: -part[1])
    total = f"{exact(vram.total_bytes)} bytes, " if exactly else ""
    listed = ", ".join(f"{name} {told(nbytes)}" for name, nbytes in largest)
    return f"{total}{amount(vram.total_bytes)}: {listed}{_fits(found)}"


def _fits(found: Found) -> str:
    if found is None or isinstance(found, str):
        return ""
    from modelmeter.report.page_times import fits_text

    return f"; {fits_text(found)}"


def _peak(page: TextCost, asked: Asked) -> str:
    """Where the largest activation peak is."""
    cost: StageCost = page.total
    return f"{asked.show(cost.activation_peak_bytes, 'B')} at {peak_place(cost)}"


def _most(asked: Asked, pages: Iterable[tuple[PageCost, int]]) -> list[tuple[str, str]]:
    """The components with most of the FLOPs, and of the traffic."""
    model = cast("AnyCostModel", asked.model)
    titles = component_titles(model)
    flops, moved = dict.fromkeys(titles, 0), dict.fromkeys(titles, 0)
    for page, count in pages:
        for costs in page_components(model, cast("Any", page), asked.steps).values():
            for name, cost in costs.items():
                flops[name] += count * cost.tensor_core_flops
                moved[name] += count * cost.io_bytes
    return [
        ("mostly", f"FLOPs: {_largest(flops, titles)}"),
        ("", f"traffic: {_largest(moved, titles)}"),
    ]


def _largest(amounts: Mapping[str, int], titles: Mapping[str, str]) -> str:
    whole = sum(amounts.values())
    ranked = sorted(amounts.items(), key=lambda each: -each[1])[:_TOLD]
    shares = [(titles[name], value / whole) for name, value in ranked if value >= _WORTH * whole] if whole else []
    return ", ".join(f"{title} {100 * share:.0f} %" for title, share in shares) or "none"


def _time(asked: Asked, found: Found) -> list[tuple[str, str]]:
    """How long the device takes, or why nobody can say."""
    if found is None:
        return [("time", "name a device: --device H100-SXM (modelmeter devices lists them)")]
    if isinstance(found, str):
        return [("time", found)]
    from modelmeter.report.page_times import time_lines

    return time_lines(found, asked.engine, asked.steps)


def within_lines(asked: Asked, device: Device | None, timed: bool) -> Table:
    """What stands behind the parts of a page."""
    lines = []
    if device is not None and timed:
        kind = "bounds" if asked.model.bound_alone else "estimates"
        lines = [
            ("time", f"on {device.name}, engine {asked.engine}; {kind} of the operators' kernels, without the host"),
            ("", "bound by: what the roofline at the device's peaks says"),
        ]
    return label_lines(*lines, _labels(asked.model.assumptions()))


def _labels(assumptions: Sequence[Assumption]) -> tuple[str, str]:
    """All labels, once, and where they are explained."""
    return "labels", f"{'; '.join(each.label for each in assumptions)} (--explain: what each means)"


# -- several pages --------------------------------------------------------------------------------------------------


def several_head(asked: Asked, inputs: Sequence[Any]) -> Table:
    """Which model, and what the pages are asked for; at which resolution PDFs are rendered."""
    resolutions = {each.dpi for each in inputs if each.dpi is not None}
    pdf = [("PDF", f"pages at {', '.join(str(each) for each in resolutions)} dpi")] if resolutions else []
    return label_lines(*model_lines(asked), ("output", _output(asked)), *pdf)


def pages_table(files: Sequence[tuple[str, Sequence[Row]]], asked: Asked, found: Found) -> Table:
    """A line for the pages of one size, below the name of their file where it has several such lines."""
    workload = asked.model.workload
    seconds: list[float] = []
    if found is not None and not isinstance(found, str):
        seconds = [found.alone.host_s + kind.page_s for kind in found.alone.kinds]
    table = figures_table(
        "pages",
        "pixels",
        workload.layout_title,
        "image\ntokens",
        "tensor\nFLOPs",
        "traffic",
        "memory",
        *(["one\nalone"] if seconds else []),
    )
    table.padding = (0, 1, 0, 0)
    table.columns[0].no_wrap = asked.show is exact_figure
    for name, rows in files:
        if len(rows) > 1:
            table.add_row(OneLine(name))
        for row in rows:
            page, total = row.page, row.page.total
            cells = [
                f"{row.size.width}x{row.size.height}",
                workload.layout_text(page.layout),
                str(page.tokens.total),
                asked.show(total.tensor_core_flops, ""),
                asked.show(total.io_bytes, "B"),
                asked.show(row.vram.total_bytes, "B"),
                *([readable_seconds(seconds.pop(0), 3)] if seconds else []),
            ]
            label = f"  {row.name}" if len(rows) > 1 else ", ".join(each for each in (name, row.name) if each)
            table.add_row(OneLine(label), *cells)
    return table


def several_lines(asked: Asked, rows: Sequence[Row], found: Found) -> Table:
    """The same of several pages as `result_lines` of one: of the page that needs most memory, and of all together."""
    largest = max(rows, key=lambda row: row.vram.total_bytes)
    return label_lines(
        ("memory", f"at most {_memory(largest.vram, asked, found)}"),
        ("peak", _peak(largest.page, asked)),
        *_most(asked, [(row.page, row.count) for row in rows]),
        *_time(asked, found),
        _labels(asked.model.assumptions()),
    )


# -- what stands behind it ------------------------------------------------------------------------------------------

#: what the rows of the tables are, where their names do not say all
MEANINGS: Final = (
    ("tensor-core FLOPs", "GEMMs, convolutions and attention; a multiply-add is 2"),
    ("vector FLOPs", "everything else: pointwise operators, norms, softmax"),
    ("traffic", "bytes read and written by every operator, weights and KV cache among them"),
    ("activation peak", "the largest live set of a pass: all tensors alive at once, its own KV cache too, no weights"),
    ("KV cache", "keys and values that the decoder holds after the stage"),
    ("total", "prefill, then decode: FLOPs and traffic add up; peaks and weights are the larger, the cache the last"),
    ("mostly", "the components with most of the tensor-core FLOPs, and with most of the traffic"),
    ("memory", "weights + the largest live set of a stage, KV cache included + the reserve"),
    ("prefixes", "powers of ten; GiB is 2^30 bytes; --exact prints every digit"),
)


def explained(asked: Asked, rows: Sequence[Row], found: Found) -> Iterator[RenderableType]:
    """Everything that the screen is short of: all settings and figures, formulas, labels."""
    yield label_lines(
        ("workload", workload_text(asked.model)),
        ("settings", settings_line(asked.model.settings(), asked.labels)),
    )
    yield ""
    if len(rows) == 1:
        yield from _rest(asked, rows[0])
    timed = None if isinstance(found, str) else found
    if timed is None:
        yield label_lines(*MEANINGS)
    else:
        from modelmeter.report.page_times import behind_lines, meaning_lines

        yield label_lines(*MEANINGS, *meaning_lines())
    yield ""
    yield assumption_lines(asked.model.assumptions())
    if timed is not None:
        yield ""
        yield label_lines(*behind_lines(asked.model.name, timed))


def _rest(asked: Asked, row: Row) -> Iterator[RenderableType]:
    """The figures of one page that the screen leaves out."""
    rest = {figure: None for figure, *_ in FIGURES if figure not in SHORT}
    stages: dict[str, StageCost] = {stage: getattr(row.page, stage) for stage in WITH_TOTAL[:-1]}
    yield stage_table(row.page, asked.model.assumptions(), asked.show, rest)
    yield ""
    yield label_lines(
        *((f"peak of {stage}", peak_place(cost)) for stage, cost in stages.items() if cost.activation_peak_bytes),
        ("memory", row.vram.describe()),
    )
    yield ""
