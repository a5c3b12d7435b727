"""Tables of kernels: which rows are taken, that the fit finds a synthetic device, what `judge` says and refuses."""

import json
import zlib
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
import yaml

from modelmeter.calibration.kernel_carry import carried
from modelmeter.calibration.kernel_fit import fit_class, fit_rows, predicted
from modelmeter.calibration.kernel_rows import NOWHERE, KernelTable, gemm_rows, pooled
from modelmeter.calibration.kernel_tables import read_tables
from modelmeter.cli.main import main
from modelmeter.devices import bundled_devices, load_device
from modelmeter.devices.kernel_time import DeviceRates
from tests.calibration.made_up import COLUMNS, SIDES, Columns, grid, write, write_tables
from tests.devices.synthetic import SOURCE, write_device

Capture = pytest.CaptureFixture[str]

RATES = DeviceRates(peak=1e14, bandwidth=1e12, vector=1e13, processors=50, l2_bytes=10**7)
TRUE: dict[str, dict[str, float]] = {
    "gemm": {
        **{"overhead_s": 5e-6, "matmul": 0.7, "bandwidth": 0.8, "overlap": 0.25, "tile": 64, "tile_half": 9.0},
        **{"least_rows": 64, "waves": 0.3, "split_s": 2e-6, "l2_share": 0.6, "l2_speed": 2.5},
    },
    "moe": {
        **{"overhead_s": 3e-5, "matmul": 0.5, "bandwidth": 0.9, "overlap": 0.4, "activations": 1.5},
        **{"misaligned": 2.5, "few": 8, "tile_least": 32, "tile": 128},
    },
    "encoder_attention": {
        **{"overhead_s": 6e-6, "matmul": 0.6, "exponentials": 0.2, "bandwidth": 0.7, "overlap": 0.5, "chain": 0.2},
        **{"waves": 0.6, "tile_rows": 128, "tile_rows_wide": 128, "tile_keys": 64},
    },
    "generation_attention": {
        **{"overhead_s": 9e-6, "bandwidth": 0.8, "overlap": 0.3, "l2_share": 0.5, "l2_speed": 2.0},
        **{"tile_s": 4e-6, "key_s": 1.5e-8, "grouped_key_s": 8e-10, "split_s": 3e-6},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of a device that takes exactly what its constants say."""
    path = tmp_path_factory.mktemp("tables")
    write_tables(path, TRUE, RATES, list(TRUE))
    return path


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """The synthetic device's file, without constants."""
    figures = [*SOURCE["figures"], "multiprocessors", "l2_bytes"]
    return write_device(
        tmp_path,
        matmul_flops_per_s={"bf16": RATES.peak, "fp32": RATES.vector},
        vector_flops_per_s=RATES.vector,
        memory_bandwidth_bytes_per_s=RATES.bandwidth,
        multiprocessors=RATES.processors,
        l2_bytes=RATES.l2_bytes,
        sources=[SOURCE | {"figures": figures}],
    )


# -- the fit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRUE)
def test_the_fit_recovers_a_synthetic_device(name: str, folder: Path) -> None:
    rows = pooled(read_tables(folder))[name]
    assert 0 < rows.held_out.sum() < len(rows.held_out)
    found = fit_class(rows, RATES)
    # what remains is the pull towards usual constants, which is that of some rows in a thousand, and four digits; of
    # products the few that the cache holds show share and speed of it together, not each
    errors = abs(predicted(found, RATES, rows) / rows.seconds - 1)
    assert np.median(errors) < 1e-3 and errors.max() < 2e-2, found
    for key, true in TRUE[name].items():
        if isinstance(true, int):
            assert found[key] == true, key
        elif key not in ("l2_share", "l2_speed") or name != "gemm":
            assert found[key] == pytest.approx(true, rel=0.04), key


@pytest.mark.parametrize("least_rows", [16, 64])
def test_the_fit_finds_whether_tiles_have_few_rows(least_rows: int) -> None:
    m, n, k = (
        np.array(each, float).reshape(-1) for each in np.meshgrid([1, 8, 24, 64, 200, 2000], SIDES, [2048, 8192])
    )
    rows = gemm_rows(m, n, k, np.full(len(m), NOWHERE), np.ones(len(m)))
    rows = replace(rows, seconds=predicted(TRUE["gemm"] | {"least_rows": least_rows}, RATES, rows))
    assert fit_rows(rows, RATES)["least_rows"] == least_rows


# -- the command line ------------------------------------------------------------------------------------------------


def test_calibrate_then_judge(folder: Path, device: Path, tmp_path: Path, capsys: Capture) -> None:
    part = tmp_path / "kernels.yaml"
    fit = ["calibrate", "--from", str(folder), "--peaks", str(device), "--source", "made up"]
    assert main([*fit, "-o", str(part)]) == 0
    assert "gemm: " in capsys.readouterr().out
    content = yaml.safe_load(part.read_text())["kernels"]
    assert set(content) == set(TRUE)
    assert {each["origin"] for each in content.values()} == {"fitted"}
    assert content["gemm"]["source"] == "made up" and content["gemm"]["errors"]["median"] < 1e-3
    assert main([*fit, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kernels"] == content
    device.write_text(device.read_text() + part.read_text())
    assert main(["judge", str(folder), "--device", str(device), "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["device"] == "Slow"
    rows = {name: len(COLUMNS[name]["latency"]) for name in TRUE}
    sides = list(zip(COLUMNS["gemm"]["n"], COLUMNS["gemm"]["k"], strict=True))
    cold = [12 * n * k > 2 * RATES.l2_bytes for n, k in sides]
    ocr = [each and max(sides) <= 6144 for each, sides in zip(cold, sides, strict=True)]  # of at most 4,000 rows
    assert {name: each["rows"] for name, each in judged["classes"].items()} == rows | {
        "gemm_cold": sum(cold),
        "gemm_ocr": sum(ocr),
    }
    assert judged["left_out"] == {}
    for each in judged["classes"].values():
        assert set(each) == {"rows", "median", "p90", "total", "roofline_median"}
        assert each["median"] < 1e-3 and abs(each["total"]) < 2e-3 and each["roofline_median"] > 0.1
    assert main(["judge", str(folder), "--device", str(device), "--split", "held-out", "--by", "file"]) == 0
    shown = capsys.readouterr().out
    assert "moe.made-1.parquet" in shown and "moe: a site of the fit" in shown


def test_errors_are_those_of_a_table_by_hand(device: Path, tmp_path: Path, capsys: Capture) -> None:
    """m = n = k = 64: nothing but the overhead counts to three digits."""
    constants: dict[str, Any] = dict(TRUE["gemm"])
    constants |= {"overhead_s": 1.0, "origin": "given", "source": "mine"}
    device.write_text(device.read_text() + yaml.safe_dump({"kernels": {"gemm": constants}}))
    taken = [800.0, 1000.0, 1250.0, 2000.0]  # milliseconds; predicted: a second
    columns = grid(gemm_dtype=["bfloat16"], m=[1, 2, 3, 4], n=[64], k=[64]) | {"latency": taken}
    write(tmp_path / "gemm.a-1.parquet", columns)
    assert main(["judge", str(tmp_path / "gemm.a-1.parquet"), "--device", str(device), "--json"]) == 0
    (verdict,) = json.loads(capsys.readouterr().out)["classes"].values()
    assert verdict["rows"] == 4
    assert verdict["median"] == pytest.approx((0.25 + 0.2) / 2, abs=1e-3)
    assert verdict["p90"] == pytest.approx(0.25 + 0.7 * (0.5 - 0.25), abs=1e-3)
    assert verdict["total"] == pytest.approx(4 / 5.05 - 1, abs=1e-3)
    assert verdict["roofline_median"] == pytest.approx(1, abs=1e-3)


def test_left_out_takes_the_others_constants(tmp_path: Path, capsys: Capture) -> None:
    device = load_device("L40S")
    others = carried("gemm", device, [each for each in bundled_devices() if each.name != "A100-80G"])
    columns = grid(gemm_dtype=["bfloat16"], m=[1, 8], n=[4096], k=[4096])
    path = write(tmp_path / "gemm.a-1.parquet", columns)
    (table,) = read_tables(path)
    write(path, columns | {"latency": list(predicted(others, device.rates("bf16"), table.rows[0]) * 1e3)})
    assert main(["judge", str(path), "--device", "L40S", "--leave-out", "A100-80G", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"]["gemm"]["median"] < 1e-9
    assert main(["judge", str(path), "--device", "L40S", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"]["gemm"]["median"] > 1e-4


# -- which rows ------------------------------------------------------------------------------------------------------


def test_rows_that_are_left_out_are_counted(tmp_path: Path) -> None:
    def left_out(name: str, columns: Columns) -> tuple[dict[str, int], int]:
        (table,) = read_tables(write(tmp_path / f"{name}.a-1.parquet", columns))
        return {key.removeprefix(f"{name}: "): count for key, count in table.left_out.items()}, len(
            table.rows[0].seconds
        )

    gemm = grid(gemm_dtype=["bfloat16", "fp8"], m=[1, 2, 3], n=[64, 100], k=[64])
    assert left_out("gemm", gemm) == ({"gemm_dtype other than bfloat16": 6, "n or k no multiple of 64": 3}, 3)
    moe = COLUMNS["moe"] | {"distribution": ["power_law_1.2", *COLUMNS["moe"]["distribution"][1:]]}
    moe |= {"moe_ep_size": [*moe["moe_ep_size"][:-2], 2, 2]}
    rows = len(moe["latency"])
    assert left_out("moe", moe) == ({"distribution other than balanced": 1, "moe_ep_size other than 1": 2}, rows - 3)
    decode = COLUMNS["generation_attention"] | {"kv_cache_dtype": ["fp8", "bfloat16"] * 80}
    decode |= {"window_size": [0] * 159 + [128]}
    assert left_out("generation_attention", decode) == ({"kv_cache_dtype other than bfloat16": 80, "a window": 1}, 79)
    no_window = {name: values for name, values in decode.items() if name != "window_size"}
    assert left_out("generation_attention", no_window) == ({"kv_cache_dtype other than bfloat16": 80}, 80)


def test_the_split_is_by_site(folder: Path) -> None:
    rows = pooled(read_tables(folder))["gemm"]
    columns = COLUMNS["gemm"]
    sites = list(zip(columns["n"], columns["k"], strict=True))
    assert rows.held_out.tolist() == [zlib.crc32(f"{n},{k}".encode()) % 2 == 1 for n, k in sites]


def test_engines_are_pooled(folder: Path, tmp_path: Path) -> None:
    for engine in ("a-1", "b-2"):
        write(tmp_path / f"gemm.{engine}.parquet", COLUMNS["gemm"])
    tables: list[KernelTable] = read_tables(tmp_path)
    assert len(pooled(tables)["gemm"].seconds) == 2 * len(COLUMNS["gemm"]["latency"])


def test_other_files_of_a_folder_are_counted(tmp_path: Path, capsys: Capture) -> None:
    columns = grid(gemm_dtype=["bfloat16"], m=[1, 8], n=[4096], k=[4096])
    write(tmp_path / "gemm.a-1.parquet", columns)
    write(tmp_path / "mla_bmm.a-1.parquet", {"anything": [1, 2, 3]})
    assert main(["judge", str(tmp_path), "--device", "H200", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["classes"]["gemm"]["rows"] == 2
    assert judged["left_out"] == {"mla_bmm: a class that is not judged": 3}
    (tmp_path / "gemm.a-1.parquet").unlink()
    assert main(["judge", str(tmp_path), "--device", "H200"]) == 2
    assert "none of the tables' rows is usable; left out: 3 mla_bmm: a class that" in capsys.readouterr().err


def test_a_class_of_few_rows_is_left_out_of_a_fit(folder: Path, device: Path, tmp_path: Path, capsys: Capture) -> None:
    few = {name: values[:30] for name, values in COLUMNS["moe"].items()}
    write(tmp_path / "moe.a-1.parquet", few)
    write(tmp_path / "gemm.a-1.parquet", COLUMNS["gemm"])
    assert main(["calibrate", "--from", str(tmp_path), "--peaks", str(device), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content["kernels"]) == {"gemm"}
    ((reason, count),) = content["left_out"].items()
    assert reason.startswith("moe: too few to fit") and count == 30


def test_many_rows_are_judged_quickly(tmp_path: Path) -> None:
    """300,000 rows; 20 s are promised, and some four are usual."""
    columns = grid(gemm_dtype=["bfloat16"], m=list(range(1, 501)), n=[64 * each for each in range(1, 31)], k=SIDES)
    repeated = {name: (values * 4)[:300_000] for name, values in columns.items()}
    write(tmp_path / "gemm.a-1.parquet", repeated)
    begun = monotonic()
    assert main(["judge", str(tmp_path), "--device", "H200"]) == 0
    assert monotonic() - begun < 20


def test_a_file_without_a_usable_row_is_told_beside_the_others(tmp_path: Path, capsys: Capture) -> None:
    columns = grid(gemm_dtype=["bfloat16"], m=[1, 8], n=[4096], k=[4096])
    write(tmp_path / "gemm.a-1.parquet", columns)
    write(tmp_path / "gemm.b-1.parquet", columns | {"gemm_dtype": ["fp8", "fp8"]})
    assert main(["judge", str(tmp_path), "--device", "H200", "--by", "file", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert files["gemm.a-1.parquet"]["classes"]["gemm"]["rows"] == 2
    assert files["gemm.b-1.parquet"]["classes"] == {}
    assert files["gemm.b-1.parquet"]["left_out"] == {"gemm: gemm_dtype other than bfloat16": 2}


# -- bad input -------------------------------------------------------------------------------------------------------

GEMM = grid(gemm_dtype=["bfloat16"], m=[1, 2], n=[64], k=[64])


@pytest.mark.parametrize(
    "name, columns, text",
    [
        ("gemm", {key: GEMM[key] for key in ("m", "n", "latency", "gemm_dtype")}, "has no column k; a table of gemm"),
        ("gemm", GEMM | {"latency": [1.0, 0.0]}, "latency=0.0 in row 1 is no time"),
        ("gemm", GEMM | {"latency": [-1.0, 1.0]}, "latency=-1.0 in row 0 is no time"),
        ("gemm", GEMM | {"latency": [1.0, float("nan")]}, "latency=nan in row 1 is no time"),
        ("gemm", GEMM | {"latency": [1.0, None]}, "latency=nan in row 1 is no time"),
        ("gemm", GEMM | {"latency": ["a", "b"]}, "column latency holds string, not numbers"),
        ("gemm", GEMM | {"m": [0, 1]}, "m=0.0 in row 0 is no size; give 1 or more"),
        ("gemm", GEMM | {"gemm_dtype": ["fp8", "fp8"]}, "none of the tables' rows is usable"),
        ("gem", GEMM, 'gem is no class of kernels with tables; did you mean "gemm"?'),
        ("moe", COLUMNS["moe"], "device MI300X lists no l2_bytes; add it with its source to mi300x.yaml"),
    ],
)
def test_tables_that_cannot_be_judged_are_refused(
    name: str, columns: Columns, text: str, tmp_path: Path, capsys: Capture
) -> None:
    path = write(tmp_path / f"{name}.a-1.parquet", columns)
    device = "MI300X" if name == "moe" else "H100-SXM"
    assert main(["judge", str(path), "--device", device]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and text in captured.err and captured.err.count("\n") <= 3


def test_what_is_no_table_is_refused(tmp_path: Path, device: Path, capsys: Capture) -> None:
    damaged = tmp_path / "gemm.a-1.parquet"
    damaged.write_bytes(b"PAR1 and no more")
    (tmp_path / "empty").mkdir()
    good = write(tmp_path / "gemm.b-1.parquet", GEMM)
    other = write(tmp_path / "gemm.c-1.parquet", GEMM | {"gemm_dtype": ["fp8", "fp8"]})
    for arguments, text in (
        (["judge", str(damaged), "--device", "H200"], "is no Parquet file that can be read"),
        (["judge", str(tmp_path / "none"), "--device", "H200"], "none do not exist"),
        (["judge", str(tmp_path / "empty"), "--device", "H200"], "holds no table"),
        (["judge", str(good), "--device", str(device)], "device Slow has no constants of gemm (it has none)"),
        (["judge", str(good), "--device", "CPU-Xeon-8480"], "device CPU-Xeon-8480 is a CPU; constants of kernels are"),
        (["calibrate", "--from", str(good)], "--from needs --peaks"),
        (["calibrate", "--from", str(good), "--peaks", "H200", "5x5"], "--from measures nothing here"),
        (["calibrate", "--device", "cpu", "--source", "x"], "--source says where the tables of --from come from"),
        (["calibrate", "--from", str(good), "--peaks", "H200"], "fit: 0 rows of gemm are usable"),
        (["calibrate", "--from", str(other), "--peaks", "H200"], "calibrate: none of the tables' rows is usable; left"),
    ):
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and text in captured.err, arguments
