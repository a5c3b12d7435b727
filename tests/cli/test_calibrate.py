"""`modelmeter calibrate` and `validate`: that they run, what they write, and in which units. No time is asserted."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmeter import progress
from modelmeter.calibration.fit import TimedCopy, TimedProduct
from modelmeter.cli import calibrate
from modelmeter.cli.main import main
from modelmeter.devices import Roofline, load_device
from modelmeter.kernel_classes import CLASSES, COLLECTIVES
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.reference import kernel_calls, kernel_table, kernel_timing, timing
from modelmeter.reference.page_kernels import page_shapes
from tests.calibration.synthetic import BANDWIDTH, COPIES, LAUNCH_S, RATES, SMALL, seconds, shrink_vision

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def synthetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is run once, and then said to have taken what a synthetic device takes."""
    time_products = calibrate._time_products

    def products(*arguments: Any) -> list[TimedProduct]:
        timed = time_products(*arguments)
        # sizes as they are but for the probes, which stand for what is bound by compute
        return [
            replace(each, seconds=seconds(each.peak, each.flops, each.nbytes))
            if each.count
            else replace(each, flops=10**11, nbytes=1, count=1, seconds=seconds(each.peak, 10**11, 1))
            for each in timed
        ]

    def once(call: Any, device: str, **_: Any) -> timing.CallTimes:
        call()
        return timing.CallTimes(seconds=(0.002, 0.004, 0.003), calls=1)

    def copies(*_: Any) -> list[TimedCopy]:
        return COPIES

    monkeypatch.setattr(timing, "time_call", once)
    monkeypatch.setattr(calibrate, "_time_products", products)
    monkeypatch.setattr(calibrate, "_time_copies", copies)
    monkeypatch.setattr(calibrate, "PROBE_SIDE", {"cpu": 16})
    monkeypatch.setenv("COLUMNS", "200")


