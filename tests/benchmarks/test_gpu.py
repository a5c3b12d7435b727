"""`make gpu` on the CPU: every shape of the page has its call, parts go on after a break, and the figures arrive."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import kernels, measure, report, shapes, stages
from modelmeter.calibration.kernel_fit import LEAST_ROWS, predicted
from modelmeter.calibration.kernel_measured import rows_table
from modelmeter.devices import Roofline, load_device
from modelmeter.devices.stage_time import StageTimes
from modelmeter.kernel_classes import COLLECTIVES
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.reference import kernel_shapes, kernel_table
from modelmeter.reference.kernel_calls import NoCall, OperandPool, call_of
from modelmeter.reference.kernel_timing import KernelTimes, sets_needed, time_calls
from tests.calibration.synthetic import SMALL, shrink_vision

#: kernels of an engine at its best that are chains, of which torch has no single function
CHAINS = {
    "fused.add_norm_partition",
    "fused.add_positions",
    "fused.embed",
    "fused.image_tokens",
    "fused.put_image_tokens",
    "fused.rel_pos",
    "fused.rotary_and_cache",
    "fused.sort_by_expert",
    "fused.unpartition_add_norm",
}


#: of its peaks, what a made-up card reaches
SHARE = 0.9
#: what a shape that nobody timed is said to take
ONE_MILLISECOND = KernelTimes(
    eager_ms=1.0,
    eager_spread=0.0,
    host_ms=1.0,
    graph_ms=1.0,
    graph_spread=0.0,
    graph_error="",
    repeats=5,
    calls=5,
)


@pytest.fixture(scope="module")
def gundam() -> list[dict[str, Any]]:
    """The page's shapes at full width, of fewer layers: all the same but their counts."""
    return shapes.page_kernels(["decoder.num_hidden_layers=2"])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document of a model that runs in seconds, as it is written beforehand."""
    path = tmp_path_factory.mktemp("gpu") / "shapes.json"
    shapes.main(str(path), *SMALL)
    return path


# -- shapes ----------------------------------------------------------------------------------------------------------


def test_the_uses_of_the_shapes_are_the_operators_of_the_walks(gundam: list[dict[str, Any]]) -> None:
    counted: Counter[tuple[str, str, int]] = Counter()
    flops: Counter[tuple[str, str, int]] = Counter()
    for kernel in gundam:
        for execution, stage, batch, count in kernel["uses"]:
            counted[execution, stage, batch] += count
            flops[execution, stage, batch] += count * kernel["flops"]
    for execution in shapes.EXECUTIONS:
        model = load_cost_model([f"execution={execution}", "decoder.num_hidden_layers=2"])
        page = model.page(shapes.WIDTH, shapes.HEIGHT)
        vision, prefill = (model.stage_walk(stage, page=page) for stage in ("vision", "prefill"))
        assert counted[execution, "vision", 1] == vision.operator_count
        assert counted[execution, "vision", 1] + counted[execution, "prefill", 1] == prefill.operator_count
        assert flops[execution, "prefill", 1] == prefill.tensor_core_flops - vision.tensor_core_flops
        for batch in shapes.BATCHES:
            walk = model.batched(batch).stage_walk("decode", context=page.seq_len)
            assert counted[execution, "decode", batch] == walk.operator_count
            assert flops[execution, "decode", batch] == walk.tensor_core_flops


def test_classes(gundam: list[dict[str, Any]]) -> None:
    named = {(kernel["class"], *map(tuple, kernel["inputs"])) for kernel in gundam}
    head = (10, 914, 128)
    assert ("context_attention", *[(1, 10, 913, 128)] * 3) in named
    assert ("generation_attention", (16, 10, 1, 128), (16, *head), (16, *head)) in named
    assert ("encoder_attention", *[(6, 16, 101, 64)] * 3) in named
    assert ("bias_attention", *[(1, 12, 4096, 64)] * 3, (1, 12, 4096, 4096)) in named
    assert ("moe", (5478, 1280), (64,)) in named
    assert ("convolution", (6, 3, 640, 640), (768, 3, 16, 16), (768,)) in named
    assert {kernel["class"] for kernel in gundam} == set(report.CLASSES)
    hit = {(kernel["inputs"][0][0], kernel["experts_hit"]) for kernel in gundam if kernel["class"] == "moe"}
    assert {(6, 6), (96, 64), (5478, 64)} <= hit


@pytest.mark.parametrize("group", ["page", "sweep"])
def test_every_shape_has_a_call_that_makes_its_output(group: str, gundam: list[dict[str, Any]]) -> None:
    pool = OperandPool("meta", 12 * 2**30)
    tried = [*kernel_shapes.peaks(), *gundam] if group == "page" else list(kernel_shapes.sweep())
    refused = set()
    for kernel in tried:
        pool.reset()
        try:
            made = call_of(kernel, pool)()
        except NoCall:
            refused.add(kernel["name"])
            continue
        first = made[0] if isinstance(made, tuple) else made
        assert first.numel() == prod(kernel["outputs"][0]), kernel
        if len(kernel["outputs"]) == 1 and kernel["dtype"] != "int64":
            assert first.nbytes == kernel["bytes_written"], kernel
    assert refused == (CHAINS if group == "page" else set())


# -- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moved, written, l2, sets",
    [
        (10**6, 10**5, 50 * 10**6, 126),  # a round moves more than 2.5 times the L2
        (10**9, 10**5, 50 * 10**6, 2),  # one call does, and the next begins with its operands in memory
        (1_000, 10, 50 * 10**6, 256),  # tiny: as many as a round may have
        (10**6, 2**30, 50 * 10**6, 2),  # results fill the memory
    ],
)
def test_a_round_moves_more_than_the_cache_holds(moved: int, written: int, l2: int, sets: int) -> None:
    assert sets_needed(moved, written, l2) == sets


def test_times_are_those_of_one_call() -> None:
    ran = Counter[int]()
    calls = [lambda number=number: ran.update([number]) for number in range(3)]
    times = time_calls(calls, "cpu", repeats=2)
    assert times.eager_ms > 0 and times.graph_ms is None
    assert len(set(ran.values())) == 1  # each in its turn
    assert times.calls % 3 == 0


# -- a part that breaks ----------------------------------------------------------------------------------------------


def test_a_shape_that_breaks_the_device_is_left_behind(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "aten.gelu.default"

    def call(kernel: Any, pool: OperandPool) -> Any:
        if kernel["name"] == broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
        return lambda: None

    chosen = [
        kernel_shapes.copy(64),
        kernel_shapes.kernel("elementwise", broken, ((2, 3),), (2, 3)),
        kernel_shapes.copy(128),
    ]
    monkeypatch.setattr(kernel_table, "call_of", call)
    monkeypatch.setattr(kernels, "records_of", lambda *_: chosen)
    monkeypatch.setattr(kernels, "answers", lambda _: False)
    arguments = ["page", "--shapes", str(small), "--out", str(tmp_path), "--device", "cpu", "--small"]
    assert kernels.main(arguments) == kernels.BROKEN
    assert kernels.main(arguments) == 0
    rows = measure.read_lines(tmp_path / "page.jsonl")
    assert [row["name"] for row in rows] == ["aten.clone.default", broken, "aten.clone.default"]
    assert rows[1]["error"] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert rows[0]["eager_ms"] > 0 and rows[2]["eager_ms"] > 0


@pytest.mark.parametrize(
    "program, ended",
    [
        (
            "import pathlib, sys; f = pathlib.Path(sys.argv[-1]); f.exists() or (f.touch(), sys.exit(3))",
            "status 3; done",
        ),
        ("import time; time.sleep(60)", "stopped after 1 s"),
        ("raise SystemExit(2)", "attempt 1 ended with status 2; "),
        ("raise SystemExit(1)", "attempt 7 ended with status 1; "),
    ],
)
def test_how_a_part_ends(program: str, ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen
    command = [sys.executable, "-c", program, str(tmp_path / "begun")]
    monkeypatch.setattr(measure.subprocess, "Popen", lambda _: popen(command, stderr=subprocess.DEVNULL))
    sleeps = "sleep" in program
    if sleeps:
        monkeypatch.setattr(measure, "GRACE_S", -0.5)
    assert measure.run_part("page", tmp_path, [], 1.5 if sleeps else 30).endswith(ended)


def test_a_cut_file_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "page.jsonl"
    path.write_text('{"begun": 0}\n{"name": "one"}\n{"begun": 1}\n{"name": "tw', encoding="utf-8")
    assert measure.read_lines(path) == [{"name": "one"}]
    assert measure.read_lines(tmp_path / "none") == []


# -- the stages of the real modules ----------------------------------------------------------------------------------


def test_stages_of_a_small_model(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    shrink_vision(monkeypatch)
    try:
        stages.main(["--shapes", str(small), "--out", str(tmp_path), "--device", "cpu", "--small"])
    finally:
        torch.set_num_threads(threads)
    content = json.loads((tmp_path / "stages.json").read_text(encoding="utf-8"))
    assert "not_run" not in content
    assert content["weights"]["context"] == json.loads(small.read_text())["predicted"]["page"]["seq_len"]
    for stage in ("vision", "prefill", "text", "decode 1", "decode 2", "decode 1, experts eager"):
        assert content["stages"][stage]["eager"]["median_ms"] > 0, content["stages"]
    for stage in ("1 at once", "2 at once"):
        answer = content["stages"][stage]["answer"]
        assert answer["steps"] == stages.ANSWER_TOKENS - 1, answer
        assert answer["median_ms"] > answer["first_ms"] > 0 and answer["step_ms"] > 0


def test_without_the_real_modules_the_file_says_why(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "modelmeter.models.deepseek_ocr.reference.real_page", None)
    assert stages.main(["--shapes", str(small), "--out", str(tmp_path), "--device", "cpu", "--small"]) == 0
    content = json.loads((tmp_path / "stages.json").read_text(encoding="utf-8"))
    assert content["not_run"].startswith("the real modules cannot be imported here: ModuleNotFoundError")
    assert content["stages"] == {}


# -- all of it -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, whole, but for the real modules."""
    folder = tmp_path_factory.mktemp("measured")
    arguments = ["--out", str(folder), "--shapes", str(small), "--device", "cpu", "--small", "--parts", "page,sweep"]
    assert measure.main([*arguments, "--budget", "120"]) == 0
    return folder


