"""Device files: the bundled ones hold what a device needs; wrong ones are refused by their field."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import modelmeter.devices
from modelmeter.devices import Device, bundled_devices, device_names, load_device
from modelmeter.errors import ModelMeterError
from tests.devices.synthetic import SOURCE, slow_device, write_device

NAMES = [
    *("A10", "A100-40G", "A100-80G", "A10G", "B200", "CPU-Xeon-8480", "H100-PCIe", "H100-SXM", "H20", "H200"),
    *("L4", "L40S", "M2-Max", "M3-Max", "M4-Max", "MI300X", "RTX-3060-12GB", "RTX-3070", "RTX-3090"),
    *("RTX-4060-Ti-16GB", "RTX-4070-Ti-Super", "RTX-4090", "RTX-5060-Ti-16GB", "RTX-5070-Ti", "RTX-5080", "RTX-5090"),
    *("RTX-6000-Ada", "RTX-A6000", "RTX-PRO-6000", "RTX-PRO-6000-Server", "RX-7900-XTX", "T4"),
    *("V100-16GB", "V100-32GB"),
]
#: MiB that nvidia-smi prints for cards, where public outputs are many
REPORTED_MIB = {
    "RTX-4090": 24564, "RTX-3090": 24576, "RTX-5090": 32607, "RTX-3070": 8192, "RTX-3060-12GB": 12288,
    "H100-SXM": 81559, "H200": 143771, "A100-40G": 40960, "A100-80G": 81920, "L4": 23034, "L40S": 46068,
    "A10": 23028, "A10G": 23028, "T4": 15360, "B200": 183359, "H20": 97871, "RTX-A6000": 49140, "RTX-PRO-6000": 97887,
    "RTX-PRO-6000-Server": 97887,
}  # fmt: skip


def test_the_bundled_devices() -> None:
    assert device_names() == NAMES


@pytest.mark.parametrize("device", bundled_devices(), ids=lambda device: device.name)
def test_a_bundled_device_is_whole(device: Device) -> None:
    assert load_device(device.name.lower()) == device
    assert device.file == f"{device.name.lower().replace('-', '_')}.yaml"
    assert "fp32" in device.matmul_flops_per_s
    # every figure has an address, but for memory that many public logs show
    addressed = {figure for source in device.sources if source.url.startswith("https://") for figure in source.figures}
    assert {"matmul_flops_per_s", "vector_flops_per_s", "memory_bandwidth_bytes_per_s"} <= addressed
    assert device.kind == ("cpu" if device.name.startswith("CPU") else "gpu")
    # memory stands as the device reports it: whole MiB, with the number beside it for the reader
    text = Path(modelmeter.devices.__file__).with_name(device.file).read_text(encoding="utf-8")
    assert re.findall(r"^memory_bytes: (\d+)  # (\d+) MiB$", text, re.MULTILINE) == [
        (str(device.memory_bytes), str(device.memory_bytes // 2**20))
    ]
    assert device.memory_bytes % 2**20 == 0
    # nothing here is measured, and no price is ours to set
    assert {(efficiency.factor, efficiency.origin) for efficiency in device.efficiency.values()} == {(1, "assumed")}
    assert (device.kernel_launch_s, device.price_per_hour) == (None, None)
    # a slip of a prefix shows: floating-point peaks are ordered by width, and lie within what chips of the day reach
    peaks = device.matmul_flops_per_s
    assert peaks.get("bf16", peaks.get("fp16")) == peaks.get("fp16", peaks.get("bf16"))
    widths = [peaks[peak] for peak in ("fp32", "tf32", "fp16", "fp8") if peak in peaks]
    assert widths == sorted(widths)
    assert 10**12 <= device.vector_flops_per_s <= peaks["fp32"] <= 10**15
    assert 10**11 <= device.memory_bandwidth_bytes_per_s <= 10**13
    assert 8 * 10**9 <= device.memory_bytes <= 10**12


def test_memory_is_what_the_card_reports() -> None:
    reported = {name: load_device(name).memory_bytes for name in REPORTED_MIB}
    assert reported == {name: mib * 2**20 for name, mib in REPORTED_MIB.items()}
    assert reported["RTX-4090"] == 25_757_220_864  # 25.76e9, where the vendor's 24 GB were read as 24.0e9
    assert reported["H100-SXM"] == 85_520_809_984


def test_cards_without_bfloat16_say_so() -> None:
    without = {device.name for device in bundled_devices() if "bf16" not in device.matmul_flops_per_s}
    assert without == {"T4", "V100-16GB", "V100-32GB", "M2-Max", "M3-Max", "M4-Max"}


def test_geforce_cards_accumulate_in_float32_at_half_the_rate() -> None:
    """Of one architecture all have the same ratio of tensor to vector peak, whatever their number of cores."""
    more = {"fp8": 4.0}
    for names, of_few_bits in (
        (("RTX-3060-12GB", "RTX-3070", "RTX-3090"), {}),
        (("RTX-4060-Ti-16GB", "RTX-4070-Ti-Super", "RTX-4090"), more),
        (("RTX-5060-Ti-16GB", "RTX-5070-Ti", "RTX-5080", "RTX-5090"), more | {"fp4": 16.0}),
    ):
        for name in names:
            peaks = load_device(name).matmul_flops_per_s
            ratios = {peak: round(float(rate / peaks["fp32"]), 1) for peak, rate in peaks.items() if peak != "fp32"}
            assert ratios == {"bf16": 2.0, "fp16": 2.0, "tf32": 1.0, "int8": 8.0} | of_few_bits, name


def test_dense_peaks_of_cards_that_are_often_misquoted() -> None:
    bf16 = {name: load_device(name).matmul_flops_per_s["bf16"] for name in ("H100-SXM", "L4", "RTX-4090", "RTX-5090")}
    # half of the 1979 and 242 that the product pages give with sparsity; GeForce: with fp32 accumulation
    tera = 10**12
    expected = {
        "H100-SXM": Fraction(1979, 2) * tera,
        "L4": Fraction(242, 2) * tera,
        "RTX-4090": Fraction("165.2") * tera,
        "RTX-5090": Fraction("209.5") * tera,
    }
    assert bf16 == expected


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    device = slow_device(
        tmp_path,
        efficiency={"matmul": {"factor": 0.87, "origin": "measured"}},
        kernel_launch={"seconds": 5.0e-6, "origin": "measured"},
        price_per_hour=1.2,
    )
    assert device.matmul_rate("bf16") == Fraction(870)  # 0.87 as it is written, not the float beside it
    assert (device.vector_rate, device.bandwidth) == (50, 20)
    assert device.kernel_launch_s == Fraction(5, 10**6)
    assert device.price_per_hour == Fraction(12, 10)
    assert device.assumptions() == ("share of the published peaks that is reached: vector 1, bandwidth 1",)
    assert "kernel launch overhead: not known for this device, counted as 0" in slow_device(tmp_path).assumptions()


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"memory_bytes": None}, "slow.yaml: memory_bytes is missing; add it with its source (no figure is guessed)"),
        ({"memory_bandwidth_bytes_per_s": -3.0}, "memory_bandwidth_bytes_per_s=-3.0 is too small; give 1 or more"),
        ({"vector_flops_per_s": 0}, "vector_flops_per_s=0 is too small; give 1 or more"),
        ({"vector_flops_per_s": "fast"}, "vector_flops_per_s='fast' is no number"),
        ({"vector_flops_per_s": True}, "vector_flops_per_s=True is no number"),
        ({"vector_flops_per_s": float("inf")}, "vector_flops_per_s=inf is no number"),
        ({"memory_bytes": 10.5}, "memory_bytes=10.5 is no whole number"),
        ({"matmul_flops_per_s": {}}, "matmul_flops_per_s is empty"),
        (
            {"matmul_flops_per_s": {"bf61": 1}},
            'matmul_flops_per_s.bf61 is no key of a device file; did you mean "bf16"',
        ),
        ({"matmul_flops_per_s": {"bf16": None}}, "matmul_flops_per_s.bf16 is missing"),
        ({"memory_byte": 3}, 'memory_byte is no key of a device file; did you mean "memory_bytes"'),
        ({"efficiency": {"bandwith": 1}}, 'efficiency.bandwith is no key of a device file; did you mean "bandwidth"'),
        (
            {"efficiency": {"matmul": {"factor": 85, "origin": "measured"}}},
            "efficiency.matmul.factor=85 is too large; give 1 or less (it is the share of the peak",
        ),
        ({"efficiency": {"matmul": {"factor": 0.5}}}, "efficiency.matmul.origin is missing"),
        (
            {"efficiency": {"matmul": {"factor": 0.5, "origin": "felt"}}},
            "efficiency.matmul.origin=felt is unknown; the options are assumed, measured.",
        ),
        ({"kernel_launch": {"seconds": 1.0e-6}}, "kernel_launch.origin is missing"),
        ({"price_per_hour": -1}, "price_per_hour=-1 is too small; give 0 or more"),
        ({"sources": None}, "sources is missing"),
        ({"sources": [SOURCE | {"figures": ["memory_bytes"]}]}, "matmul_flops_per_s.bf16 has no source"),
        ({"sources": [SOURCE | {"figures": [*SOURCE["figures"], "memory"]}]}, "figures: memory is no key"),
        ({"sources": [{"figures": SOURCE["figures"], "document": "d"}]}, "sources[0].where is missing"),
        ({"name": 3}, "name=3 is no text"),
        ({"name": "../up"}, "name='../up' has /; leave that out"),
        ({"name": "x" * 65}, "has 65 characters; give 64 or less"),
        ({"title": "a\x1b[31mb"}, r"title='a\x1b[31mb' has characters that do not print"),
        ({"title": "two\nlines"}, r"title='two\nlines' has characters that do not print"),
        ({"memory_bytes": 10**25}, "memory_bytes=10000000000000000000000000 is too large; give 1e+24 or less"),
        ({"memory_bytes": 10**400}, "memory_bytes=a whole number of some 401 digits is too large"),
        ({"memory_bytes": True}, "memory_bytes=True is no number"),
        ({"vector_flops_per_s": 1e300}, "vector_flops_per_s=1e+300 is too large"),
        ({"vector_flops_per_s": float("nan")}, "vector_flops_per_s=nan is no number"),
        ({"vector_flops_per_s": [1.0]}, "vector_flops_per_s=[1.0] is no number"),
        ({"matmul_flops_per_s": [1.0]}, "matmul_flops_per_s holds [1.0]; a device file is a mapping"),
        ({"matmul_flops_per_s": {"bf16": "${oc.env:HOME}"}}, "matmul_flops_per_s.bf16='${oc.env:HOME}' is no number"),
        (
            {"efficiency": {"matmul": {"factor": 1e-9, "origin": "measured"}}},
            "factor=1e-09 is too small; give 1e-06 or",
        ),
        ({"kernel_launch": {"seconds": 1e9, "origin": "measured"}}, "kernel_launch.seconds=1000000000.0 is too large"),
        ({"price_per_hour": "1"}, "price_per_hour='1' is no number"),
        ({"sources": "a page"}, "sources='a page' is no list"),
        ({"sources": [SOURCE | {"url": "javascript:alert(1)"}]}, "sources[0].url='javascript:alert(1)' begins with no"),
        (
            {"sources": [dict(SOURCE, figures=list(SOURCE["figures"])) for _ in range(101)]},
            "sources has 101 entries; give 1 to 100",
        ),
        ({"kind": "gpus"}, 'slow.yaml: kind=gpus is unknown; did you mean "gpu"'),
        ({"kind": 3}, "kind=3 is no text"),
        ({"memory_mib": 24564}, "memory_mib is no key of a device file; did you mean"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(text)):
        load_device(write_device(tmp_path, **changes))


@pytest.mark.parametrize(
    "content, text",
    [
        ("name: [", "is no YAML file that can be read"),
        ("- a\n", "holds .* a device file is a mapping"),
        ("a: 1\na: 2\n", "duplicate"),
        ("#" * (2**17 + 1), "has 131,073 bytes; at most 131,072 are read"),
    ],
)
def test_files_that_are_no_device_are_refused(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "device.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ModelMeterError, match=text):
        load_device(path)


def test_nothing_in_a_file_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the environment")
    assert slow_device(tmp_path, title="${oc.env:SECRET}").title == "${oc.env:SECRET}"


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    device = slow_device(tmp_path)
    path = tmp_path / "slow.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_device(path) == device


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "..", ""])
def test_names_of_no_device_are_refused(name: str) -> None:
    with pytest.raises(ModelMeterError, match=r"device .* is unknown"):
        load_device(name)


def test_unknown_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r'device A100 is unknown; did you mean .*"A100-40G".*path of its YAML'):
        load_device("A100")
    with pytest.raises(ModelMeterError, match=r"nowhere\.yaml does not exist"):
        load_device(tmp_path / "nowhere.yaml")
    with pytest.raises(ModelMeterError, match=r"T4 lists no matmul peak for bf16 \(it has fp16, fp32, int8\)"):
        load_device("T4").matmul_rate("bf16")


def test_devices_know_no_model() -> None:
    code = (
        "import sys, modelmeter.devices; modelmeter.devices.bundled_devices();"
        "print([name for name in sys.modules if name.startswith('modelmeter.models') or name in ('torch', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_index_names_what_exists() -> None:
    names = modelmeter.devices.__all__
    assert all(hasattr(modelmeter.devices, name) for name in names)
    assert sorted(set(names)) == sorted(names)
