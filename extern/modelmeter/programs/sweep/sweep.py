"""What the sweeps share: points, their rows, the files of a result, and the program around them.

A row holds one page under one configuration: exact integers (FLOPs, bytes, tokens) by stage and by component. A point
that the model does not accept, since its tokens exceed `decoder.max_position_embeddings`, is a row with the model's
own error and no figures.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from rich.text import Text

from modelmeter.errors import ModelMeterError, near
from modelmeter.files import write_whole
from modelmeter.models.common import StageCost
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.components import page_components
from modelmeter.models.common.contract import ModelPackage
from modelmeter.models.common.stage_cost import WITH_TOTAL
from modelmeter.page_sizes import PageSize, parse_size
from modelmeter.programs.hydra_program import AGREES, AnyCostModel, console, cost_model_of, output_folder, run
from modelmeter.report.json_document import SCHEMA_VERSION, json_text
from modelmeter.report.plotting import check_matplotlib
from modelmeter.units import GIGA, MEGA, TERA

#: points of one sweep; more would be neither a table nor a figure that one can read
MAX_POINTS: Final = 1000

#: figures of an assumption that a sweep does not show
NOT_SHOWN: Final = ("reserve_bytes",)

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One page to compute, named by its place on the sweep's axis."""

    label: str
    cost_model: AnyCostModel
    page: PageSize
    output_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One axis and its points, of one model.

    title: what it is about. axis: what a label says. about: a sentence for the report. varied: keys of the cost model
    that differ by point. points: from the cost model as configured and the values of the program's own keys.
    x, x_text: a column of the rows that spreads the points out, and its name; log_x: whether it does so by factors.
    """

    title: str
    axis: str
    about: str
    varied: tuple[str, ...]
    points: Callable[[AnyCostModel, Mapping[str, Any]], Iterable[SweepPoint]]
    x: str
    x_text: str
    log_x: bool = False


@dataclass(frozen=True, kw_only=True)
class SweepProgram:
    """A sweep that any model can be asked for.

    name: of the files and of configs/sweep_<name>.yaml. keys: the program's own keys, those that `points` reads.
    of: the sweep of a model; raises `ModelMeterError` where the model has nothing to vary there.
    """

    name: str
    keys: tuple[str, ...]
    of: Callable[[ModelPackage], Sweep]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A sweep, the cost model as configured, the values of the sweep's own keys, its rows, and what they rest on."""

    name: str
    sweep: Sweep
    cost_model: AnyCostModel
    own: Mapping[str, Any]
    rows: tuple[Row, ...]
    assumptions: tuple[Assumption, ...]

    @property
    def title(self) -> str:
        """What it is about, and the code whose cost it is."""
        labels = [each.label for each in self.assumptions if each.figure == "execution"]
        return f"{self.sweep.title} ({', '.join((self.cost_model.config.execution.name, *labels))})"

    @property
    def settings(self) -> dict[str, Any]:
        """What holds for every row: the keys that the sweep does not vary, and its own."""
        workload = {f"workload.{name}": value for name, value in asdict(self.cost_model.config.workload).items()}
        prompt = {"runtime.prompt_tokens": self.cost_model.prompt_tokens}
        settings = self.cost_model.settings() | workload | prompt
        return {name: value for name, value in settings.items() if name not in self.sweep.varied} | dict(self.own)

    @property
    def computed(self) -> list[Row]:
        """The rows that have figures."""
        return [row for row in self.rows if not row["refused"]]


# -- reading the sweep's own keys --------------------------------------------------------------------------------------


def page_of(own: Mapping[str, Any]) -> PageSize:
    """The size that the key `page` gives, as in page=1275x1650."""
    return parse_size(str(own["page"]))


def output_tokens_of(own: Mapping[str, Any]) -> int:
    """The number of decode steps that the key `output_tokens` gives."""
    return _whole_number("output_tokens", own["output_tokens"], 0)


def whole_numbers(own: Mapping[str, Any], key: str, least: int) -> list[int]:
    """The list that a key gives: different whole numbers of `least` or more."""
    return [_whole_number(key, value, least) for value in _different(own, key)]