def test_a_small_run_writes_table_results_and_report(measured: Path) -> None:
    assert sorted(path.name for path in measured.iterdir() if path.suffix != ".yaml") == [
        "kernels.parquet",
        "report.md",
        "results.json",
    ]
    rows = report.read_table(measured)
    assert list(rows[0]) == list(kernel_table.COLUMNS)
    assert {row["group"] for row in rows} == {"page", "sweep"}
    timed = [row for row in rows if not row["error"]]
    assert timed and all(row["eager_ms"] > 0 and row["footprint_bytes"] > 0 for row in timed)
    results = json.loads((measured / "results.json").read_text(encoding="utf-8"))
    assert {name: part["ended"] for name, part in results["run"]["parts"].items()} == {"page": "done", "sweep": "done"}
    text = (measured / "report.md").read_text(encoding="utf-8")
    for heading in ("What it says", "The machine", "Times by stage", "Memory", "Kernels by class"):
        assert f"## {heading}\n" in text


def test_a_part_that_is_run_again_replaces_its_own_rows_alone(measured: Path, tmp_path: Path) -> None:
    for path in measured.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = report.read_table(measured)
    anew = kernel_table.COLUMNS | {"group": "sweep", "name": "anew"}
    (tmp_path / "sweep.jsonl").write_text(json.dumps(anew), encoding="utf-8")
    measure.collect(tmp_path, tmp_path / "none.json", {"date": "2026-01-02", "parts": {"sweep": {"ended": "anew"}}})
    assert report.read_table(tmp_path) == [*(row for row in before if row["group"] == "page"), anew]
    old, new = (json.loads((folder / "results.json").read_text()) for folder in (measured, tmp_path))
    assert new["machine"] == old["machine"]
    assert new["run"]["parts"] == old["run"]["parts"] | {"sweep": {"ended": "anew"}}


