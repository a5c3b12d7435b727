"""Profiles of kernels as simulators of serving publish them: CSV files by layer and token count.

- LLMServingSim: OWNER/MODEL/bf16/tpN/{dense,attention,moe,per_sequence}.csv, microseconds. Of `attention` the calls
  of prefills alone and of decode steps alone are taken, not those of both at once.
- Vidur: mlp.csv, milliseconds to three digits, in float16: its pointwise kernels are taken, whose time depends on
  bytes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_rows import (
    KernelRows,
    KernelTable,
    attention_rows,
    gemm_rows,
    moe_rows,
    moving_rows,
)
from modelmeter.errors import ModelMeterError, shown

Array = Any


@dataclass(frozen=True, kw_only=True)
class LayerSizes:
    """What a profiled model's layers are made of; experts, chosen, expert_width: 0 without experts."""

    hidden: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    experts: int = 0
    chosen: int = 0
    expert_width: int = 0


#: sizes of the models that LLMServingSim profiles, as their published configurations (config.json) have them
MODELS: Final[Mapping[str, LayerSizes]] = MappingProxyType(
    {
        "meta-llama/Llama-3.1-8B": LayerSizes(
            hidden=4096, width=14336, heads=32, kv_heads=8, head_dim=128, vocab=128256
        ),
        "meta-llama/Llama-3.1-70B": LayerSizes(
            hidden=8192, width=28672, heads=64, kv_heads=8, head_dim=128, vocab=128256
        ),
        "Qwen/Qwen3-32B": LayerSizes(hidden=5120, width=25600, heads=64, kv_heads=8, head_dim=128, vocab=151936),
        "Qwen/Qwen3-30B-A3B-Instruct-2507": LayerSizes(
            hidden=2048,
            width=6144,
            heads=32,
            kv_heads=4,
            head_dim=128,
            vocab=151936,
            experts=128,
            chosen=8,
            expert_width=768,
        ),
    }
)
_UNKNOWN: Final = LayerSizes(hidden=0, width=0, heads=0, kv_heads=0, head_dim=0, vocab=0)
_VARIANT: Final = "bf16"
_MOST: Final = 2**31


def profile_files(folder: Path) -> list[Path]:
    """The profiles anywhere below a folder."""
    return sorted(path for path in folder.rglob("*.csv") if path.name in _READERS)


def is_profile(path: Path) -> bool:
    """Whether a file is named as a profile is."""
    return path.name in _READERS


def read_profile(path: Path) -> KernelTable:
    """The rows of a profile; raises `ModelMeterError` for what cannot be read."""
    return _READERS[path.name](path)


# -- reading --------------------------------------------------------------------------------------------------------


def _columns(path: Path, who: str, numbers: tuple[str, ...], words: tuple[str, ...] = ()) -> dict[str, Array]:
    try:
        table = pc.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise ModelMeterError(f"{who} is no CSV file that can be read ({type(error).__name__}).") from error
    found = {}
    for name in (*words, *numbers):
        if name not in table.column_names:
            raise ModelMeterError(f"{who} has no column {name}; it has {', '.join((*words, *numbers))}.")
        column = table[name]
        if name in words:
            found[name] = np.array(column.cast(pa.string()).to_pylist(), dtype=object)
            continue
        try:
            found[name] = column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
        except pa.ArrowException as error:
            raise ModelMeterError(f"{who}: column {name} holds {column.type}, not numbers.") from error
    if not table.num_rows:
        raise ModelMeterError(f"{who} has no row.")
    return found


def _check(who: str, columns: Mapping[str, Array], time: str) -> None:
    """Raise `ModelMeterError` for a time that is none, or a count that is none."""
    for name, values in columns.items():
        if values.dtype == object:
            continue
        fine = np.isfinite(values) & ((values > 0) if name == time else (values >= 0) & (values < _MOST))
        wrong = np.flatnonzero(~fine)
        if len(wrong):
            what = "time; microseconds above 0 are" if name == time else "count; give 0 or more"
            raise ModelMeterError(f"{who}: {name}={shown(float(values[wrong[0]]))} in row {wrong[0]:,} is no {what}.")


@dataclass(frozen=True, kw_only=True)
class _Profile:
    who: str
    file: str
    sizes: LayerSizes
    parts: int
    other: str


def _profile(path: Path) -> _Profile:
    """What the folders above a file of LLMServingSim say. other: why none of its rows is taken; "": they are."""
    parts = path.absolute().parts
    file = "/".join(parts[-5:])
    who = f"profile {file}"
    degree = parts[-2].removeprefix("tp")
    if len(parts) < 6 or not degree.isdigit() or int(degree) < 1 or not parts[-2].startswith("tp"):
        raise ModelMeterError(f"{who} lies in no folder OWNER/MODEL/bf16/tpN, which says what was profiled.")
    model = "/".join(parts[-5:-3])
    other = "" if parts[-3] == _VARIANT else f"variant {parts[-3]}, other than {_VARIANT}"
    if model not in MODELS:
        other = f"sizes of {model} stand not in modelmeter/calibration/kernel_profiles.py"
    return _Profile(who=who, file=file, sizes=MODELS.get(model, _UNKNOWN), parts=int(degree), other=other)


