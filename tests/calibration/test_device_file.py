"""A calibrated device's file is one that `load_device` reads, with what was measured."""

from fractions import Fraction
from pathlib import Path

import pytest

from modelmeter.calibration.device_file import device_content, device_text, peaks_of
from modelmeter.calibration.fit import Fit, fit_device
from modelmeter.devices import Device, load_device
from tests.calibration.synthetic import BANDWIDTH, COPIES, LAUNCH_S, PRODUCTS, RATES


def written(folder: Path, fit: Fit, known: Device | None = None) -> tuple[Device, str]:
    content = device_content(
        fit, name="Here", kind="cpu", memory_bytes=123_456_789, where="today; torch 0", known=known
    )
    text = device_text(content, fit, ["a note"])
    path = folder / "here.yaml"
    path.write_text(text, encoding="utf-8")
    return load_device(path), text


def near(value: Fraction) -> object:
    return pytest.approx(float(value), rel=1e-5)  # a device file has six digits


def test_the_file_holds_what_was_fitted(tmp_path: Path) -> None:
    device, text = written(tmp_path, fit_device(PRODUCTS, COPIES))
    for peak, rate in RATES.items():
        assert float(device.matmul_rate(peak)) == near(rate)
    assert float(device.bandwidth) == near(BANDWIDTH)
    assert float(device.vector_rate) == near(RATES["fp32"])
    assert device.kernel_launch_s is not None
    assert float(device.kernel_launch_s) == near(LAUNCH_S)
    assert (device.name, device.kind, device.memory_bytes) == ("Here", "cpu", 123_456_789)
    assert device.assumptions() == ()
    assert device.sources[0].where == "today; torch 0"
    assert text.startswith("# a note\n# 5 GEMMs; measured less fitted")
    assert "median size 0.0%, all of a page's together +0.0%" in text
    assert "  probe compute" in text


def test_known_peaks_stay_with_their_sources(tmp_path: Path) -> None:
    known = load_device("A100-40G")
    device, _ = written(tmp_path, fit_device(PRODUCTS, COPIES, peaks_of(known)), known)
    assert device.matmul_flops_per_s == known.matmul_flops_per_s
    assert device.memory_bandwidth_bytes_per_s == known.memory_bandwidth_bytes_per_s
    assert float(device.matmul_rate("bf16")) == near(RATES["bf16"])
    assert float(device.efficiency["bandwidth"].factor) == near(BANDWIDTH / known.memory_bandwidth_bytes_per_s)
    assert device.link == known.link is not None
    peaks = {"matmul_flops_per_s", "vector_flops_per_s", "memory_bandwidth_bytes_per_s", "link"}
    kept = {each.document for each in known.sources if {name.partition(".")[0] for name in each.figures} & peaks}
    assert kept and kept < {source.document for source in device.sources}
    assert known.multiprocessors and device.multiprocessors is None
    assert [source.figures for source in device.sources if "memory_bytes" in source.figures] == [("memory_bytes",)]
