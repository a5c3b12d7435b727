"""The committed static snapshot: regenerated to the same bytes, and equal to the analytic model module by module."""

import importlib.metadata
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, State
from modelmeter.models import model_package
from modelmeter.models.deepseek_ocr import DeepseekOCRModel, load_cost_model
from modelmeter.programs.snapshot.write_static_snapshot import HEIGHT, WIDTH, snapshot_files, write_snapshot
from modelmeter.shape_tensor import ShapeTensor, Tape
from modelmeter.walk import Shape, join_path

PROGRAM = "modelmeter.programs.snapshot.write_static_snapshot"
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports/20211117-dsorc-op-analysis/static-20251118-130533"
FILES = {
    "torchinfo-summary.txt",
    "torchinfo-layers.json",
    "torchinfo-unique-layers.json",
    "torchinfo-unique-layers.md",
    "torchinfo-stages.json",
}

TRUE_SUM = 3_335_504_128
PATCH_CONVOLUTION = 3 * 14 * 14 * 1024

TOP_LEVEL = {  # where the snapshot has what no published module path of its own leads to
    "": "",
    "image_newline": "model.image_newline",
    "view_seperator": "model.view_separator",
    "rotary_emb": "model.language_model.rotary_emb",
}

WITHOUT_COUNTERPART = {  # modules of the snapshot whose outputs no layer on shapes gives, and why
    "GELUActivation": "an operator, not a layer",
    "QuickGELUActivation": "an operator, not a layer",
    "SiLUActivation": "an operator, not a layer",
    "UnlimitedOcrSamVisionProj": "net_2 and net_3 stand in the encoder itself, as published",
    "UnlimitedOcrForConditionalGeneration": "a stage",
    "UnlimitedOcrModel": "a stage",
    "UnlimitedOcrTextModel": "its last layer's output is its own",
}
POSITIONS = "model.vision_tower.vision_encoder.embeddings.position_embedding"  # a bare table on shapes


@cache
def snapshot(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@cache
def modules() -> dict[str, Any]:
    return {row["transformers_path"]: row for row in snapshot("torchinfo-layers.json")["modules"]}


@cache
def published() -> dict[str, str]:
    """Published path -> the snapshot's, where one module alone does the work."""
    places = defaultdict(list)
    for path, row in modules().items():
        for name in row["published_paths"]:
            places[name].append(path)
    return {name: paths[0] for name, paths in places.items() if len(paths) == 1}


def place(path: str) -> str:
    """Where the snapshot has an analytic module or parameter: by its published path, or below its owner's."""
    if path in published():
        return published()[path]
    if path in TOP_LEVEL:
        return TOP_LEVEL[path]
    owner, _, name = path.rpartition(".")
    assert owner, path
    return f"{place(owner)}.{name}"


def tree(layer: BaseLayer, path: str = "") -> Iterator[tuple[str, BaseLayer]]:
    yield path, layer
    for name, child in layer.children():
        yield from tree(child, join_path(path, name))


def test_regenerated_to_the_byte(tmp_path: Path) -> None:
    for library, version in snapshot("torchinfo-layers.json")["versions"].items():
        here = importlib.metadata.version(library).partition("+")[0]
        if here != version:
            pytest.skip(f"the snapshot is of {library} {version}; here is {here}")
    command = [sys.executable, "-m", PROGRAM, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert {Path(line).name for line in done.stdout.splitlines()} == FILES
    assert {path.name for path in FOLDER.iterdir()} == {path.name for path in (tmp_path / "out").iterdir()} == FILES
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_bad_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["a", "b"], ["--out", "a"], ["-h"]):
        with pytest.raises(
            ModelMeterError, match=f"'{' '.join(arguments)}' is no output folder; give one, or none for"
        ):
            write_snapshot(arguments)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ModelMeterError, match="cannot be written"):
        write_snapshot(["file"])


def test_every_parameter() -> None:
    ours = {}
    for path, parameter in DeepseekOCRModel().named_parameters():
        bare = path in published()  # a table on shapes that is a module of its own there
        ours[place(path) + (".weight" if bare else "")] = parameter.shape
    theirs = {
        join_path(path, name): tuple(shape)
        for path, row in modules().items()
        for name, shape in row["own_parameters"].items()
    }
    assert ours == theirs
    for each in (
        "view_separator",
        "vision_tower.sam_encoder.pos_embed",
        "vision_tower.sam_encoder.layers.2.attn.rel_pos_h",
    ):
        assert f"model.{each}" in theirs


