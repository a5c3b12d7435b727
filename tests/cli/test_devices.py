"""`modelmeter devices`: the list, one device with its sources, a device of one's own, JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from modelmeter.devices import bundled_devices, load_device
from tests.devices.synthetic import write_device

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def printed(capsys: Capture, *arguments: str) -> str:
    status = main(["devices", *arguments])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def test_the_list_has_every_device(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "130")
    out = printed(capsys)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert {device.name for device in bundled_devices()} <= set(rows)
    # memory in MiB and GB, TB/s, then bf16, fp16, tf32, fp32, fp8, int8, fp4 and vector; no figure is a line
    assert rows["A100-40G"] == ["40,960", "42.95", "1.555", "312", "312", "156", "19.5", "-", "624", "-", "19.5"]
    assert rows["T4"] == ["15,360", "16.11", "0.3", "-", "65", "-", "8.1", "-", "130", "-", "8.1"]
    assert "MiB are 2^20 bytes, GB 10^9; " in out


def test_one_device_with_its_sources(capsys: Capture) -> None:
    lines = " ".join(printed(capsys, "l40s", "T4").split())
    memory = "memory 48,305,799,168 bytes: 46,068 MiB, 48.306 GB (44.99 GiB)"
    link = "link PCIe 4.0 x16, 32,000,000,000 bytes/s one way, through the host, from memory to memory"
    assert f"L40S NVIDIA L40S kind gpu {memory} bandwidth 864,000,000,000 bytes/s {link} matmul bf16" in lines
    assert "efficiency matmul 1 (assumed)" in lines
    assert "kernel launch not known, counted as 0 price an hour not given source " in lines
    for device in (load_device("L40S"), load_device("T4")):
        for source in device.sources:
            assert f"source {', '.join(source.figures)}: {source.document}, {source.where}" in lines


def test_a_device_of_ones_own(capsys: Capture, tmp_path: Path) -> None:
    write_device(
        tmp_path,
        price_per_hour=2.5,
        kernel_launch={"seconds": 4e-6, "origin": "measured"},
        efficiency={"matmul": {"factor": 0.5, "origin": "measured"}},
    )
    lines = " ".join(printed(capsys, "slow.yaml").split())
    for words in ("Slow A slow device", "efficiency matmul 0.5 (measured)", "4e-06 s (measured)", "price an hour 2.5"):
        assert words in lines
    (device,) = json.loads(printed(capsys, "slow.yaml", "--json"))["devices"]
    assert device["efficiency"]["matmul"] == {"factor": 0.5, "origin": "measured"}
    assert (device["kernel_launch"], device["price_per_hour"]) == ({"seconds": 4e-6, "origin": "measured"}, 2.5)


def test_json_has_every_figure_and_source(capsys: Capture) -> None:
    document: dict[str, Any] = json.loads(printed(capsys, "--json"))
    assert (document["schema_version"], document["command"]) == (1, "devices")
    shown = {device["name"]: device for device in document["devices"]}
    assert sorted(shown) == sorted(device.name for device in bundled_devices())
    assert shown["H100-SXM"]["memory_bytes"] == 81559 * 2**20
    assert (shown["H100-SXM"]["kind"], shown["CPU-Xeon-8480"]["kind"]) == ("gpu", "cpu")
    assert shown["H100-SXM"]["matmul_flops_per_s"]["bf16"] == 989.5e12
    assert shown["H100-SXM"]["kernel_launch"] == {"seconds": None, "origin": "assumed"}
    assert shown["M4-Max"]["link"] is None
    fabric = {"name": "Infinity Fabric 4", "kind": "direct", "bandwidth_bytes_per_s": 64e9, "peers": 7}
    assert shown["MI300X"]["link"] == fabric
    assert all(source["document"] and source["figures"] for each in shown.values() for source in each["sources"])


def test_what_is_no_device_is_refused(capsys: Capture, tmp_path: Path) -> None:
    write_device(tmp_path, memory_bytes=-1)
    for name, words in (
        ("A1000", 'device A1000 is unknown; did you mean "A100'),
        ("none.yaml", "device file none.yaml does not exist"),
        ("slow.yaml", "memory_bytes=-1 is too small; give 1 or more"),
    ):
        assert main(["devices", "T4", name]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert words in captured.err
