"""Tables of kernels that take exactly what constants say, in each layout that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from modelmeter.calibration.kernel_fit import predicted
from modelmeter.calibration.kernel_profiles import read_profile
from modelmeter.calibration.kernel_tables import read_tables
from modelmeter.devices.kernel_time import DeviceRates

Columns = dict[str, list[Any]]
#: by class
Constants = dict[str, dict[str, float]]


def grid(**sizes: list[Any]) -> Columns:
    """A row for every combination, and a column of times yet to be filled."""
    axes = np.meshgrid(*[np.arange(len(values)) for values in sizes.values()], indexing="ij")
    columns: Columns = {
        name: [values[index] for index in axis.reshape(-1)]
        for (name, values), axis in zip(sizes.items(), axes, strict=True)
    }
    return columns | {"latency": [1.0] * axes[0].size}


SIDES = [768, 1536, 2048, 3072, 5120, 6144, 8192, 12288]
COLUMNS: dict[str, Columns] = {
    "gemm": grid(gemm_dtype=["bfloat16"], m=[1, 17, 64, 100, 500, 1000, 4000], n=SIDES, k=SIDES),
    "moe": grid(
        **{"moe_dtype": ["bfloat16"], "distribution": ["balanced"], "num_tokens": [1, 3, 8, 40, 200, 1000, 5000]},
        **{"hidden_size": [1280, 2048, 4096], "inter_size": [896, 1536, 760], "topk": [6, 8], "num_experts": [64, 128]},
        **{"moe_tp_size": [1], "moe_ep_size": [1]},
    ),
    "context_attention": grid(
        **{"attn_dtype": ["bfloat16"], "kv_cache_dtype": ["bfloat16"], "batch_size": [1, 4], "step": [0]},
        **{
            "isl": [64, 128, 257, 400, 577, 800, 1025, 2000, 4096],
            "num_heads": [8, 16],
            "num_key_value_heads": [8],
            "head_dim": [64, 128],
        },
        **{"window_size": [0]},
    ),
    "encoder_attention": grid(
        **{"attn_dtype": ["bfloat16"], "batch_size": [1, 4, 16], "isl": [16, 64, 257, 577, 1025, 1600, 4096]},
        **{"num_heads": [4, 10, 16], "head_dim": [64, 80]},
    ),
    "generation_attention": grid(
        **{"attn_dtype": ["bfloat16"], "kv_cache_dtype": ["bfloat16"], "batch_size": [1, 8, 64, 300], "isl": [1]},
        **{"num_heads": [8, 16], "num_key_value_heads": [4, 8], "head_dim": [64, 128], "window_size": [0]},
        **{"step": [1, 100, 700, 3000, 10_000]},
    ),
}
TOKENS = [1, 2, 3, 5, 8, 16, 40, 64, 100, 200, 300, 512, 700, 1024, 1500, 2048]


def write(path: Path, columns: Columns) -> Path:
    """A Parquet file of columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def write_csv(path: Path, columns: Columns) -> Path:
    """A CSV file of columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.csv.write_csv(pa.table(columns), path)
    return path


def write_tables(folder: Path, constants: Constants, rates: DeviceRates, classes: list[str]) -> None:
    """A file of each class in aiconfigurator's layout."""
    for name in classes:
        path = folder / f"{name}.made-1.parquet"
        (table,) = read_tables(write(path, COLUMNS[name]))
        write(path, COLUMNS[name] | {"latency": list(predicted(constants[name], rates, table.rows[0]) * 1e3)})


def write_vidur(path: Path, constants: Constants, rates: DeviceRates) -> None:
    """A profile of pointwise kernels."""
    rows = len(TOKENS)
    columns: Columns = {
        "num_tokens": TOKENS,
        "num_tensor_parallel_workers": [1] * rows,
        "n_embd": [1024] * rows,
        "n_expanded_embd": [4096] * rows,
        "n_head": [16] * rows,
        "n_kv_head": [16] * rows,
        "use_gated_mlp": [True] * rows,
    }
    kernels = ("input_layernorm", "add", "mlp_act", "attn_rope")
    times = {f"time_stats.{kernel}.median": [1.0] * rows for kernel in kernels}
    table = read_profile(write_csv(path, columns | times))
    for name, part in zip(times, table.rows, strict=True):
        times[name] = list(predicted(constants["elementwise"], rates, part) * 1e3)
    write_csv(path, columns | times)


def write_llmservingsim(folder: Path, constants: Constants, rates: DeviceRates) -> None:
    """Profiles of a model's dense layers and attention."""
    layers = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj", "layernorm", "act_fn", "rotary_emb"]
    dense: Columns = {
        "layer": [layer for layer in layers for _ in TOKENS],
        "tokens": TOKENS * len(layers),
        "time_us": [1.0] * len(layers) * len(TOKENS),
    }
    gemm, moving = read_profile(write_csv(folder / "dense.csv", dense)).rows
    seconds = [*predicted(constants["gemm"], rates, gemm), *predicted(constants["elementwise"], rates, moving)]
    write_csv(folder / "dense.csv", dense | {"time_us": [each * 1e6 for each in seconds]})
    chunks = grid(prefill_chunk=[16, 64, 256, 1024], kv_prefill=[0, 16, 512, 2048, 4096], n_decode=[0], kv_decode=[0])
    steps = grid(prefill_chunk=[0], kv_prefill=[0], n_decode=[1, 8, 64, 128], kv_decode=[16, 64, 256, 1024, 4096, 8192])
    calls: Columns = {name: chunks[name] + steps[name] for name in chunks if name != "latency"}
    calls["time_us"] = [1.0] * len(calls["n_decode"])
    prefill, decode = read_profile(write_csv(folder / "attention.csv", calls)).rows
    seconds = [
        *predicted(constants["context_attention"], rates, prefill),
        *predicted(constants["generation_attention"], rates, decode),
    ]
    write_csv(folder / "attention.csv", calls | {"time_us": [each * 1e6 for each in seconds]})