def _dense(path: Path) -> KernelTable:
    """Layers over all tokens: GEMMs, and pointwise kernels by the bytes that they move a token."""
    profile = _profile(path)
    columns = _columns(path, profile.who, ("tokens", "time_us"), ("layer",))
    _check(profile.who, columns, "time_us")
    s, parts = profile.sizes, profile.parts
    heads, kv_heads, width = s.heads / parts, max(1.0, s.kv_heads / parts), s.width / parts
    queries, keys = heads * s.head_dim, kv_heads * s.head_dim
    products = {
        "qkv_proj": (queries + 2 * keys, s.hidden),
        "o_proj": (s.hidden, queries),
        "gate_up_proj": (2 * width, s.hidden),
        "down_proj": (s.hidden, width),
    }
    # the first norm of the one profiled layer adds no residual, the second one does: their mean is given
    moved = {
        "layernorm": 2 * 3 * s.hidden,
        "final_layernorm": 2 * 4 * s.hidden,
        "act_fn": 2 * 3 * width,
        "rotary_emb": 2 * 2 * (queries + keys),
        "qk_norm": 2 * 2 * (queries + keys),
    }
    reasons = {"embedding": "a gather, of a table that the cache holds"}
    return _layers(profile, columns["layer"], columns["tokens"], columns["time_us"], products, moved, reasons)


def _per_sequence(path: Path) -> KernelTable:
    """Layers over the last position of each sequence."""
    profile = _profile(path)
    columns = _columns(path, profile.who, ("sequences", "time_us"), ("layer",))
    _check(profile.who, columns, "time_us")
    products = {"lm_head": (profile.sizes.vocab / profile.parts, profile.sizes.hidden)}
    reasons = {"sampler": "several kernels"}
    return _layers(profile, columns["layer"], columns["sequences"], columns["time_us"], products, {}, reasons)


def _layers(
    profile: _Profile,
    layers: Array,
    tokens: Array,
    microseconds: Array,
    products: Mapping[str, tuple[float, float]],
    moved: Mapping[str, float],
    reasons: Mapping[str, str],
) -> KernelTable:
    left_out: Counter[str] = Counter()
    n, k, a_token = (np.zeros(len(tokens)) for _ in range(3))
    for layer in sorted(set(layers)):
        of_layer = layers == layer
        if profile.other or (layer not in products and layer not in moved):
            left_out[f"{layer}: {profile.other or reasons.get(layer, 'a layer that is not known')}"] += int(
                of_layer.sum()
            )
        elif layer in products:
            n[of_layer], k[of_layer] = products[layer]
        else:
            a_token[of_layer] = moved[layer]
    empty = tokens == 0
    if empty.any():
        left_out["no tokens"] += int(empty.sum())
    of_gemm, of_moving = (n > 0) & ~empty, (a_token > 0) & ~empty
    rows: list[KernelRows] = []
    if of_gemm.any():
        # all weights of the layer are read between two calls of one GEMM
        around = 2 * sum(rows_ * columns_ for rows_, columns_ in products.values())
        rows.append(
            gemm_rows(
                tokens[of_gemm],
                n[of_gemm],
                k[of_gemm],
                np.full(int(of_gemm.sum()), around),
                microseconds[of_gemm] * 1e-6,
            )
        )
    if of_moving.any():
        rows.append(moving_rows(tokens[of_moving], a_token[of_moving], microseconds[of_moving] * 1e-6))
    return KernelTable(file=profile.file, rows=tuple(rows), left_out=MappingProxyType(dict(left_out)))


def _attention(path: Path) -> KernelTable:
    """Calls of a batch of one prefill and of decode steps over keys of one length."""
    profile = _profile(path)
    names = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    columns = _columns(path, profile.who, names)
    _check(profile.who, columns, "time_us")
    chunk, before, steps, keys, time = (columns[name] for name in names)
    left_out: Counter[str] = Counter()
    used = np.ones(len(time), dtype=bool)
    for reason, meant in (
        (profile.other, np.full(len(time), bool(profile.other))),
        ("a prefill and decode steps in one call", (chunk > 0) & (steps > 0)),
        ("no tokens", (chunk == 0) & ((steps == 0) | (keys == 0))),
    ):
        count = int((used & meant).sum())
        if count:
            left_out[f"attention: {reason}"] = count
        used &= ~meant
    s, parts = profile.sizes, profile.parts
    heads, kv_heads = s.heads / parts, max(1.0, s.kv_heads / parts)
    rows = []
    for name, chosen in (
        (classes.CONTEXT_ATTENTION, used & (chunk > 0)),
        (classes.GENERATION_ATTENTION, used & (chunk == 0)),
    ):
        if not chosen.any():
            continue
        prefill = name == classes.CONTEXT_ATTENTION
        ones = np.ones(int(chosen.sum()))
        rows.append(
            attention_rows(
                name,
                batch=ones if prefill else steps[chosen],
                heads=ones * heads,
                kv_heads=ones * kv_heads,
                head_dim=ones * s.head_dim,
                length=chunk[chosen] if prefill else keys[chosen],
                seconds=time[chosen] * 1e-6,
                before=before[chosen] if prefill else None,
            )
        )
    return KernelTable(file=profile.file, rows=tuple(rows), left_out=MappingProxyType(dict(left_out)))