def test_the_parameter_count_of_every_module() -> None:
    compared = {}
    for path, layer in tree(DeepseekOCRModel()):
        compared[path] = (layer.parameter_count(), modules()[place(path)]["parameters_total"])
    assert {path: counts for path, counts in compared.items() if counts[0] != counts[1]} == {}
    assert compared[""] == (TRUE_SUM, TRUE_SUM)
    assert {"sam_model.neck.3", "vision_model.transformer.layers.23.mlp.fc2", "layers.11.mlp.gate"} <= compared.keys()


Outputs = dict[tuple[str, str], list[Shape]]


def watch(monkeypatch: pytest.MonkeyPatch) -> Outputs:
    """(branch or text, analytic path) -> shapes of what that layer returned, for every call from here on.

    Every call is walked: none is remembered from another.
    """
    seen: Outputs = {}

    def called(layer: BaseLayer, name: str, *args: Any) -> Any:
        tape = args[0].tape
        outer, tape.path = tape.path, join_path(tape.path, name)
        result = layer.forward(*args)
        branch, _, below = tape.path.partition(".")
        step = tape.path if branch not in ("global", "crops") else below or "tower"
        run = f"vision.{branch}" if branch in ("global", "crops") else "text"
        tensors = result if isinstance(result, tuple) else (result,)
        if step:  # the stages and the decoder as a whole bear no name
            assert (run, step) not in seen
            seen[run, step] = [tensor.shape for tensor in tensors if isinstance(tensor, ShapeTensor)]
        tape.path = outer
        return result

    def call(layer: BaseLayer, *args: Any) -> Any:
        inputs = next(arg for arg in args if isinstance(arg, ShapeTensor))
        return called(layer, layer.name, inputs, *args[1:])

    monkeypatch.setattr(BaseLayer, "call_remembered", called)
    monkeypatch.setattr(BaseLayer, "__call__", call)
    return seen


def analytic_outputs(run: str, seen: Outputs) -> dict[tuple[str, str], list[Shape]]:
    """(pass of the snapshot, its path) -> output shapes."""
    return {
        (run if name == "text" else name, "model.vision_tower" if path == "tower" else place(path)): shapes
        for (name, path), shapes in seen.items()
    }


def test_the_output_shapes_of_every_module(monkeypatch: pytest.MonkeyPatch) -> None:
    model = DeepseekOCRModel()
    watched = watch(monkeypatch)
    tape = Tape()
    states = tuple(State() for _ in model.decoder.layers)
    pixels = (tape.input((1, 3, 1024, 1024), "bfloat16"), tape.input((6, 3, 640, 640), "bfloat16"))
    model.text.forward(tape.input((1, 913), "int64"), (*pixels, (2, 3)), states, 64, "last")
    ours = analytic_outputs("prefill", watched)
    watched.clear()
    model.text.forward(tape.input((1, 1), "int64"), (), states, 6, "last")
    ours |= analytic_outputs("decode", watched)

    theirs = {
        (run["pass"], path): [tuple(shape) for shape in run["outputs"]]
        for path, row in modules().items()
        for run in row["runs"]
        if row["class"] not in WITHOUT_COUNTERPART and path != POSITIONS
    }
    assert ours == theirs
    assert ours["vision.crops", "model.vision_tower.sam_encoder.layers.0.attn.qkv"] == [(6 * 9, 14, 14, 3 * 768)]
    assert {name for name, _ in ours} == {"vision.global", "vision.crops", "prefill", "decode"}


def test_what_has_no_counterpart_exists() -> None:
    assert WITHOUT_COUNTERPART.keys() <= {row["class"] for row in modules().values()}
    assert modules()[POSITIONS]["class"] == "Embedding"


def test_stages() -> None:
    stages, parameters = (snapshot("torchinfo-stages.json")[key] for key in ("stages", "parameters"))
    page = load_cost_model(["workload=gundam"]).page(1275, 1650, output_tokens=1)
    of_page = {"vision": page.vision, "prefill": page.prefill, "decode": page.decode}
    for name, stage in stages.items():
        assert 2 * stage["counted_mult_adds"] == of_page[name].tensor_core_flops
        for column in ("counted_mult_adds", "torchinfo_mult_adds"):
            assert sum(each[column] for each in stage["by_class"].values()) == stage[column]
    assert 2 * stages["vision"]["parameters"] == page.vision.weight_bytes
    assert 2 * stages["prefill"]["parameters"] == page.prefill.weight_bytes == 2 * TRUE_SUM
    assert stages["vision"]["parameters"] + stages["decode"]["parameters"] == TRUE_SUM
    assert parameters["true_sum"] == TRUE_SUM
    assert parameters["torchinfo_total"] == TRUE_SUM + 129280 * 1280 - 2 * 1280
    assert parameters["published_unused_patch_convolution"] == PATCH_CONVOLUTION == 602_112
    assert parameters["published_sum"] == 3_336_106_240