def test_without_pyarrow_the_table_is_csv_and_says_the_same(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = report.read_table(measured)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        assert measure.write_table(rows, tmp_path).name == "kernels.csv"
    assert report.read_table(tmp_path) == rows


def test_shapes_that_are_missing_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure.main(["--out", str(tmp_path), "--shapes", str(tmp_path / "none.json")])
    assert "none.json is not there; `make gpu-wheels` writes it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        measure.main(["--parts", "pages"])
    assert "pages is none of page, stages, sweep" in capsys.readouterr().err


def test_without_a_device_nothing_is_measured(small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        assert kernels.missing("cuda") == ""
        return
    assert measure.main(["--out", str(tmp_path), "--shapes", str(small), "--parts", "page"]) == 1
    assert "finds no CUDA device here; run on a machine that has one" in capfd.readouterr().out


# -- the report ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a card whose every shape takes what an H100's roofline says of it at 0.9 of its peaks, and 2 us."""
    tmp_path = tmp_path_factory.mktemp("synthetic")
    roofline = Roofline(load_device("H100-SXM"))
    record: dict[str, Any] = {}

    def times(*_args: object, **_named: object) -> KernelTimes:
        row = kernel_table.COLUMNS | {name: record[name] for name in record.keys() & kernel_table.COLUMNS.keys()}
        graph = report.roofline_ms(roofline, row) / SHARE + 2e-3
        return replace(ONE_MILLISECOND, graph_ms=graph)

    document = shapes.document(["decoder.num_hidden_layers=2"])
    pool = OperandPool("meta", 12 * 2**30)
    with pytest.MonkeyPatch.context() as patch, (tmp_path / "page.jsonl").open("w", encoding="utf-8") as file:
        patch.setattr(kernel_table, "time_calls", times)
        for each in [*kernel_shapes.peaks(), *document["kernels"]]:
            record = each
            file.write(json.dumps(kernel_table.timed(each, pool, 2**20, 5) | {"group": "page"}) + "\n")
    machine = {
        "device": "cuda",
        "name": "NVIDIA H100 80GB HBM3",
        "memory_bytes": 85 * 10**9,
        "versions": {"torch": "2"},
    }
    (tmp_path / "machine.json").write_text(json.dumps(machine), encoding="utf-8")
    peak = int(document["predicted"]["vision"]["activation_peak_bytes"])
    memory = {
        "requested_by_pass": peak + 512,
        "allocated_by_pass": peak + 1024,
        "max_memory_allocated": 10**10,
        "peak": {"reserved": 2 * 10**10},
    }
    held = {"allocations": 2, "bytes": peak + 512, "holders": [{"bytes": peak, "line": "modeling.py:205 get_rel_pos"}]}
    content = {
        "stages": {
            "vision": {"memory": memory, "holders": held, "graph": {"median_ms": 20.0}, "profile": {"device_ms": 21.0}},
            "prefill": {"graph": {"error": "RuntimeError: operation not permitted when stream is capturing"}},
        }
    }
    (tmp_path / "stages.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "shapes.json").write_text(json.dumps(document), encoding="utf-8")
    measure.collect(tmp_path, tmp_path / "shapes.json", {"date": "2026-01-01", "parts": {}})
    report.write_report(tmp_path, None)
    return tmp_path


def test_the_device_file_shows_the_device_that_was_measured(synthetic: Path) -> None:
    found, true = load_device(synthetic / "device.yaml"), load_device("H100-SXM")
    assert found.kernel_launch_s is not None
    assert float(found.kernel_launch_s) == pytest.approx(2e-6, rel=1e-4)
    assert float(found.bandwidth) == pytest.approx(SHARE * float(true.bandwidth), rel=1e-4)
    assert float(found.matmul_rate("bf16")) == pytest.approx(SHARE * float(true.matmul_rate("bf16")), rel=1e-4)
    assert float(found.matmul_rate("fp32")) == pytest.approx(SHARE * float(true.matmul_rate("fp32")), rel=1e-4)
    assert found.matmul_flops_per_s == true.matmul_flops_per_s
    assert found.memory_bytes == 85 * 10**9


def test_the_report_puts_predicted_beside_measured(synthetic: Path) -> None:
    text = (synthetic / "report.md").read_text(encoding="utf-8")
    model = load_cost_model(["decoder.num_hidden_layers=2"])
    page = model.page(shapes.WIDTH, shapes.HEIGHT)
    peak = page.vision.activation_peak_bytes
    assert f"| vision | {peak:,} | {peak + 512:,} | +512 | {peak + 1024:,} |" in text
    assert f"- vision: predicted at `{page.vision.peak_operator}` in `{page.vision.peak_path}`" in text
    assert f"{peak:,} modeling.py:205 get_rel_pos" in text
    seconds = Roofline(load_device("H100-SXM")).stage(model.stage_walk("vision", page=page)).exact_seconds
    assert f"vision {float(Fraction(20, 1000) / seconds):.2f}" in text
    assert "- prefill, graph: RuntimeError: operation not permitted when stream is capturing" in text
    operators = model.stage_walk("vision", page=page).operator_count
    total, timed, untimed = report.kernel_sum(report.read_table(synthetic), "transformers", [("vision", 1)])
    assert (timed, untimed) == (operators, 0)
    assert total / 1e3 == pytest.approx(float(seconds) / SHARE + operators * 2e-6)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a card whose every shape takes what an H100's constants say, read from memory; and its stages."""
    folder = tmp_path_factory.mktemp("known")
    device = load_device("H100-SXM")
    rates, roofline = device.rates("bf16"), Roofline(device)
    document = shapes.document(["decoder.num_hidden_layers=2"])
    pool = OperandPool("meta", 12 * 2**30)
    rows = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_table, "time_calls", lambda *_args, **_named: ONE_MILLISECOND)
        for group, records in (
            ("page", [*kernel_shapes.peaks(), *document["kernels"]]),
            ("sweep", list(kernel_shapes.sweep())),
        ):
            for record in records:
                row = kernel_table.timed(record, pool, 2**20, 5) | {"group": group}
                row["graph_ms"] = report.roofline_ms(roofline, row) / SHARE + 2e-3  # where no constants tell more
                for own in () if row["error"] else rows_table([row]).rows:
                    seconds = predicted(device.kernels[own.kernel_class].values, rates, own)
                    row["graph_ms"] = float(seconds[0]) * 1e3
                rows.append(row)
    measure.write_table(rows, folder)
    model = load_cost_model(["decoder.num_hidden_layers=2"])
    times = StageTimes(model, device)
    layout = model.workload.layout(shapes.WIDTH, shapes.HEIGHT)
    issued = times.issued("vision", times.stage("vision", layout))
    stages = {
        "vision": {"graph": {"median_ms": issued.device.value * 1e3}, "eager": {"median_ms": issued.value * 1e3}},
        "text": {"graph": {"median_ms": times.prompt(model.seq_len(layout)).value * 2e3}},
    }
    machine = {
        **{"device": "cuda", "name": "NVIDIA H100 80GB HBM3", "memory_bytes": 85 * 10**9, "versions": {"torch": "2"}},
        **{"multiprocessors": rates.processors, "l2_bytes": rates.l2_bytes},
    }
    content = {
        **{"run": {"date": "2026-01-01", "parts": {}}, "machine": machine, "predicted": document["predicted"]},
        "stages": stages,
    }
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    report.write_report(folder, None)
    return folder


def test_the_constants_of_a_card_come_back_from_its_times(known: Path) -> None:
    found, true = load_device(known / "device.yaml"), load_device("H100-SXM")
    assert (found.multiprocessors, found.l2_bytes) == (true.multiprocessors, true.l2_bytes)
    assert list(found.kernels) == list(true.kernels)
    for name, each in found.kernels.items():
        if name in COLLECTIVES:  # one GPU has none
            assert (each.origin, dict(each.values)) == ("carried", dict(true.kernels[name].values))
            continue
        source = f"make gpu, 2026-01-01: kernels.parquet of reports/calibration/{known.name}"
        assert (each.origin, each.source) == ("fitted", source)
        assert each.fitted_rows >= LEAST_ROWS
        assert each.errors is not None and each.errors.median < 0.005, (name, each)
    rows = report.read_table(known)
    judged = report.judgements(rows, {"it": report.Predicted([], {"width": 9, "height": 9}, true)})
    assert max(each.median for each in judged["it"].classes.values()) < 1e-9


def test_a_class_of_which_little_was_measured_has_the_constants_of_the_data_sheets_device(known: Path) -> None:
    rows = [row for row in report.read_table(known) if row["class"] != "convolution"]
    results = json.loads((known / "results.json").read_text(encoding="utf-8"))
    report.write_device(known, results, rows, load_device("H100-SXM"))
    found, true = load_device(known / "device.yaml").kernels, load_device("H100-SXM").kernels
    assert [name for name, each in found.items() if each.origin == "carried"] == ["convolution", *COLLECTIVES]
    assert dict(found["convolution"].values) == dict(true["convolution"].values)
    assert found["convolution"].source.startswith("the constants of H100-SXM: too few shapes of this class")


def test_the_report_says_which_estimates_hold(known: Path) -> None:
    text = (known / "report.md").read_text(encoding="utf-8")
    vision = next(line for line in text.splitlines() if line.startswith("| vision | "))
    cells = [cell.strip() for cell in vision.split("|")]
    assert cells[3].endswith("holds)") and cells[8].endswith("holds)")
    prefill = next(line for line in text.splitlines() if line.startswith("| decoder's prefill | "))
    assert prefill.split("|")[3].strip().endswith("misses)")  # it took twice as long
    said = (
        "- Estimated by the constants of H100-SXM, over the device's own time: 0.50 to 1.00; 1 of 2 stages are within"
    )
    assert said in text
    assert "- Estimated by the constants of H100-SXM, over the eager pass: 1.00 to 1.00; 1 of 1 stages are" in text


def test_a_folder_without_measurements_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"run": {"date": "2026-01-01", "parts": {}}, "machine": {}, "predicted": {}}
    (tmp_path / "results.json").write_text(json.dumps(content), encoding="utf-8")
    assert report.main([str(tmp_path)]) == 1
    assert "holds no measurement of a machine; run benchmarks.gpu.measure first" in capsys.readouterr().err
