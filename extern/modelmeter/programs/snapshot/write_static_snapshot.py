"""Write the static snapshot: the reference's modules, one page and one decode step, as torchinfo sees them.

    python -m modelmeter.programs.snapshot.write_static_snapshot [OUTPUT_FOLDER] [model=NAME] [KEY=VALUE]...

A letter page in the model's default mode. Five files, the same bytes every time with the same versions of torch,
transformers and torchinfo. Exit status 0: written; 2: it could not be.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.models import DEFAULT_MODEL, model_package
from modelmeter.models.common.contract import ModelPackage
from modelmeter.programs.hydra_program import AGREES, chosen_model, ended
from modelmeter.reference.recording import ModuleEntry, Recording, mult_adds_by_class, record, stage_parameters

#: where the default model's lies
FOLDER: Final = Path("reports/20211117-dsorc-op-analysis/static-20251118-130533")

#: pixels of a letter page at 150 dpi
WIDTH: Final = 1275
HEIGHT: Final = 1650

NOTES: Final = (
    "torchinfo's mult-adds of a Linear or a norm are the first dimension of its output times its parameters: the other "
    "positions of [batch, positions, features] are left out.",
    "GEMMs that no module of their own makes are left out: attention's scores and sums, relative positions.",
    "Parameters that stand in a module with submodules, as the routed experts' do, are left out.",
    "Counted though they are no GEMMs: a bias, a norm's weights, and the whole table of an embedding, which is "
    "looked up.",
    "counted_mult_adds is half the FLOPs of torch.utils.flop_counter, operator by operator, attention in full.",
)


def account(whole: Any, recording: Recording) -> dict[str, Any]:
    """The model's parameters, and how torchinfo's total comes to differ; refused where that is not understood."""
    parameters = recording.parameters
    true = sum(parameters.values())
    said = recording.page_summary.total_params
    by_name = recording.named_alike
    twice = {name: by_name[name] for name in whole.torchinfo_counts_twice}
    left_out = {name: by_name[name] for name in whole.torchinfo_leaves_out}
    if said - sum(twice.values()) + sum(left_out.values()) != true:
        raise ModelMeterError(
            f"snapshot: torchinfo counts {said:,} parameters of {true:,}, and not by counting "
            f"{', '.join(twice) or 'none'} twice and leaving {', '.join(left_out) or 'none'} out; look into torchinfo "
            f"{recording.versions['torchinfo']}."
        )
    unused = {name: count for name, (_, count) in whole.published_unused.items()}
    return {
        "torchinfo_total": said,
        "torchinfo_counts_twice": twice,
        "torchinfo_leaves_out": left_out,
        "true_sum": true,
        **unused,
        "published_sum": true + sum(unused.values()),
    }


def header(package: ModelPackage, cost_model: Any, page: Any, recording: Recording) -> dict[str, Any]:
    """What the snapshot is of."""
    mode = next(name for name, workload in package.MODES.items() if workload == cost_model.workload)
    return {
        "versions": recording.versions,
        "model": type(recording.whole.model).__name__,
        "page": {
            "width": WIDTH,
            "height": HEIGHT,
            "workload": mode,
            **page.layout._asdict(),
            "image_tokens": page.tokens.total,
            "prompt_tokens": cost_model.prompt_of(page.layout),
            "context": page.seq_len,
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
    for stage in recording.stages:
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


def summary_text(whole: Any, recording: Recording, parameters: Mapping[str, Any]) -> str:
    """torchinfo's table of the page's pass, and the true figures beside its totals."""
    table_text, statistics = recording.exact_totals(), recording.page_summary
    counted = recording.counts["prefill"].total // 2
    twice, left_out = parameters["torchinfo_counts_twice"], parameters["torchinfo_leaves_out"]
    lines = [
        ("parameters, torchinfo's total", parameters["torchinfo_total"]),
        *((f"  counted twice: {name}", -count) for name, count in twice.items()),
        *((f"  left out: {name}", count) for name, count in left_out.items()),
        ("parameters, the true sum: every named parameter once", parameters["true_sum"]),
        *((f"  published only: {words}", count) for words, count in whole.published_unused.values()),
        ("parameters, the published model", parameters["published_sum"]),
        ("mult-adds, torchinfo's total", statistics.total_mult_adds),
        ("mult-adds, counted operator by operator (torchinfo-stages.json says why they differ)", counted),
    ]
    texts = [(text, f"{value:,}") for text, value in lines]
    label, number = (max(map(len, column)) for column in zip(*texts, strict=True))
    beside = "\n".join(f"{text:<{label}}  {value:>{number}}" for text, value in texts)
    table = "\n".join(line.rstrip() for line in table_text.splitlines())
    return f"{table}\n\n{beside}\n"


def unique_table(
    head: Mapping[str, Any], cut: str, passes: Sequence[str], rows: Sequence[Mapping[str, Any]], held: int
) -> str:
    """torchinfo-unique-layers.md."""
    page, versions = head["page"], ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    columns = ("count", "class", "first of them", "own parameters", "all of them", *passes)
    lines = [
        f"# The distinct modules of {head['model']}",
        "",
        f"A page of {page['width']} x {page['height']} pixels, workload {page['workload']}: {cut}, "
        f"{page['image_tokens']} image tokens, {page['prompt_tokens']} prompt tokens; then one "
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
            *(outputs.get(name, "") for name in passes),
        )
        lines.append(f"| {' | '.join(cells)} |")
    count = sum(row["count"] for row in rows)
    lines.append(f"| {count} | all | | | {held:,} |{' |' * len(passes)}")
    return "\n".join(lines) + "\n"


def json_of(head: Mapping[str, Any], name: str, rows: Iterable[object]) -> str:
    """A JSON object of the head's keys and a list, one line a row."""
    keys = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
    body = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    return f'{{\n{keys}  "{name}": [\n{body}\n  ]\n}}\n'


