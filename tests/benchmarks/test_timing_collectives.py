"""The fit of collectives on made-up tables, which take what the devices' files say, and what it has written here."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.timing import collectives, constants
from modelmeter import kernel_classes as classes
from modelmeter.devices import Device, bundled_devices, load_device
from modelmeter.devices.collectives import HOST, PEER, all_reduce_seconds
from modelmeter.devices.kernel_time import SECONDS

REPORT = Path("reports/timing/collectives.md")
SIZES = [2**power for power in range(8, 31)]


def write_tables(folder: Path, device: Device) -> None:
    """vLLM's rows and NCCL's of a device: elements of two bytes, milliseconds, every key twice around its time."""
    system, vllm, nccl = collectives.FITTED_ON[device.name]
    values = {name: device.kernels[name].values for name in classes.COLLECTIVES}
    own: dict[str, list[Any]] = {"kernel_source": [], "num_gpus": [], "message_size": [], "latency": []}
    others: dict[str, list[Any]] = {"op_name": [], "nccl_dtype": [], "num_gpus": [], "message_size": [], "latency": []}
    assert device.link is not None
    for ranks in (2, 4, 8):
        for size in SIZES:
            message = {"message_bytes": size, "ranks": ranks}
            by_nccl = all_reduce_seconds(values[classes.ALL_REDUCE], device.link, **message, own=0)
            by_vllm = all_reduce_seconds(values[classes.ALL_REDUCE], device.link, **message)
            gather = SECONDS[classes.ALL_GATHER](values[classes.ALL_GATHER], device.rates("bf16"), **message)
            for table, row in (
                (own, ("vLLM_custom_graph", by_vllm)),
                (own, ("vLLM_custom_eager", 1.0)),
                (others, ("all_reduce", "half", by_nccl)),
                (others, ("all_reduce", "int8", 1.0)),
                (others, ("all_gather", "half", gather)),
                (others, ("alltoall", "half", 1.0)),
            ):
                for factor in (0.9, 1.1):
                    cells = (*row[:-1], ranks, size // 2, 1e3 * factor * float(row[-1]))
                    for column, cell in zip(table.values(), cells, strict=True):
                        column.append(cell)
    for name, version, file, table in (
        ("vllm", vllm, "custom_allreduce_perf", own),
        ("nccl", nccl, "nccl_perf", others),
    ):
        path = folder / "comm" / system / "comm" / name / version / f"{file}.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table(table), path)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    for name in collectives.FITTED_ON:
        write_tables(folder, load_device(name))
    return folder


def test_rows_are_bytes_and_of_the_kernel_that_runs(tables: Path) -> None:
    rows = collectives.rows_of(tables, load_device("L40S"))
    reduced, gathered = (rows[name].sizes for name in classes.COLLECTIVES)
    assert sorted(set(gathered["message_bytes"])) == SIZES
    assert len(gathered["ranks"]) == 3 * len(SIZES)  # twice in the table, once here
    assert len(reduced["ranks"]) == 2 * 3 * len(SIZES)
    # of vLLM's rows two devices run its own kernel, below 8 MiB
    assert reduced["own"].sum() == sum(size < 2**23 for size in SIZES)
    assert set(reduced["ranks"][reduced["own"] == 1]) == {2}
    held = rows[classes.ALL_GATHER]
    assert sorted(set(held.sizes["message_bytes"][held.held_out])) == [2**power for power in (10, 15, 20, 25, 30)]


def test_constants_are_found_again_and_carried(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "devices"
    shutil.copytree(constants.DEVICES, folder)
    monkeypatch.setattr(constants, "DEVICES", folder)
    monkeypatch.setattr(collectives, "REPORT", tmp_path / "report.md")
    assert collectives.main([str(tables)]) == 0
    new = {device.name: load_device(folder / device.file) for device in bundled_devices()}
    for name in collectives.FITTED_ON:
        old = load_device(name)
        for key in classes.COLLECTIVES:
            found = new[name].kernels[key]
            assert found.origin == "fitted" and found.errors is not None and found.errors.median < 0.02
            for constant in ("overhead_s", "hop_s", "bandwidth"):
                assert found.values[constant] == pytest.approx(old.kernels[key].values[constant], rel=0.05)
        assert {key: each for key, each in new[name].kernels.items() if key not in classes.COLLECTIVES} == {
            key: each for key, each in old.kernels.items() if key not in classes.COLLECTIVES
        }
    for name, kin in (("A100-80G", "H100-SXM"), ("RTX-PRO-6000", "L40S"), ("RTX-4090", "L40S")):
        assert new[name].kernels[classes.ALL_REDUCE].values == new[kin].kernels[classes.ALL_REDUCE].values
        assert new[name].kernels[classes.ALL_REDUCE].source.startswith(f"{kin}; ")
    assert classes.ALL_REDUCE not in new["M4-Max"].kernels
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| all_gather | H100-SXM | 4 | 5 | 0 / 0 | 23 | 0 / 0 | " in page


def test_the_report_has_the_constants_of_the_files() -> None:
    devices = {name: load_device(name) for name in collectives.FITTED_ON}
    text = REPORT.read_text(encoding="utf-8")
    assert "\n".join(collectives._constants_table(devices)) in text
    for each in collectives.PUBLISHED:
        assert f"| {each.device} | {each.kernel_class} | {each.ranks} | {each.message_bytes:,} | " in text


def test_figures_that_tell_of_hosts_are_of_devices_over_pcie() -> None:
    for each in collectives.PUBLISHED:
        link = load_device(each.device).linked()
        assert each.tells or (link.kind in (PEER, HOST) and each.ranks > 2)


def test_a_wrong_call_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert collectives.main([]) == 2
    assert "TABLES" in capsys.readouterr().out