def _moe(path: Path) -> KernelTable:
    """The block of experts by tokens and experts that are hit."""
    profile = _profile(path)
    names = ("tokens", "activated_experts", "time_us")
    columns = _columns(path, profile.who, names)
    _check(profile.who, columns, "time_us")
    tokens, hit, time = (columns[name] for name in names)
    s = profile.sizes
    if profile.other:
        return KernelTable(file=profile.file, rows=(), left_out=MappingProxyType({f"moe: {profile.other}": len(time)}))
    if not s.experts:
        raise ModelMeterError(f"{profile.who}: its model has no experts, by modelmeter/calibration/kernel_profiles.py.")
    fewest = (tokens < 1) | (hit < s.chosen) | (hit > s.experts)
    if fewest.any():
        row = np.flatnonzero(fewest)[0]
        raise ModelMeterError(
            f"{profile.who}: {hit[row]:g} experts for {tokens[row]:g} tokens in row {row:,}; "
            f"{s.chosen} to {s.experts} are hit by a token or more."
        )
    ones = np.ones(len(time))
    rows = moe_rows(
        tokens=tokens,
        hidden=ones * s.hidden,
        width=ones * s.expert_width / profile.parts,
        chosen=ones * s.chosen,
        hit=hit,
        matrices=ones * 3,
        site=[ones * s.hidden, ones * s.expert_width, ones * s.chosen, ones * s.experts, ones * profile.parts],
        seconds=time * 1e-6,
    )
    return KernelTable(file=profile.file, rows=(rows,), left_out=MappingProxyType({}))


#: Vidur's pointwise kernels: the bytes that each moves a token, by (hidden size, width, whether gated, parts)
_VIDUR: Final[Mapping[str, Callable[[Array, Array, Array, Array], Array]]] = MappingProxyType(
    {
        "input_layernorm": lambda hidden, width, gated, parts: 2 * 2 * hidden,
        "add": lambda hidden, width, gated, parts: 2 * 3 * hidden,
        "mlp_act": lambda hidden, width, gated, parts: 2 * (2 + gated) * width / parts,
        "attn_rope": lambda hidden, width, gated, parts: 2 * 2 * 2 * hidden / parts,
    }
)
_REPLICATED: Final = ("input_layernorm", "add")


def _vidur(path: Path) -> KernelTable:
    """Pointwise kernels of a decoder's layer; keys have as many heads as queries in the profiled models."""
    file = "/".join(path.absolute().parts[-3:])
    who = f"profile {file}"
    times = tuple(f"time_stats.{name}.median" for name in _VIDUR)
    counts = ("num_tokens", "num_tensor_parallel_workers", "n_embd", "n_expanded_embd", "n_head", "n_kv_head")
    columns = _columns(path, who, (*counts, *times), ("use_gated_mlp",))
    _check(who, {name: columns[name] for name in counts}, "")
    gated = columns["use_gated_mlp"] == "true"
    tokens, parts, hidden, width, heads, kv_heads = (columns[name] for name in counts)
    left_out: Counter[str] = Counter()
    rows = []
    for (name, bytes_of), time in zip(_VIDUR.items(), times, strict=True):
        used = np.ones(len(tokens), dtype=bool)
        for reason, meant in (
            ("not measured", np.isnan(columns[time])),
            ("shorter than the resolution of 1 us", columns[time] == 0),
            ("the same as in one part", (parts > 1) if name in _REPLICATED else np.zeros(len(tokens), dtype=bool)),
            ("fewer KV heads than heads", (heads != kv_heads) & (name == "attn_rope")),
        ):
            count = int((used & meant).sum())
            if count:
                left_out[f"{name}: {reason}"] = count
            used &= ~meant
        wrong = np.flatnonzero(used & ~(columns[time] > 0))
        if len(wrong):
            came = shown(float(columns[time][wrong[0]]))
            raise ModelMeterError(f"{who}: {time}={came} in row {wrong[0]:,} is no time; milliseconds above 0 are.")
        if used.any():
            a_token = bytes_of(hidden, width, gated, parts)
            rows.append(moving_rows(tokens[used], a_token[used], columns[time][used] * 1e-3))
    return KernelTable(file=file, rows=tuple(rows), left_out=MappingProxyType(dict(left_out)))


_READERS: Final[Mapping[str, Callable[[Path], KernelTable]]] = MappingProxyType(
    {
        "dense.csv": _dense,
        "per_sequence.csv": _per_sequence,
        "attention.csv": _attention,
        "moe.csv": _moe,
        "mlp.csv": _vidur,
    }
)
