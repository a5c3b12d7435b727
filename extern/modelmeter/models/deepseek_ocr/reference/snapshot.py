"""The static snapshot: the reference's modules, one page and one decode step, as torchinfo sees them.

Five files, the same bytes every time with the same versions of torch, transformers and torchinfo.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torch
import torchinfo
import transformers

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.reference.passes import (
    HEIGHT,
    MODE,
    PASSES,
    PROMPT_TOKENS,
    STAGES,
    WIDTH,
    ModuleEntry,
    Recording,
    mult_adds_by_class,
    record,
    stage_parameters,
)

#: What torchinfo's total of parameters gets wrong here. The embedding runs before the rest of the decoder, so the
#: decoder is listed twice, the second time with the table as its own; the model's own leftover is then negative, is
#: cut to 0, and takes the parameters that the model holds itself with it.
COUNTED_TWICE: Final = ("model.language_model.embed_tokens.weight",)
LEFT_OUT: Final = ("model.view_separator", "model.image_newline")

NOTES: Final = (
    "torchinfo's mult-adds of a Linear or a norm are the first dimension of its output times its parameters: the other "
    "positions of [batch, positions, features] are left out.",
    "Products that no module of their own makes are left out: attention's scores and sums, relative positions.",
    "Parameters that stand in a module with submodules, as the routed experts' do, are left out.",
    "Counted though they are no products: a bias, a norm's weights, and the whole table of an embedding, which is "
    "looked up.",
    "counted_mult_adds is half the FLOPs of torch.utils.flop_counter, operator by operator, attention in full.",
)


def account(recording: Recording) -> dict[str, Any]:
    """The model's parameters, and how torchinfo's total comes to differ; refused where that is not understood."""
    parameters = recording.parameters
    true = sum(parameters.values())
    said = recording.page_summary.total_params
    twice = {name: parameters[name] for name in COUNTED_TWICE}
    left_out = {name: parameters[name] for name in LEFT_OUT}
    if said - sum(twice.values()) + sum(left_out.values()) != true:
        raise ModelMeterError(
            f"snapshot: torchinfo counts {said:,} parameters of {true:,}, and not by counting {', '.join(twice)} twice "
            f"and leaving {', '.join(left_out)} out; look into torchinfo {torchinfo.__version__}."
        )
    unused = recording.whole.unused_patch_convolution()
    return {
        "torchinfo_total": said,
        "torchinfo_counts_twice": twice,
        "torchinfo_leaves_out": left_out,
        "true_sum": true,
        "published_unused_patch_convolution": unused,
        "published_sum": true + unused,
    }


def header(recording: Recording) -> dict[str, Any]:
    """What the snapshot is of."""
    return {
        "versions": {
            # without the build's suffix: the modules do not depend on it
            library.__name__: library.__version__.partition("+")[0]
            for library in (torch, torchinfo, transformers)
        },
        "model": type(recording.whole.model).__name__,
        "page": {
            "width": WIDTH,
            "height": HEIGHT,
            "workload": MODE,
            **recording.layout._asdict(),
            "image_tokens": recording.tokens.total,
            "prompt_tokens": PROMPT_TOKENS,
            "context": recording.tokens.total + PROMPT_TOKENS,
        },
    }


def module_row(module: ModuleEntry) -> dict[str, Any]:
    """One module of torchinfo-layers.json."""
    return {
        "published_paths": module.published_paths,
        "transformers_path": module.path,
        "class": module.class_name,
        "own_parameters": module.own_parameters,
        "parameters_own": module.parameters_own,
        "parameters_total": module.parameters_total,
        "runs": [
            {"pass": run.name, "inputs": run.inputs, "outputs": run.outputs, "mult_adds": run.mult_adds}
            for run in module.runs
        ],
    }


def unique_rows(modules: Iterable[ModuleEntry]) -> list[dict[str, Any]]:
    """Modules of one class with equal parameters and equal runs as one row: how many, and where the first stands."""
    alike: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for module in modules:
        row = module_row(module)
        place = {name: row.pop(name) for name in ("published_paths", "transformers_path")}
        alike[json.dumps(row)].append(place)
    rows = []
    for key, places in alike.items():
        row = json.loads(key)
        first = {f"first_{name}": value for name, value in places[0].items()}
        parameters = row["parameters_own"] * len(places)
        rows.append({"class": row.pop("class"), "count": len(places), "parameters_all": parameters, **first, **row})
    return rows


def stages(recording: Recording) -> dict[str, Any]:
    """Totals by stage: parameters, multiply-adds as torchinfo says and as counted, and both by class of module."""
    totals = {}
    for stage in STAGES:
        by_class = mult_adds_by_class(recording, stage)
        said, counted = (sum(column) for column in zip(*by_class.values(), strict=True))
        totals[stage] = {
            "parameters": stage_parameters(recording, stage),
            "torchinfo_mult_adds": said,
            "counted_mult_adds": counted,
            "by_class": {
                name: {"torchinfo_mult_adds": each, "counted_mult_adds": true}
                for name, (each, true) in by_class.items()
            },
        }
    return totals


def summary_text(recording: Recording, parameters: Mapping[str, Any]) -> str:
    """torchinfo's table of the page's pass, and the true figures beside its totals."""
    statistics = recording.page_summary
    statistics.formatting.macs_units = torchinfo.Units.NONE  # exact, not rounded to giga
    counted = recording.counts["prefill"].total // 2
    twice, left_out = parameters["torchinfo_counts_twice"], parameters["torchinfo_leaves_out"]
    lines = [
        ("parameters, torchinfo's total", parameters["torchinfo_total"]),
        *((f"  counted twice: {name}", -count) for name, count in twice.items()),
        *((f"  left out: {name}", count) for name, count in left_out.items()),
        ("parameters, the true sum: every named parameter once", parameters["true_sum"]),
        (
            "  published only: the vision tower's patch convolution, never run",
            parameters["published_unused_patch_convolution"],
        ),
        ("parameters, the published model", parameters["published_sum"]),
        ("mult-adds, torchinfo's total", statistics.total_mult_adds),
        ("mult-adds, counted operator by operator (torchinfo-stages.json says why they differ)", counted),
    ]
    texts = [(text, f"{value:,}") for text, value in lines]
    label, number = (max(map(len, column)) for column in zip(*texts, strict=True))
    beside = "\n".join(f"{text:<{label}}  {value:>{number}}" for text, value in texts)
    table = "\n".join(line.rstrip() for line in str(statistics).splitlines())
    return f"{table}\n\n{beside}\n"


def unique_table(head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], true_sum: int) -> str:
    """torchinfo-unique-layers.md."""
    page, versions = head["page"], ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    columns = ("count", "class", "first of them", "own parameters", "all of them", *PASSES)
    lines = [
        f"# The distinct modules of {head['model']}",
        "",
        f"A page of {page['width']} x {page['height']} pixels, workload {page['workload']}: {page['w_crop']} x "
        f"{page['h_crop']} crops, {page['image_tokens']} image tokens, {page['prompt_tokens']} prompt tokens; then one "
        f"decode step. {versions}.",
        "",
        "Modules of one class with equal parameters and equal shapes are one row. The last columns are what a module "
        "gives in each pass. Paths are the published ones; those of transformers are in italics.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'|'.join('---:' if name in ('count', 'own parameters', 'all of them') else '---' for name in columns)}|",
    ]
    for row in rows:
        outputs = {run["pass"]: ", ".join("x".join(map(str, shape)) for shape in run["outputs"]) for run in row["runs"]}
        published, path = row["first_published_paths"], row["first_transformers_path"]
        cells = (
            str(row["count"]),
            row["class"],
            f"`{published[-1]}`" if published else f"*`{path}`*" if path else "*the model*",
            f"{row['parameters_own']:,}",
            f"{row['parameters_all']:,}",
            *(outputs.get(name, "") for name in PASSES),
        )
        lines.append(f"| {' | '.join(cells)} |")
    count = sum(row["count"] for row in rows)
    lines.append(f"| {count} | all | | | {true_sum:,} |{' |' * len(PASSES)}")
    return "\n".join(lines) + "\n"


def json_of(head: Mapping[str, Any], name: str, rows: Iterable[object]) -> str:
    """A JSON object of the head's keys and a list, one line a row."""
    keys = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
    body = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    return f'{{\n{keys}  "{name}": [\n{body}\n  ]\n}}\n'


def snapshot_files() -> dict[str, str]:
    """The text of every file of the snapshot, by its name."""
    recording = record()
    head, parameters = header(recording), account(recording)
    unique = unique_rows(recording.modules)
    assert sum(row["parameters_all"] for row in unique) == parameters["true_sum"]
    totals = {**head, "parameters": parameters, "stages": stages(recording), "notes": NOTES}
    return {
        "torchinfo-summary.txt": summary_text(recording, parameters),
        "torchinfo-layers.json": json_of(head, "modules", map(module_row, recording.modules)),
        "torchinfo-unique-layers.json": json_of(head, "unique_modules", unique),
        "torchinfo-unique-layers.md": unique_table(head, unique, parameters["true_sum"]),
        "torchinfo-stages.json": json.dumps(totals, indent=2) + "\n",
    }