def names(own: Mapping[str, Any], key: str, options: Iterable[str]) -> list[str]:
    """The list that a key gives: different names among `options`."""
    options = tuple(options)
    for value in _different(own, key):
        if value not in options:
            raise ModelMeterError(f"sweep: {key} holds {value}, which does not exist; {near(str(value), options)}")
    return list(own[key])


def _different(own: Mapping[str, Any], key: str) -> list[Any]:
    values = own[key]
    if not isinstance(values, list) or not values:
        raise ModelMeterError(f"sweep: {key}={values} is no list of values; write {key}=[…,…], with one value or more.")
    if len(values) != len(set(map(str, values))):
        raise ModelMeterError(f"sweep: {key}={values} holds a value twice; give each once.")
    return values


def _whole_number(key: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ModelMeterError(f"sweep: {key} holds {value!r}; give a whole number of {least} or more.")
    return value


def chosen_modes(own: Mapping[str, Any], package: ModelPackage) -> list[str]:
    """The modes that the key `modes` gives."""
    return names(own, "modes", package.MODES)


def with_runtime(cost_model: AnyCostModel, **runtime: Any) -> AnyCostModel:
    """The cost model with other values in the group `runtime` of its configuration."""
    config = cost_model.config
    return type(cost_model)(replace(config, runtime=replace(config.runtime, **runtime)))


def decided(package: ModelPackage) -> list[str]:
    """The fields of the workload that a mode decides: those in which the named modes differ."""
    modes = [asdict(mode) for mode in package.MODES.values()]
    return [name for name, value in modes[0].items() if any(mode[name] != value for mode in modes)]


# -- rows --------------------------------------------------------------------------------------------------------------


def compute(program: SweepProgram, package: ModelPackage, config: DictConfig) -> Result:
    """All rows of a sweep under a composed configuration; refused where no point at all can be computed."""
    sweep = program.of(package)
    configuration = package.CONFIGURATION.resolve(config)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    own = {key: plain[key] for key in program.keys}
    if own.get("modes", ()) is None:
        own["modes"] = list(package.MODES)
    _check_varied(program, sweep, configuration, package.CONFIGURATION.read({}))
    cost_model = cost_model_of(package, config)
    points = list(sweep.points(cost_model, own))
    check_number(len(points))
    shown = decided(package)
    rows = tuple(row_of(point, shown) for point in points)
    if all(row["refused"] for row in rows):
        raise ModelMeterError(f"sweep: none of the {len(rows)} points can be computed. {rows[0]['refused']}")
    models = dict.fromkeys(point.cost_model for point in points)
    assumptions = dict.fromkeys(each for model in models for each in model.assumptions())
    unsaid = {*NOT_SHOWN, *(key.rpartition(".")[2] for key in sweep.varied)}  # the rows say what they vary
    said = tuple(each for each in assumptions if each.figure not in unsaid)
    return Result(name=program.name, sweep=sweep, cost_model=cost_model, own=own, rows=rows, assumptions=said)


def check_number(points: int) -> None:
    """Refuse a sweep over more than `MAX_POINTS` points."""
    if points > MAX_POINTS:
        raise ModelMeterError(f"sweep: {points:,} points are more than {MAX_POINTS:,}; sweep over fewer values.")


def _check_varied(program: SweepProgram, sweep: Sweep, configuration: Any, usual: Any) -> None:
    """Refuse a value that nobody would hear, since the sweep sets its own at every point."""
    given, default = (dict(_flat(asdict(each))) for each in (configuration, usual))
    for key in sweep.varied:
        if given[key] != default[key]:
            raise ModelMeterError(
                f"sweep: {key}={_override(given[key])} would not be heard, since this sweep varies it; its own keys "
                f"are {', '.join(program.keys)}."
            )


def row_of(point: SweepPoint, shown: Sequence[str]) -> Row:
    """What a point costs, or the model's error where its tokens are too many; shown: fields of the workload."""
    model, page = point.cost_model, point.page
    layout = model.workload.layout(page.width, page.height)
    views = model.workload.views(layout)
    sequence = model.seq_len(layout)
    row: Row = {
        "label": point.label,
        "width": page.width,
        "height": page.height,
        **{name: getattr(model.workload, name) for name in shown},
        "execution": model.config.execution.name,
        "attention": model.config.runtime.attention,
        "dtype": model.config.runtime.dtype,
        "batch_size": model.config.runtime.batch_size,
        "prompt_tokens": model.prompt_of(layout),
        "output_tokens": point.output_tokens,
        "grid": f"{views[-1].columns}x{views[-1].rows}",
        "views": sum(view.count for view in views),
        "image_tokens": model.workload.tokens(layout).total,
        "sequence_tokens": sequence,
        "context_tokens": sequence + point.output_tokens,
        "refused": "",
        "stages": {},
        "components": {},
    }
    try:
        cost = model.page(page.width, page.height, point.output_tokens)
    except ModelMeterError as error:
        return row | {"refused": str(error)}
    components = page_components(model, cost, point.output_tokens)
    return row | {
        "views": sum(view.count for view in cost.views),
        "image_tokens": cost.tokens.total,
        "sequence_tokens": cost.seq_len,
        "context_tokens": cost.seq_len + point.output_tokens,
        "stages": {name: _stage(getattr(cost, name)) for name in WITH_TOTAL},
        "components": {
            stage: {name: _work(part) for name, part in parts.items()} for stage, parts in components.items()
        },
    }


def _work(cost: StageCost) -> dict[str, int]:
    return {
        "tensor_core_flops": cost.tensor_core_flops,
        "cuda_core_flops": cost.cuda_core_flops,
        "io_bytes": cost.io_bytes,
    }


def _stage(cost: StageCost) -> dict[str, Any]:
    return asdict(cost) | {"io_bytes": cost.io_bytes, "arithmetic_intensity": cost.arithmetic_intensity}


# -- files -------------------------------------------------------------------------------------------------------------


def to_json(result: Result) -> str:
    """The whole result: the configuration, the values of the sweep's own keys, and every row."""
    content = {
        "configuration": asdict(result.cost_model.config),
        "varied": result.sweep.varied,
        "settings": result.settings,
        "assumptions": [asdict(each) for each in result.assumptions],
        "rows": result.rows,
    }
    return json_text(f"sweep_{result.name}", content)


def to_csv(result: Result) -> str:
    """The rows, one a line, nested names joined by dots; what a refused row lacks is empty."""
    flat = [{"schema_version": SCHEMA_VERSION} | dict(_flat(row)) for row in result.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, max(flat, key=len).keys(), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def table_of(result: Result) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table that a person reads: FLOPs, traffic, peak and KV cache in powers of ten."""
    axis = result.sweep.axis
    # the grid, where it says more than the label or the page
    grid = ["grid"] if axis != "grid" and len({row["grid"] for row in result.rows}) > 1 else []
    stages = ["vision", "prefill", *(["decode"] if any(row["output_tokens"] for row in result.rows) else [])]
    header = [
        axis,
        *grid,
        "image tokens",
        "sequence",
        *(f"{stage} TFLOPs" for stage in stages),
        *(f"{stage} GB" for stage in stages),
        "peak MB",
        "KV MB",
        "peak in",
    ]
    cells = []
    for row in result.rows:
        first = [row[name] for name in ("label", *grid)]
        first += [f"{row['image_tokens']:,}", f"{row['sequence_tokens']:,}"]
        if row["refused"]:
            empty = len(header) - len(first) - 1
            cells.append([*first, *["refused"] * empty, row["refused"]])
            continue
        costs, total = row["stages"], row["stages"]["total"]
        cells.append(
            [
                *first,
                *(f"{costs[stage]['tensor_core_flops'] / TERA:,.3f}" for stage in stages),
                *(f"{costs[stage]['io_bytes'] / GIGA:,.1f}" for stage in stages),
                f"{total['activation_peak_bytes'] / MEGA:,.1f}",
                f"{total['kv_bytes'] / MEGA:,.1f}",
                peak_name(row),
            ]
        )
    return header, cells


def peak_name(row: Row) -> str:
    """Stage, module and operator at which a page's activation peak is reached."""
    total = row["stages"]["total"]
    in_prefill = row["stages"]["prefill"]["activation_peak_bytes"] == total["activation_peak_bytes"]
    return f"{'prefill' if in_prefill else 'decode'}: {total['peak_path']} ({total['peak_operator']})"


UNITS: Final = (
    "Sequence: image and prompt tokens. TFLOPs: 10¹² tensor-core FLOPs (a multiply-add is 2). GB: 10⁹ bytes of "
    "traffic, an upper bound with no cache between operators. MB: 10⁶ bytes. Prefill includes vision. The peak is the "
    "activation peak of prefill and decode, the KV cache that a pass makes included, the one that it is given and the "
    "weights left out. KV is the cache at the end."
)


def markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table; numbers to the right, names to the left."""
    lines = [header, ["---" if name in (header[0], header[-1]) else "---:" for name in header], *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_markdown(results: Sequence[Result], figures: Sequence[str]) -> str:
    """A page with every result's table and, where they were drawn, its figures."""
    generated = "Generated by `make sweeps` or by one of its programs; not written by hand."
    common = [each for each in results[0].assumptions if all(each in result.assumptions for result in results)]
    parts = ["# Sweeps\n", generated + "\n", UNITS + "\n", _assumption_list(common)]
    for result in results:
        sweep = result.sweep
        parts += [f"## {result.title}\n", sweep.about + "\n", _settings_text(result) + "\n"]
        own = [each for each in result.assumptions if each not in common]
        parts += [_assumption_list(own)] if own else []
        parts.append(markdown_table(*table_of(result)))
        parts.append(f"Exact: [CSV]({result.name}.csv), [JSON]({result.name}.json).\n")
        parts += [
            f"[![{sweep.title}: {figure}]({result.name}_{figure}.png)]({result.name}_{figure}.svg)\n"
            for figure in figures
        ]
    return "\n".join(parts)


def _settings_text(result: Result) -> str:
    settings = ", ".join(f"`{name}={_override(value)}`" for name, value in result.settings.items())
    return f"With {settings}."


def _assumption_list(assumptions: Sequence[Assumption]) -> str:
    """What is declared, assumed or conventional, an item a label."""
    texts: dict[tuple[str, str], list[str]] = {}
    for each in assumptions:
        texts.setdefault((each.figure, each.label), []).append(each.text)
    return "".join(f"- `{figure}` ({label}): {'; '.join(said)}\n" for (figure, label), said in texts.items())


def _override(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_override, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def write(folder: Path, results: Sequence[Result], *, figures: bool) -> None:
    """Write every result's CSV, JSON and figures and one README.md; nothing is written before all is drawn."""
    files: dict[str, str | bytes] = {}
    drawn: list[str] = []
    for result in results:
        files[f"{result.name}.csv"] = to_csv(result)
        files[f"{result.name}.json"] = to_json(result)
        if figures:
            from modelmeter.programs.sweep.figures import FIGURES, draw

            drawn = list(FIGURES)
            for name, figure in draw(result).items():
                files[f"{result.name}_{name}"] = figure
    files["README.md"] = to_markdown(results, drawn)
    for name, content in files.items():
        write_whole(folder / name, content)


# -- the program -------------------------------------------------------------------------------------------------------


def run_sweep(program: SweepProgram) -> None:
    """The program of a sweep: its files land in the run directory, its table on standard output."""

    def work(package: ModelPackage, config: DictConfig) -> int:
        if not isinstance(config.figures, bool):
            raise ModelMeterError(f"sweep: figures={config.figures} is neither true nor false.")
        if config.figures:
            check_matplotlib("say figures=false")
        result = compute(program, package, config)
        folder = output_folder()
        write(folder, [result], figures=config.figures)
        out = console()
        for each in (*_console_parts(result), f"{len(result.rows)} points -> {folder}"):
            out.print(each, soft_wrap=isinstance(each, str), highlight=False, markup=False)
        return AGREES

    run(f"sweep_{program.name}", dict.fromkeys((*program.keys, "figures")), work)


def _console_parts(result: Result) -> Iterator[Table | str]:
    """The table without its last column, then what that column says, once with all its points."""
    header, cells = table_of(result)
    table = Table(title=result.title, title_justify="left", title_style="bold")
    for name in header[:-1]:
        table.add_column(Text(name.replace(" ", "\n")), justify="left" if name == header[0] else "right", no_wrap=True)
    points: dict[str, list[str]] = {}
    for row, line in zip(result.rows, cells, strict=True):
        table.add_row(*line[:-1])
        said = f"refused: {line[-1]}" if row["refused"] else f"peak in {line[-1]}"
        points.setdefault(said, []).append(line[0])
    yield table
    for said, labels in points.items():
        yield f"{', '.join(labels)}: {said}"
