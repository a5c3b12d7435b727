"""Tables of measured kernels: files in aiconfigurator's layout, profiles (`kernel_profiles`) and those of `make gpu`
(`kernel_measured`), told by their columns.

aiconfigurator's are Parquet files OP.ENGINE-VERSION.parquet, a row a shape, times in milliseconds of one call in a CUDA
graph. Rows are told apart into those that constants are fitted on and judged by, in bfloat16, and others, which are
counted with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_measured import NUMBERS, TIME, WORDS, is_measured, measured_table
from modelmeter.calibration.kernel_profiles import is_profile, profile_files, read_profile
from modelmeter.calibration.kernel_rows import KernelRows, KernelTable, attention_rows, gemm_rows, moe_rows
from modelmeter.errors import ModelMeterError, near, shown

BFLOAT16: Final = "bfloat16"
#: of the weights that GEMM's benchmark goes round
ROTATED: Final = 6
#: features of the GEMMs that are judged are multiples of this
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


def read_tables(path: Path) -> list[KernelTable]:
    """The tables of a file, or of all files of a folder; raises `ModelMeterError` for what cannot be read.

    A folder holds Parquet files, or profiles anywhere below it. Of a file there whose name is of no class that is
    judged, the rows are counted.
    """
    if not path.exists():
        raise ModelMeterError(f"tables {path} do not exist; give a file of kernel times, or a folder of them.")
    if not path.is_dir():
        return [read_profile(path) if is_profile(path) else _read_file(path)]
    files = sorted(path.glob("*.parquet"))
    profiles = profile_files(path)
    if not files and not profiles:
        raise ModelMeterError(
            f"folder {path} holds no table; its files are named OP.ENGINE-VERSION.parquet, or it holds profiles of "
            "LLMServingSim (OWNER/MODEL/bf16/tpN/dense.csv) or Vidur (MODEL/mlp.csv)."
        )
    known = [_read_table(file) if _class_of(file) in _SIZES else _other(file) for file in files]
    return [*known, *map(read_profile, profiles)]


def _class_of(path: Path) -> str:
    return path.name.split(".")[0]


def _read_file(path: Path) -> KernelTable:
    who = f"table {path.name}"
    file = _opened(who, path)
    return _read_measured(who, path, file) if is_measured(file.schema_arrow.names) else _read_table(path)


def _other(path: Path) -> KernelTable:
    """A table of `make gpu`, or one of another class than those that are judged."""
    who = f"table {path.name}"
    file = _opened(who, path)
    if is_measured(file.schema_arrow.names):
        return _read_measured(who, path, file)
    count = file.metadata.num_rows
    left_out = {f"{_class_of(path)}: a class that is not judged": count}
    return KernelTable(file=path.name, rows=(), left_out=MappingProxyType(left_out))


def _opened(who: str, path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ModelMeterError(f"{who} is no Parquet file that can be read ({type(error).__name__}).") from error


def _read_measured(who: str, path: Path, file: pq.ParquetFile) -> KernelTable:
    for name in (*WORDS, *NUMBERS):
        if name not in file.schema_arrow.names:
            raise ModelMeterError(
                f"{who} has no column {name}; a table of make gpu has {', '.join((*WORDS, *NUMBERS, TIME))}."
            )
    table = _read(who, file, [*WORDS, *NUMBERS, TIME])
    words = {name: table[name].cast(pa.string()).fill_null("").to_numpy().astype(str) for name in WORDS}
    numbers = {name: _numbers(who, table, name) for name in (*NUMBERS, TIME)}
    return measured_table(who, path.name, words | numbers, table[TIME].is_valid().to_numpy())


def _read(who: str, file: pq.ParquetFile, names: Sequence[str]) -> Any:
    try:
        table = file.read(columns=list(names))
    except (pa.ArrowException, OSError) as error:
        raise ModelMeterError(f"{who} is damaged ({type(error).__name__}); fetch it again.") from error
    if table.num_rows == 0:
        raise ModelMeterError(f"{who} has no row.")
    return table


def _read_table(path: Path) -> KernelTable:
    who = f"table {path.name}"
    file = _opened(who, path)
    names = file.schema_arrow.names
    kernel_class = _class_of(path)
    if kernel_class not in _SIZES:
        raise ModelMeterError(f"{who}: {kernel_class} is no class of kernels with tables; {near(kernel_class, _SIZES)}")
    sizes, words = _SIZES[kernel_class], _WORDS[kernel_class]
    for name in (*sizes, *words, "latency"):
        if name not in names:
            raise ModelMeterError(f"{who} has no column {name}; a table of {kernel_class} has {_listed(sizes, words)}.")
    optional = [name for name in ("window_size", "framework") if name in names]
    table = _read(who, file, [*sizes, *words, "latency", *optional])
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
            left_out[f"{kernel_class}: {reason}"] = count
        used &= ~meant
    for name, values in numbers.items():
        least = 0 if name in _MAY_BE_ZERO else 1
        wrong = np.flatnonzero(used & ~((values >= least) & (values < _MOST)))
        if len(wrong):
            came = shown(float(values[wrong[0]]))
            raise ModelMeterError(f"{who}: {name}={came} in row {wrong[0]:,} is no size; give {least} or more.")
    framework = _is(table, "framework", "VLLM") if "framework" in optional else np.zeros(table.num_rows, dtype=bool)
    rows = _rows(kernel_class, {name: values[used] for name, values in numbers.items()}, seconds[used], framework[used])
    return KernelTable(file=path.name, rows=(rows,), left_out=MappingProxyType(dict(left_out)))


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
    if kernel_class == classes.GEMM:
        m, n, k = (numbers[name] for name in ("m", "n", "k"))
        return gemm_rows(m, n, k, 2 * ROTATED * n * k, seconds)
    if kernel_class == classes.MOE:
        tokens, hidden, inner, chosen, experts, parts, _ = (numbers[name] for name in _SIZES[classes.MOE])
        ungated = vllm & (hidden == _UNGATED[0]) & (inner == _UNGATED[1])
        return moe_rows(
            tokens=tokens,
            hidden=hidden,
            width=inner / parts,
            chosen=chosen,
            hit=np.minimum(experts, tokens * chosen),
            matrices=np.where(ungated, 2, 3),
            site=[hidden, inner, chosen, experts, parts],
            seconds=seconds,
        )
    batch, length, heads, width = (numbers[name] for name in _ATTENTION)
    given = numbers.get("num_key_value_heads", heads)
    return attention_rows(
        kernel_class,
        batch=batch,
        heads=heads,
        kv_heads=np.where(given > 0, given, heads),
        head_dim=width,
        length=numbers["step"] + 1 if kernel_class == classes.GENERATION_ATTENTION else length,
        seconds=seconds,
    )