def test_the_summary_shows_every_run_and_the_true_sum() -> None:
    table, beside = (FOLDER / "torchinfo-summary.txt").read_text(encoding="utf-8").split("\n\n")
    shown = Counter(re.findall(r"^[│├└─ ]*(\w+) \(\w+\)", table, flags=re.MULTILINE))
    ran = Counter(row["class"] for row in modules().values() for run in row["runs"] if run["pass"] != "decode")
    assert ran and all(shown[name] >= count for name, count in ran.items())
    assert "Total params: 3,500,979,968" in table
    assert next(line for line in beside.splitlines() if "the true sum" in line).endswith(f"  {TRUE_SUM:,}")


def test_the_page_in_the_docs_shows_what_is_printed() -> None:
    page = (ROOT / "docs/snapshot.md").read_text(encoding="utf-8")
    printed, stages = (block.split("```")[0] for block in page.split("```text\n")[1:])
    assert printed == (FOLDER / "torchinfo-summary.txt").read_text(encoding="utf-8").split("\n\n")[1]
    for name, stage in snapshot("torchinfo-stages.json")["stages"].items():
        row = [name, *(f"{stage[column]:,}" for column in ("parameters", "torchinfo_mult_adds", "counted_mult_adds"))]
        assert row in [line.split() for line in stages.splitlines()]
    assert all(f"`{name}`" in page for name in FILES)


def test_what_the_notes_say_of_mult_adds() -> None:
    checked = set()
    for row in modules().values():
        for run in row["runs"]:
            if run["mult_adds"] is None:
                assert row["class"] not in ("Linear", "Conv2d", "Embedding")
                continue
            batch, *rest = run["outputs"][0]
            positions = rest[1] * rest[2] if row["class"] == "Conv2d" else 1
            assert run["mult_adds"] == batch * positions * row["parameters_own"]
            checked.add(row["class"])
    assert {"Linear", "Conv2d", "LayerNorm", "Embedding", "UnlimitedOcrTextTopkRouter"} <= checked


def test_unique_modules_are_the_modules() -> None:
    unique = snapshot("torchinfo-unique-layers.json")["unique_modules"]
    assert sum(row["count"] for row in unique) == len(modules())
    assert sum(row["parameters_all"] for row in unique) == TRUE_SUM
    for row in unique:
        alike = [
            each
            for each in modules().values()
            if all(each[key] == row[key] for key in ("class", "own_parameters", "parameters_total", "runs"))
        ]
        assert len(alike) == row["count"]
        assert alike[0]["transformers_path"] == row["first_transformers_path"]


@pytest.mark.parametrize(
    "model, passes, parameters, cut",
    [
        ("unlimited_ocr", ["vision.global", "vision.local"], 3_335_504_128, "workload tiles: 3 x 4 tiles, 1513 image"),
        ("lighton_ocr", ["vision.page"], 1_005_647_872, "image tokens"),
    ],
)
def test_of_another_model(model: str, passes: list[str], parameters: int, cut: str) -> None:
    files = snapshot_files(model_package(model))
    totals = json.loads(files["torchinfo-stages.json"])
    assert totals["parameters"]["true_sum"] == totals["parameters"]["published_sum"] == parameters
    assert cut in files["torchinfo-unique-layers.md"]
    runs = {run["pass"] for row in json.loads(files["torchinfo-layers.json"])["modules"] for run in row["runs"]}
    assert runs == {*passes, "prefill", "decode"}
    cost = model_package(model).load_cost_model().page(WIDTH, HEIGHT)
    counted = {stage: totals["stages"][stage]["counted_mult_adds"] for stage in ("vision", "prefill")}
    assert counted == {stage: getattr(cost, stage).tensor_core_flops // 2 for stage in counted}


def test_another_models_folder_is_asked_for() -> None:
    with pytest.raises(ModelMeterError, match="name the folder that the files of unlimited_ocr go to"):
        write_snapshot(["model=unlimited_ocr"])
