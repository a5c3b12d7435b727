"""Tables of `make gpu`: which rows are taken, by which sizes and sites, and what is refused."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelmeter.calibration.kernel_fit import predicted
from modelmeter.calibration.kernel_measured import NUMBERS, TIME, WORDS
from modelmeter.calibration.kernel_rows import KernelRows
from modelmeter.calibration.kernel_tables import read_tables
from modelmeter.cli.main import main
from modelmeter.devices import load_device
from modelmeter.errors import ModelMeterError

Row = dict[str, Any]


def row(kind: str, name: str, inputs: str, output: str, ms: float | None = 1.0, **sizes: Any) -> Row:
    found: Row = dict.fromkeys(NUMBERS, 0)
    found |= {"class": kind, "name": name, "dtype": "bfloat16", "inputs": inputs, "output": output, TIME: ms}
    return found | sizes


SDPA = "aten._scaled_dot_product_flash_attention.default"
TAKEN: dict[str, Row] = {
    "gemm": row(
        *("gemm", "aten.mm.default", "17x768 2304x768", "17x2304"),
        **{"m": 17, "n": 2304, "k": 768, "batch_size": 1, "flops": 60_162_048, "bytes": 3_643_392},
    ),
    "moe": row(
        *("moe", "aten._grouped_mm.default", "96x1280 64", "96x1792"),
        **{"m": 96, "n": 1792, "k": 1280, "experts": 64, "experts_hit": 24, "flops": 440_401_920},
        bytes=24 * 1792 * 1280 * 2 + 96 * 1280 * 2 + 96 * 1792 * 2 + 256,
    ),
    "context_attention": row(
        *("context_attention", SDPA, "2x16x500x128 2x4x500x128 2x4x500x128", "2x16x500x128"),
        **{"batch_size": 2, "heads": 16, "queries": 500, "keys": 500, "head_dim": 128, "flops": 4_096_000_000},
    ),
    "generation_attention": row(
        *("generation_attention", "fused.attention", "8x16x1x128 8x2x914x128 8x2x914x128", "8x16x1x128"),
        **{"batch_size": 8, "heads": 16, "queries": 1, "keys": 914, "head_dim": 128, "flops": 59_899_904},
    ),
    "elementwise": row(
        "elementwise", "aten.gelu.default", "64x1280", "64x1280", elements=81_920, bytes=327_680, dtype="float32"
    ),
    "strided": row(
        "elementwise", "aten.add.Tensor", "12x64x64x64x1 12x64x64x1x64", "12x64x64x64x64", elements=201_326_592, bytes=9
    ),
    "convolution": row(
        *("convolution", "aten.convolution.default", "1x3x640x640 768x3x16x16 768", "1x768x40x40"),
        **{"flops": 1_887_436_800, "bytes": 6_096_384},
    ),
}
LEFT_OUT = {
    "copy: a copy of memory, which a graph runs as no kernel": row("copy", "aten.clone.default", "2048", "2048"),
    "moe: no single kernel of PyTorch's": row("moe", "block.balanced", "4x1280 64", "4x1280", flops=9),
    "elementwise: no single kernel of PyTorch's": row("elementwise", "fused.embed", "4x8", "4x8", bytes=9),
    "gemm: type other than bfloat16": row("gemm", "aten.mm.default", "1x2 3x2", "1x3", dtype="float32", flops=9),
    "copy: type other than bfloat16 and float32": row("copy", "aten.index.Tensor", "4 4", "4", dtype="int64", bytes=9),
    "gemm: a batch of GEMMs": row("gemm", "aten.bmm.default", "2x1x2 2x3x2", "2x1x3", batch_size=2, flops=9),
    "elementwise: without a time in a CUDA graph": row("elementwise", "aten.neg.default", "4", "4", None, bytes=9),
    "copy: nothing to move or compute": row("copy", "aten.cat.default", "2x2 2x2", "4x2"),
}


def write(path: Path, rows: list[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "kernels.parquet", [*TAKEN.values(), *LEFT_OUT.values()])


def rows_of(path: Path) -> dict[str, KernelRows]:
    (found,) = read_tables(path)
    return {each.kernel_class: each for each in found.rows}


def test_every_row_is_taken_or_has_its_reason(table: Path) -> None:
    (found,) = read_tables(table)
    assert {each.kernel_class: len(each.seconds) for each in found.rows} == dict.fromkeys(TAKEN, 1)
    assert dict(found.left_out) == dict.fromkeys(LEFT_OUT, 1)
    assert read_tables(table.parent)[0].left_out == found.left_out  # a folder of such a table


def test_sizes_are_what_the_time_of_the_class_takes(table: Path) -> None:
    sizes = {name: {key: float(each[0]) for key, each in rows.sizes.items()} for name, rows in rows_of(table).items()}
    assert sizes["gemm"] == {"rows": 17, "columns": 2304, "flops": 60_162_048, "nbytes": 3_643_392}
    assert sizes["moe"] == {
        "flops": 440_401_920,
        "weight_bytes": 110_100_480,  # of the 24 experts that are hit
        "activation_bytes": 590_080,
        "rows_an_expert": 4,
        "of_a_block": 2,
        "misaligned": 0,
    }
    heads = {"batch": 2, "heads": 16, "kv_heads": 4, "head_dim": 128, "length": 500, "before": 0}
    assert sizes["context_attention"] == heads
    assert sizes["generation_attention"] == {"batch": 8, "heads": 16, "kv_heads": 2, "head_dim": 128, "keys": 914}
    assert sizes["elementwise"] == {"nbytes": 327_680}
    assert sizes["strided"] == {"nbytes": 9, "elements": 201_326_592}
    assert sizes["convolution"] == {"flops": 1_887_436_800, "nbytes": 6_096_384, "channels": 3, "depth": 768}
    for name, rows in rows_of(table).items():
        assert rows.seconds == [1e-3] and rows.resident == [np.inf], name


@pytest.mark.parametrize(
    "name, site",
    [
        ("gemm", "2304,768"),
        ("moe", "96,1792,1280,64,24"),
        ("context_attention", "16,4,128,500"),
        ("generation_attention", "16,2,128,914"),
        ("elementwise", "327680,81920"),
        ("convolution", "1887436800,6096384"),
    ],
)
def test_the_split_is_by_site(name: str, site: str, table: Path) -> None:
    assert rows_of(table)[name].held_out == [zlib.crc32(site.encode()) % 2 == 1]


def test_no_cache_holds_what_such_a_table_reads(table: Path) -> None:
    rates = load_device("H100-SXM").rates("bf16")
    rows = rows_of(table)["elementwise"]
    values = {"overhead_s": 0.0, "bandwidth": 0.5, "bytes_per_flop": 1000.0}
    assert predicted(values, rates, rows) == pytest.approx([327_680 / (0.5 * rates.bandwidth)])


def test_a_grouped_product_pays_half_of_a_blocks_overhead(table: Path) -> None:
    rates = load_device("H100-SXM").rates("bf16")
    values = dict(load_device("H100-SXM").kernels["moe"].values)
    rows = rows_of(table)["moe"]
    dear = predicted(values | {"overhead_s": values["overhead_s"] + 1}, rates, rows)
    assert dear - predicted(values, rates, rows) == pytest.approx([0.5])


def test_judge_takes_the_layout(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", str(table), "--device", "H100-SXM", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content["classes"]) == [
        *("gemm", "gemm_cold", "gemm_ocr", "moe", "context_attention", "generation_attention"),
        *("elementwise", "strided", "convolution"),
    ]
    assert content["left_out"] == dict.fromkeys(LEFT_OUT, 1)


@pytest.mark.parametrize("time", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(time: float, tmp_path: Path) -> None:
    path = write(tmp_path / "kernels.parquet", [TAKEN["gemm"], TAKEN["gemm"] | {TIME: time}])
    with pytest.raises(ModelMeterError, match=r"table kernels\.parquet: graph_ms=.* in row 1 is no time"):
        read_tables(path)


@pytest.mark.parametrize("name", ["experts_hit", *WORDS[1:]])
def test_a_missing_column_is_named(name: str, tmp_path: Path) -> None:
    lacking = {key: value for key, value in TAKEN["moe"].items() if key != name}
    with pytest.raises(ModelMeterError, match=f"kernels.parquet has no column {name}; a table of make gpu has class, "):
        read_tables(write(tmp_path / "kernels.parquet", [lacking]))
