"""Tables of measured kernels in aiconfigurator's layout: Parquet files OP.ENGINE-VERSION.parquet, a row a shape.

Rows are told apart into those that constants are fitted on and judged by, in bfloat16, and others, which are counted
with the reason. Times are milliseconds of one call in a CUDA graph.

The split. A row's site is what does not change from call to call of one layer: (n, k) of a product; heads, KV heads,
width and keys of an attention; hidden size, width, choices, experts and parts of an expert layer. A site is held out
of every fit where the CRC-32 of its numbers, written in decimal with commas between, is odd.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelmeter import kernel_classes as classes
from modelmeter.errors import ModelMeterError, near, shown

BFLOAT16: Final = "bfloat16"
#: of the weights that GEMM's benchmark goes round
ROTATED: Final = 6
#: a row is cold where what it goes round is this many times the L2 cache
COLD: Final = 2
#: sizes of the products of models for OCR: rows at most, and features
OCR_ROWS: Final = 8192
OCR_FEATURES: Final = (768, 6144)
#: features of a product that is aligned for the matrix units
ALIGNED: Final = 64
_MOST: Final = 2**31

_ATTENTION: Final = ("batch_size", "isl", "num_heads", "head_dim")
_SIZES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        classes.GEMM: ("m", "n", "k"),
        classes.MOE: (
            *("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"),
        ),
        classes.CONTEXT_ATTENTION: (*_ATTENTION, "num_key_value_heads", "step"),
        classes.GENERATION_ATTENTION: (*_ATTENTION, "num_key_value_heads", "step"),
        classes.ENCODER_ATTENTION: _ATTENTION,
    }
)
_WORDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        classes.GEMM: ("gemm_dtype",),
        classes.MOE: ("moe_dtype", "distribution"),
        classes.CONTEXT_ATTENTION: ("attn_dtype", "kv_cache_dtype"),
        classes.GENERATION_ATTENTION: ("attn_dtype", "kv_cache_dtype"),
        classes.ENCODER_ATTENTION: ("attn_dtype",),
    }
)
#: sizes that may be 0
_MAY_BE_ZERO: Final = ("step", "num_key_value_heads", "window_size")
#: (hidden size, width) of experts without a gate, two matrices instead of three, as vLLM's rows of them run
_UNGATED: Final = (2688, 1856)

Array = Any


@dataclass(frozen=True, kw_only=True)
class KernelRows:
    """Rows of one class, an array of each: seconds measured, the arguments of the class's time, and what tells them.

    resident: bytes of weights that a product's benchmark goes round, of a decode step its KV cache; else 0. aligned:
    whether an expert's part is aligned for the matrix units; of other classes always.
    """

    kernel_class: str
    seconds: Array
    sizes: Mapping[str, Array]
    resident: Array
    held_out: Array
    ocr: Array
    aligned: Array

    def where(self, chosen: Array) -> KernelRows:
        """The rows for which `chosen` is true."""
        return KernelRows(
            kernel_class=self.kernel_class,
            seconds=self.seconds[chosen],
            sizes={name: values[chosen] for name, values in self.sizes.items()},
            resident=self.resident[chosen],
            held_out=self.held_out[chosen],
            ocr=self.ocr[chosen],
            aligned=self.aligned[chosen],
        )

    def cold(self, l2_bytes: int) -> Array:
        """Whether what the benchmark goes round is beyond the L2 cache."""
        return self.resident > COLD * l2_bytes


@dataclass(frozen=True, kw_only=True)
class KernelTable:
    """A file: its rows of bfloat16, and how many others there are, by reason."""

    file: str
    rows: KernelRows
    left_out: Mapping[str, int]


def read_tables(path: Path) -> list[KernelTable]:
    """The tables of a file, or of all files of a folder; raises `ModelMeterError` for what cannot be read."""
    if not path.exists():
        raise ModelMeterError(f"tables {path} do not exist; give a Parquet file of kernel times, or a folder of them.")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise ModelMeterError(f"folder {path} holds no table; its files are named OP.ENGINE-VERSION.parquet.")
    return [_read_table(file) for file in files]


def _read_table(path: Path) -> KernelTable:
    who = f"table {path.name}"
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise ModelMeterError(f"{who} is no Parquet file that can be read ({type(error).__name__}).") from error
    kernel_class = path.name.split(".")[0]
    if kernel_class not in _SIZES:
        raise ModelMeterError(f"{who}: {kernel_class} is no class of kernels with tables; {near(kernel_class, _SIZES)}")
    sizes, words = _SIZES[kernel_class], _WORDS[kernel_class]
    for name in (*sizes, *words, "latency"):
        if name not in names:
            raise ModelMeterError(f"{who} has no column {name}; a table of {kernel_class} has {_listed(sizes, words)}.")
    optional = [name for name in ("window_size", "framework") if name in names]
    try:
        table = pq.read_table(path, columns=[*sizes, *words, "latency", *optional])
    except (pa.ArrowException, OSError) as error:
        raise ModelMeterError(f"{who} is damaged ({type(error).__name__}); fetch it again.") from error
    if table.num_rows == 0:
        raise ModelMeterError(f"{who} has no row.")
    seconds = _numbers(who, table, "latency") * 1e-3
    bad = np.flatnonzero(~(np.isfinite(seconds) & (seconds > 0)))
    if len(bad):
        came = shown(float(seconds[bad[0]] * 1e3))
        raise ModelMeterError(f"{who}: latency={came} in row {bad[0]:,} is no time; milliseconds above 0 are.")
    numbers = {name: _numbers(who, table, name) for name in sizes}
    if "window_size" in optional and kernel_class != classes.GEMM:
        numbers["window_size"] = _numbers(who, table, "window_size")
    reasons = _reasons(kernel_class, numbers, {name: _is(table, name, BFLOAT16) for name in words}, table)
    used = np.ones(table.num_rows, dtype=bool)
    left_out: Counter[str] = Counter()
    for reason, meant in reasons:
        count = int((used & meant).sum())
        if count:
            left_out[reason] = count
        used &= ~meant
    for name, values in numbers.items():
        least = 0 if name in _MAY_BE_ZERO else 1
        wrong = np.flatnonzero(used & ~((values >= least) & (values < _MOST)))
        if len(wrong):
            came = shown(float(values[wrong[0]]))
            raise ModelMeterError(f"{who}: {name}={came} in row {wrong[0]:,} is no size; give {least} or more.")
    framework = _is(table, "framework", "VLLM") if "framework" in optional else np.zeros(table.num_rows, dtype=bool)
    rows = _rows(kernel_class, {name: values[used] for name, values in numbers.items()}, seconds[used], framework[used])
    return KernelTable(file=path.name, rows=rows, left_out=MappingProxyType(dict(left_out)))


def _listed(sizes: Sequence[str], words: Sequence[str]) -> str:
    return ", ".join((*sizes, *words, "latency"))


def _numbers(who: str, table: Any, name: str) -> Array:
    try:
        return table[name].cast(pa.float64()).fill_null(float("nan")).to_numpy()
    except pa.ArrowException as error:
        raise ModelMeterError(f"{who}: column {name} holds {table.schema.field(name).type}, not numbers.") from error


def _is(table: Any, name: str, word: str) -> Array:
    """Whether each row has a word in a column of words."""
    return pc.fill_null(pc.equal(table[name].cast(pa.string()), word), False).to_numpy().astype(bool)


def _reasons(
    kernel_class: str, numbers: Mapping[str, Array], bfloat16: Mapping[str, Array], table: Any
) -> list[tuple[str, Array]]:
    """Why rows are left out, the first reason that meets a row being the one that counts."""
    reasons = [(f"{name} other than bfloat16", ~is_it) for name, is_it in bfloat16.items() if name != "distribution"]
    if kernel_class == classes.GEMM:
        odd = (numbers["n"] % ALIGNED != 0) | (numbers["k"] % ALIGNED != 0)
        reasons.append((f"n or k no multiple of {ALIGNED}", odd))
    elif kernel_class == classes.MOE:
        reasons.append(("distribution other than balanced", ~_is(table, "distribution", "balanced")))
        reasons.append(("moe_ep_size other than 1", numbers["moe_ep_size"] != 1))
    elif "window_size" in numbers:
        reasons.append(("a window", numbers["window_size"] != 0))
    if kernel_class == classes.CONTEXT_ATTENTION:
        reasons.append(("keys before the prefill", numbers["step"] != 0))
    return reasons


def _rows(kernel_class: str, numbers: Mapping[str, Array], seconds: Array, vllm: Array) -> KernelRows:
    build = _gemm if kernel_class == classes.GEMM else _moe if kernel_class == classes.MOE else _attention
    sizes, resident, site, aligned = build(kernel_class, numbers, vllm)
    ocr = np.zeros(len(seconds), dtype=bool)
    if kernel_class == classes.GEMM:
        least, most = OCR_FEATURES
        ocr = numbers["m"] <= OCR_ROWS
        for name in ("n", "k"):
            ocr &= (numbers[name] >= least) & (numbers[name] <= most)
    return KernelRows(
        kernel_class=kernel_class,
        seconds=seconds,
        sizes=sizes,
        resident=resident,
        held_out=_held_out([numbers[name] if isinstance(name, str) else name for name in site]),
        ocr=ocr,
        aligned=aligned,
    )


_Built = tuple[dict[str, Array], Array, list[Any], Array]


def _gemm(_: str, numbers: Mapping[str, Array], vllm: Array) -> _Built:
    m, n, k = (numbers[name] for name in ("m", "n", "k"))
    sizes = {"rows": m, "flops": 2 * m * n * k, "nbytes": 2 * (m * k + n * k + m * n)}
    return sizes, 2 * ROTATED * n * k, ["n", "k"], np.ones(len(m), dtype=bool)


def _moe(_: str, numbers: Mapping[str, Array], vllm: Array) -> _Built:
    tokens, hidden, topk, experts = (numbers[name] for name in ("num_tokens", "hidden_size", "topk", "num_experts"))
    width = numbers["inter_size"] / numbers["moe_tp_size"]
    ungated = vllm & (hidden == _UNGATED[0]) & (numbers["inter_size"] == _UNGATED[1])
    matrices = np.where(ungated, 2, 3)
    hit = np.minimum(experts, tokens * topk)
    weights = 2 * matrices * hit * hidden * width
    # tokens in and out, rows sorted, products out of each matrix, activation in and out, rows weighted and summed
    moved = 2 * (2 * tokens * hidden + tokens * topk * (3 * hidden + (matrices + 1) * width))
    sizes = {
        "flops": 2 * matrices * tokens * topk * hidden * width,
        "weight_bytes": weights,
        "activation_bytes": moved,
        "rows_an_expert": tokens * topk / hit,
    }
    site = ["hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size"]
    return sizes, weights, site, width % ALIGNED == 0


def _attention(kernel_class: str, numbers: Mapping[str, Array], vllm: Array) -> _Built:
    batch, length, heads, width = (numbers[name] for name in _ATTENTION)
    kv_heads = heads
    if kernel_class != classes.ENCODER_ATTENTION:
        given = numbers["num_key_value_heads"]
        kv_heads = np.where(given > 0, given, heads)
    sizes = {"batch": batch, "heads": heads, "kv_heads": kv_heads, "head_dim": width}
    resident = np.zeros(len(batch))
    keys = length
    if kernel_class == classes.GENERATION_ATTENTION:
        keys = numbers["step"] + 1
        sizes["keys"] = keys
        resident = 4 * batch * kv_heads * keys * width
    else:
        sizes["length"] = length
    return sizes, resident, [heads, kv_heads, width, keys], np.ones(len(batch), dtype=bool)


def _held_out(columns: Sequence[Array]) -> Array:
    """Whether each row's site is kept from every fit."""
    if not len(columns[0]):
        return np.zeros(0, dtype=bool)
    sites, of_row = np.unique(np.stack(columns, axis=1).astype(np.int64), axis=0, return_inverse=True)
    odd = [zlib.crc32(",".join(map(str, site)).encode()) % 2 == 1 for site in sites.tolist()]
    return np.array(odd)[of_row.reshape(-1)]


def pooled(tables: Sequence[KernelTable]) -> dict[str, KernelRows]:
    """The rows of all tables by class, those of all engines together; classes without a row are left out."""
    found: dict[str, KernelRows] = {}
    for name in _SIZES:
        rows = [table.rows for table in tables if table.rows.kernel_class == name and len(table.rows.seconds)]
        if rows:
            found[name] = KernelRows(
                kernel_class=name,
                seconds=np.concatenate([each.seconds for each in rows]),
                sizes={key: np.concatenate([each.sizes[key] for each in rows]) for key in rows[0].sizes},
                resident=np.concatenate([each.resident for each in rows]),
                held_out=np.concatenate([each.held_out for each in rows]),
                ocr=np.concatenate([each.ocr for each in rows]),
                aligned=np.concatenate([each.aligned for each in rows]),
            )
    return found


def all_left_out(tables: Sequence[KernelTable]) -> dict[str, int]:
    """How many rows of all tables are left out, by class and reason."""
    counts: Counter[str] = Counter()
    for table in tables:
        for reason, count in table.left_out.items():
            counts[f"{table.rows.kernel_class}: {reason}"] += count
    return dict(counts)