def test_it_writes_the_device_that_was_measured(synthetic: None, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "here.yaml"
    arguments = ["--device", "cpu", "600x800", *SMALL, "--output-tokens", "1", "--repeats", "1"]
    assert main(["calibrate", *arguments, "-o", str(path), "--name", "Here"]) == 0
    out = capsys.readouterr().out
    assert "matmul bf16: 428.6 GFLOP/s" in out  # 3e12 / 7
    assert "overhead: 5.263 us an operator" in out  # 1 / 190,001 s
    device = load_device(path)
    # a device file has six digits
    assert float(device.matmul_rate("bf16")) == pytest.approx(float(RATES["bf16"]), rel=1e-5)
    assert float(device.bandwidth) == pytest.approx(float(BANDWIDTH), rel=1e-5)
    assert float(device.kernel_launch_s or 0) == pytest.approx(float(LAUNCH_S), rel=1e-5)
    text = path.read_text()
    for words in ("torch ", "python ", "13 positions, 1 decode steps; workload=tiny", "median size 0.0%"):
        assert words in text
    assert main(["calibrate", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["fit"] == {"median_error": 0.0, "total_error": 0.0, "compute_bound": True}
    model = load_cost_model(SMALL)
    flops = sum(each["flops"] * each["count"] for each in document["gemms"] if each["flops"] != 10**11)
    assert flops == model.page(600, 800, 1).total.tensor_core_flops


def test_nothing_is_measured_for_an_output_that_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(calibrate, "_time_products", None)
    peaks = tmp_path / "peaks.yaml"
    peaks.write_text("name: mine\n")
    arguments = ["calibrate", "5x5", "--device", "cpu", "--peaks", str(peaks), "-o"]
    for output, words in ((peaks, "is one of the inputs"), (tmp_path, "is a directory")):
        assert main([*arguments, str(output)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and words in err
    assert peaks.read_text() == "name: mine\n"


def test_copies_are_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "COPIES", (64, 4096))
    copies = calibrate._time_copies("cpu", 1)
    assert [copy.nbytes for copy in copies] == [128, 8192]
    assert all(copy.seconds > 0 for copy in copies)


def test_predicted_beside_measured(
    synthetic: None, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_vision(monkeypatch)
    arguments = ["validate", "--device", "cpu", "600x800", *SMALL, "--against", "A100-40G", "--mode", "eager"]
    assert main([*arguments, "--mode", "graph", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["stage"]: row for row in document["stages"]}
    assert list(rows) == ["vision", "prefill", "decode"]
    model = load_cost_model(SMALL)
    page, roofline = model.page(600, 800), Roofline(load_device("A100-40G"))
    decode = roofline.stage(model.stage_walk("decode", context=13))
    for stage, time in (
        ("vision", roofline.stage(model.stage_walk("vision", page=page))),
        ("prefill", roofline.stage(model.stage_walk("prefill", page=page))),
        ("decode", decode),
    ):
        row = rows[stage]
        assert row["predicted_s"] == time.seconds
        assert row["measured_s"] == 0.003
        assert row["measured_over_predicted"] == 0.003 / time.seconds
        assert row["spread"] == pytest.approx(2 / 3)
    assert len(document["refused"]) == 3 and "CUDA graphs need" in document["refused"][0]
    assert document["page"]["prefill_tokens"] == 13


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["calibrate"], "calibrate: give --device, to measure here, or --from, to fit tables"),
        (["calibrate", "--device", "cpu", "600x800", "100x100"], "calibrate: 2 pages are given"),
        (["calibrate", "--device", "cpu", "--peaks", "A1000"], "device A1000 is unknown"),
        (["validate", "--device", "cpu"], "Missing option '--against'"),
        (["validate", "--device", "cpu", "--against", "none.yaml"], "none.yaml does not exist"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], words: str, capsys: Capture) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err


def test_a_gpu_gets_the_constants_of_its_kernels(
    synthetic: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    """A card on which every kernel takes a millisecond, whatever it moves or computes."""
    machine = timing.machine
    monkeypatch.setattr(
        timing, "machine", lambda device: replace(machine(device), multiprocessors=50, l2_bytes=10_000_000)
    )
    took = kernel_timing.KernelTimes(
        **{"eager_ms": 1.0, "eager_spread": 0.0, "host_ms": 1.0, "graph_ms": 1.0, "graph_spread": 0.0},
        **{"graph_error": "", "repeats": 1, "calls": 1},
    )
    monkeypatch.setattr(kernel_table, "time_calls", lambda *_args, **_named: took)
    monkeypatch.setattr(kernel_table, "new_pool", lambda _: (kernel_calls.OperandPool("meta", 12 * 2**30), 10_000_000))
    monkeypatch.setattr(progress, "LINE_S", 0.001)
    path = tmp_path / "card.yaml"
    arguments = ["--device", "cpu", "600x800", *SMALL, "--repeats", "1", "-o", str(path), "--name", "Card"]
    assert main(["calibrate", *arguments]) == 0
    told = capsys.readouterr().err
    assert re.search(r"^calibrate: [0-9,]+ of [0-9,]+ products done, 0 min$", told, flags=re.MULTILINE)
    assert re.search(r"^calibrate: [0-9,]+ of [0-9,]+ kernels done, 0 min$", told, flags=re.MULTILINE)
    device = load_device(path)
    assert (device.multiprocessors, device.l2_bytes) == (50, 10_000_000)
    assert tuple(device.kernels) == tuple(name for name in CLASSES if name not in COLLECTIVES)  # one card has no link
    for name, each in device.kernels.items():
        assert each.origin == "fitted" and each.source.startswith("modelmeter calibrate on cpu, "), name
    # nothing but the overhead tells a millisecond of every copy
    assert device.kernels["copy"].values["overhead_s"] == pytest.approx(1e-3, rel=0.05)
    assert "Kernels: " in path.read_text(encoding="utf-8")


def test_the_pages_shapes_are_those_of_its_walks() -> None:
    model = load_cost_model(SMALL)
    page = model.page(600, 800)
    shapes = page_shapes(model, page, (1, 16))
    steps = [model.batched(batch).stage_walk("decode", context=page.seq_len) for batch in (1, 16)]
    walks = [model.stage_walk("prefill", page=page), *steps]
    ran = {(each.aten, each.inputs, each.outputs[0]) for walk in walks for each in walk.records()}
    assert {(each["name"], each["inputs"], each["outputs"][0]) for each in shapes} == ran
    hits = {each["experts_hit"] for each in shapes if each["name"] == "aten._grouped_mm.default"}
    assert hits == {2, 4}  # of 4 experts one page chooses 2, and sixteen choose them all