def snapshot_files(package: ModelPackage, overrides: Sequence[str] = ()) -> dict[str, str]:
    """The text of every file of a model's snapshot, by its name."""
    cost_model = package.load_cost_model(overrides)
    whole: Any = package.whole_model(cost_model)
    page = cost_model.page(WIDTH, HEIGHT)
    workload = cost_model.workload
    views = [view.name for view in page.views]
    recording = record(whole.page, whole.inputs(page.layout), views, whole.published_paths)
    head, parameters = header(package, cost_model, page, recording), account(whole, recording)
    unique = unique_rows(recording.modules)
    held = sum(row["parameters_all"] for row in unique)  # one that two modules hold is in both
    assert held == sum(recording.named_alike.values())
    totals = {**head, "parameters": parameters, "stages": stages(recording), "notes": NOTES}
    cut = f"{workload.layout_text(page.layout)} {workload.layout_title}"
    return {
        "torchinfo-summary.txt": summary_text(whole, recording, parameters),
        "torchinfo-layers.json": json_of(head, "modules", map(module_row, recording.modules)),
        "torchinfo-unique-layers.json": json_of(head, "unique_modules", unique),
        "torchinfo-unique-layers.md": unique_table(head, cut, recording.passes, unique, held),
        "torchinfo-stages.json": json.dumps(totals, indent=2) + "\n",
    }


def write_snapshot(arguments: Sequence[str]) -> int:
    """Write the files of a model into the folder that the command line names; the exit status."""
    folders = [each for each in arguments if "=" not in each]
    model, overrides = chosen_model([each for each in arguments if "=" in each])
    if len(folders) > 1 or any(folder.startswith("-") for folder in folders):
        raise ModelMeterError(
            f"write_static_snapshot: {' '.join(folders)!r} is no output folder; give one, or none for {FOLDER}."
        )
    if not folders and model != DEFAULT_MODEL:
        raise ModelMeterError(f"write_static_snapshot: name the folder that the files of {model} go to.")
    folder = Path(folders[0]) if folders else FOLDER
    for name, text in snapshot_files(model_package(model), overrides).items():
        write_whole(folder / name, text)
        print(folder / name)
    return AGREES


if __name__ == "__main__":
    sys.exit(ended(lambda: write_snapshot(sys.argv[1:])))
