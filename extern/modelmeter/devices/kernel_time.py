"""How long a kernel takes on a device, by its class: from FLOPs, bytes and sizes, and constants that a file gives.

The common form is t = overhead + max(c, m) + overlap x min(c, m), where c = FLOPs / (matmul x peak) and
m = bytes / (bandwidth x the memory's rate). `matmul` and `bandwidth` are the shares of the device's own figures that
kernels of the class reach; `overlap` is the part of the shorter one that does not run beside the longer one.

- gemm: the output is cut into tiles of `tile` to `LARGEST_TILE` rows and columns, and the sum into parts (`SPLITS`), as
  is quickest. Small tiles compute less of what they load: beside the largest's, a tile's rate is as s / (s +
  `tile_half`), s = rows x columns / (rows + columns). The multiprocessors that the last wave of tiles leaves idle cost
  `waves` of their time, a sum in parts `split_s` and its passes through memory. Where a benchmark repeats few weights,
  some lie in the L2 cache: `l2_share` of the cache holds them, and delivers them `l2_speed` times as fast as memory. A
  model's pass finds none.
- moe: an expert's rows are rounded up to tiles: of 16 rows up to `few` rows an expert, else of the power of two from
  `tile_least` to `tile` that holds them; activations that go through memory between the kernels of the block cost
  `activations` times their bytes beside it all. Experts whose width is no multiple of 16 take `misaligned` times as
  long.
- context_attention, encoder_attention: tiles of `tile_rows` queries (heads of 96 and less; `tile_rows_wide` beyond) by
  `tile_keys` keys, the GEMMs of each at `matmul` and its exponentials at `exponentials` of the vector peak; `chain`
  tiles of one query tile follow one another whatever else runs, and `waves` is the part of the last wave's idle
  multiprocessors that no other work fills. Widths of heads are rounded up to those that kernels exist for.
- generation_attention: `tile_s` for each sequence and KV head, over the multiprocessors; `key_s` for each key where
  every head has keys of its own, which kernels do not split, `grouped_key_s` where heads share them, and there
  `split_s` beyond 128 keys, for the sum of the parts.
- bias_attention: GEMMs, and beside them all bytes, the matrix of the bias among them, at `bytes_per_flop` of the
  vector peak, which is how fast multiprocessors load and store; no less than the memory needs for the bytes.
- convolution: `depth_s` for each of the terms that one output sums one after another, and its FLOPs, at `matmul`
  of the matrix units' peak or, where the channels fill none of them, at `vector` of the vector peak.
- elementwise, copy: overhead and the longer of two times: of the bytes that do not lie in the L2 cache (`HELD` of it)
  at the memory's rate, and of all bytes at `bytes_per_flop` of the vector peak. What a kernel of a pass reads was
  mostly written by the one before it, and lies in the cache.
- strided: overhead and the longer of the first of these and of elements / (`elements_per_flop` of the vector peak).
  Where each element is looked up by its indices, as many are put a second whatever the memory is.
- all_reduce, all_gather: over the link between devices (`collectives`).

Sizes and times are numbers, or numpy arrays of the same length: the formulas hold for both. Peaks are the device's
figures as published; no efficiency is applied twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from types import MappingProxyType
from typing import Any, Final

from modelmeter import kernel_classes as classes
from modelmeter.devices.arithmetic import larger_of, smaller_of
from modelmeter.devices.collectives import Link, all_gather_seconds, all_reduce_seconds
from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Choice, Kind, Maybe, Number, Record, Text, Whole

FITTED: Final = "fitted"
CARRIED: Final = "carried"
GIVEN: Final = "given"
ORIGINS: Final = (FITTED, CARRIED, GIVEN)

_SHARE: Final = Number(Fraction(1, 10**6), Fraction(1), "it is the share of the peak that is reached")
_PART: Final = Number(Fraction(0), Fraction(1))
_SECONDS: Final = Number(Fraction(0), Fraction(1))
_FACTOR: Final = Number(Fraction(0), Fraction(1000))
_TILE: Final = Whole(1, 1024)

_COMMON: Final[Mapping[str, Kind[Any]]] = {
    "overhead_s": _SECONDS,
    "matmul": _SHARE,
    "bandwidth": _SHARE,
    "overlap": _PART,
}
_MOVING: Final[Mapping[str, Kind[Any]]] = {
    "overhead_s": _SECONDS,
    "bandwidth": _SHARE,
    "bytes_per_flop": _FACTOR,
}
_SLOWER: Final = Number(Fraction(1), Fraction(1000))
_CACHED: Final[Mapping[str, Kind[Any]]] = {"l2_share": _PART, "l2_speed": _SLOWER}
_PREFILL: Final[Mapping[str, Kind[Any]]] = {
    "overhead_s": _SECONDS,
    "matmul": _SHARE,
    "exponentials": _SHARE,
    "bandwidth": _SHARE,
    "overlap": _PART,
    "chain": _FACTOR,
    "waves": _FACTOR,
    "tile_rows": _TILE,
    "tile_rows_wide": _TILE,
    "tile_keys": _TILE,
}
_RING: Final[Mapping[str, Kind[Any]]] = {
    "overhead_s": _SECONDS,
    "hop_s": _SECONDS,
    "short_bandwidth": _SHARE,
    "long_s": _SECONDS,
    "bandwidth": _SHARE,
}

#: the constants of each class, by name
CONSTANTS: Final[Mapping[str, Mapping[str, Kind[Any]]]] = MappingProxyType(
    {
        classes.GEMM: {
            **_COMMON,
            "tile": _TILE,
            "tile_half": _FACTOR,
            "waves": _PART,
            "split_s": _SECONDS,
            **_CACHED,
        },
        classes.MOE: {
            **_COMMON,
            "activations": _FACTOR,
            "misaligned": _SLOWER,
            "few": _TILE,
            "tile_least": _TILE,
            "tile": _TILE,
        },
        classes.CONTEXT_ATTENTION: _PREFILL,
        classes.ENCODER_ATTENTION: _PREFILL,
        classes.BIAS_ATTENTION: {"overhead_s": _SECONDS, "matmul": _SHARE, "bytes_per_flop": _FACTOR},
        classes.GENERATION_ATTENTION: {
            "overhead_s": _SECONDS,
            "bandwidth": _SHARE,
            "overlap": _PART,
            **_CACHED,
            "tile_s": _SECONDS,
            "key_s": _SECONDS,
            "grouped_key_s": _SECONDS,
            "split_s": _SECONDS,
        },
        classes.ELEMENTWISE: _MOVING,
        classes.COPY: _MOVING,
        classes.STRIDED: {"overhead_s": _SECONDS, "bandwidth": _SHARE, "elements_per_flop": _FACTOR},
        classes.CONVOLUTION: {"overhead_s": _SECONDS, "matmul": _SHARE, "vector": _SHARE, "depth_s": _SECONDS},
        classes.ALL_REDUCE: {"own_s": _SECONDS, "stage_s": _SECONDS, "own_bandwidth": _SHARE, **_RING},
        classes.ALL_GATHER: _RING,
    }
)
#: what a time needs of the device beside its peaks
NEEDS_PROCESSORS: Final = (
    classes.GEMM,
    classes.CONTEXT_ATTENTION,
    classes.ENCODER_ATTENTION,
    classes.GENERATION_ATTENTION,
)

#: widths of heads that fused attention has kernels for
HEAD_WIDTHS: Final = (64, 96, 128, 192, 256, 512)
#: sides of a GEMM's tiles, of which one is at most twice the other, and the largest tile
TILES: Final = (64, 128, 256)
LARGEST_TILE: Final = (128, 256)
#: of kernels of packed weights, which are made for steps of a few sequences
FEW_ROWS_TILES: Final = ((16, 64), (16, 128), (32, 64), (32, 128))
#: parts that a GEMM's sum is cut into
SPLITS: Final = (1, 2, 4, 8)
#: rows of the tiles of experts with few rows
FEWEST_ROWS: Final = 16
#: of what a benchmark goes round, the power of the part that fits into the cache that is found there: the rest pushes
#: it out (of 1, 2 and 3 this is nearest to decode attention on all fitted devices)
CROWDED: Final = 3
#: of the L2 cache, what holds operands of pointwise kernels: from the profiles of RTX 4090 and RTX PRO 6000, whose
#: caches are large enough to show it; 0.3 to 0.5 fit as well
HELD: Final = 0.4
#: features of an expert that its matrices' rows are loaded whole with, 32 bytes
ALIGNED_WIDTH: Final = 16
#: input channels of a convolution that the matrix units take
ALIGNED_CHANNELS: Final = 8
#: keys from which a decode step of grouped heads is split
SPLIT_KEYS: Final = 128


@dataclass(frozen=True, kw_only=True)
class Errors:
    """|predicted / measured - 1| over rows that no fit has seen: their number, the median and the 90th percentile."""

    rows: int
    median: float
    p90: float


@dataclass(frozen=True, kw_only=True)
class KernelConstants:
    """What a class of kernels reaches on a device. values: by the names of `CONSTANTS`, shares and seconds.

    origin: "fitted", "carried" over from other devices, or "given" by the user. source: what it was fitted on.
    errors: on rows that were held out, or, of carried ones, of devices that were left out; None: not known.
    """

    values: Mapping[str, float]
    origin: str
    source: str
    fitted_rows: int
    errors: Errors | None


@dataclass(frozen=True, kw_only=True)
class DeviceRates:
    """What of a device times need: FLOPs and bytes a second as published, multiprocessors, bytes of the L2 cache.

    vector: FLOPs a second outside the matrix units. processors, l2_bytes: 0 where the device's file has none. link: to
    others of its kind; only collectives need one.
    """

    peak: float
    bandwidth: float
    vector: float
    processors: int
    l2_bytes: int
    link: Link | None = None


# -- times ----------------------------------------------------------------------------------------------------------
# Numbers or arrays: so the larger of two, a step and a rounding up are written in arithmetic.


def _tiles(size: Any, tile: float) -> Any:
    """How many tiles a size takes."""
    return -(-size // tile)


def overlapped(compute_s: Any, memory_s: Any, overlap: float) -> Any:
    """Seconds of two parts of which the shorter runs beside the longer one but for the part `overlap` of it."""
    return larger_of(compute_s, memory_s) + overlap * smaller_of(compute_s, memory_s)


def _from_memory(nbytes: Any, resident: Any, values: Mapping[str, float], rates: DeviceRates) -> Any:
    """Seconds to read `nbytes` of which a benchmark goes round `resident` bytes; 0: nothing lies in the cache."""
    fits = smaller_of(values["l2_share"] * rates.l2_bytes / (resident + (resident == 0)), 1.0)
    held = fits**CROWDED * (resident > 0)
    return nbytes * (1 - held + held / values["l2_speed"]) / (values["bandwidth"] * rates.bandwidth)


def gemm_seconds(
    values: Mapping[str, float],
    rates: DeviceRates,
    *,
    rows: Any,
    flops: Any,
    nbytes: Any,
    columns: Any = None,
    batch: Any = 1,
    resident: Any = 0,
    few_rows: bool = False,
) -> Any:
    """A GEMM of `rows` rows by a weight of `columns` columns, or `batch` of them at once.

    columns: None where only its FLOPs are known, and the weight is taken to be square. resident: bytes of weights that
    a benchmark goes round; 0 where all weights stream, as in a model. few_rows: its kernels have tiles of few rows too,
    as those of packed weights have.
    """
    if columns is None:
        columns = (flops / (2 * batch * rows)) ** 0.5
    per_row_and_column = flops / (rows * columns)  # 2 x depth x batch
    a_second = values["matmul"] * rates.peak / rates.processors
    compute: Any = None
    for tile_rows, tile_columns in (*_tile_sides(int(values["tile"])), *(FEW_ROWS_TILES if few_rows else ())):
        reached = _side(tile_rows, tile_columns, values) / _side(*LARGEST_TILE, values)
        tiles = batch * _tiles(rows, tile_rows) * _tiles(columns, tile_columns)
        a_tile = tile_rows * tile_columns * per_row_and_column / (batch * reached * a_second)
        for parts in SPLITS:
            even = tiles * parts / rates.processors
            waves = even + values["waves"] * (_tiles(even, 1) - even)
            seconds = waves * a_tile / parts
            if parts > 1:  # each part of the sum is written and read in float32
                seconds = seconds + values["split_s"] + 8 * parts * batch * rows * columns / rates.bandwidth
            compute = seconds if compute is None else smaller_of(compute, seconds)
    return values["overhead_s"] + overlapped(compute, _from_memory(nbytes, resident, values, rates), values["overlap"])


def _tile_sides(least: int) -> list[tuple[int, int]]:
    """Rows and columns of the tiles that a GEMM may be cut into."""
    sides = [side for side in TILES if side >= least]
    return [
        (rows, columns)
        for rows, columns in product(sides, sides)
        if rows <= 2 * columns and columns <= 2 * rows and rows * columns <= LARGEST_TILE[0] * LARGEST_TILE[1]
    ]


def _side(rows: int, columns: int, values: Mapping[str, float]) -> float:
    """What part of its loads a tile computes on, by the size of its sides."""
    side = rows * columns / (rows + columns)
    return side / (side + values["tile_half"])


def moe_seconds(
    values: Mapping[str, float],
    rates: DeviceRates,
    *,
    flops: Any,
    weight_bytes: Any,
    activation_bytes: Any,
    rows_an_expert: Any,
    misaligned: Any = 0,
    of_a_block: Any = 1,
) -> Any:
    """The fused block of router, sorting, both grouped GEMMs, activation and sum.

    rows_an_expert: of an expert that is hit. activation_bytes: what goes through memory between its kernels.
    misaligned: 1 where the experts' width is no multiple of `ALIGNED_WIDTH`.
    of_a_block: kernels of this kind that are a block; each pays its part of the overhead.
    """
    tile: Any = values["tile_least"]
    size = values["tile_least"]
    while size < values["tile"]:
        tile = tile + (rows_an_expert > size) * size
        size *= 2
    tile = tile + (rows_an_expert <= values["few"]) * (FEWEST_ROWS - tile)
    padded = _tiles(rows_an_expert, tile) * tile / rows_an_expert
    compute = flops * padded / (values["matmul"] * rates.peak)
    memory = weight_bytes / (values["bandwidth"] * rates.bandwidth)
    between = values["activations"] * activation_bytes / rates.bandwidth
    slower = 1 + misaligned * (values["misaligned"] - 1)
    return values["overhead_s"] / of_a_block + slower * overlapped(compute, memory, values["overlap"]) + between


def prefill_attention_seconds(
    values: Mapping[str, float],
    rates: DeviceRates,
    *,
    batch: Any,
    heads: Any,
    kv_heads: Any,
    length: Any,
    head_dim: Any,
    causal: bool,
    before: Any = 0,
) -> Any:
    """Fused attention of `length` queries over as many keys and those `before`, in bfloat16.

    Of causal tiles those on the diagonal are computed too.
    """
    wide = head_dim > HEAD_WIDTHS[1]
    rows = values["tile_rows"] + (values["tile_rows_wide"] - values["tile_rows"]) * wide
    keys = values["tile_keys"]
    width: Any = HEAD_WIDTHS[0]
    for smaller, larger in pairwise(HEAD_WIDTHS):
        width = width + (head_dim > smaller) * (larger - smaller)
    query_tiles, key_tiles = _tiles(length, rows), _tiles(before + length, keys)
    blocks = batch * heads * query_tiles
    seen = smaller_of(before / keys + (query_tiles + 1) / 2 * rows / keys, key_tiles) if causal else key_tiles
    filled = _tiles(blocks, rates.processors) * rates.processors / blocks - 1
    load = blocks * seen / rates.processors * (1 + values["waves"] * filled) + values["chain"] * key_tiles
    products = 4 * rows * keys * width * rates.processors / (values["matmul"] * rates.peak)
    exponentials = rows * keys * rates.processors / (values["exponentials"] * rates.vector)
    nbytes = 4 * batch * (heads * length + kv_heads * (before + length)) * head_dim
    memory = nbytes / (values["bandwidth"] * rates.bandwidth)
    return values["overhead_s"] + overlapped(load * (products + exponentials), memory, values["overlap"])


def generation_attention_seconds(
    values: Mapping[str, float],
    rates: DeviceRates,
    *,
    batch: Any,
    heads: Any,
    kv_heads: Any,
    keys: Any,
    head_dim: Any,
    resident: Any = 0,
) -> Any:
    """One query a sequence over `keys` keys, in bfloat16. resident: as of `gemm_seconds`, bytes of the cache."""
    nbytes = 4 * batch * (heads + kv_heads * keys) * head_dim
    own = heads == kv_heads
    grouped = 1 - own * 1
    a_key = values["grouped_key_s"] + own * (values["key_s"] - values["grouped_key_s"])
    work = values["tile_s"] * batch * kv_heads / rates.processors + a_key * keys * head_dim / 128
    return (
        values["overhead_s"]
        + values["split_s"] * grouped * (keys > SPLIT_KEYS)
        + overlapped(work, _from_memory(nbytes, resident, values, rates), values["overlap"])
    )


def bias_attention_seconds(values: Mapping[str, float], rates: DeviceRates, *, flops: Any, nbytes: Any) -> Any:
    """Attention whose scores have a matrix added; nbytes: with that matrix."""
    products = flops / (values["matmul"] * rates.peak)
    moved = nbytes / (values["bytes_per_flop"] * rates.vector)
    return values["overhead_s"] + larger_of(products + moved, nbytes / rates.bandwidth)


def convolution_seconds(
    values: Mapping[str, float], rates: DeviceRates, *, flops: Any, nbytes: Any, channels: Any, depth: Any
) -> Any:
    """A convolution of `channels` input channels; depth: terms that one output sums, channels x window."""
    aligned = (channels % ALIGNED_CHANNELS == 0) * 1.0
    rate = aligned * values["matmul"] * rates.peak + (1 - aligned) * values["vector"] * rates.vector
    work = larger_of(flops / rate, nbytes / rates.bandwidth)
    return values["overhead_s"] + values["depth_s"] * depth + work


def moving_seconds(values: Mapping[str, float], rates: DeviceRates, *, nbytes: Any, cached: Any = 1) -> Any:
    """A chain of pointwise operators and reductions, or a copy: nothing but its bytes counts.

    cached: 0 where a benchmark reads every operand from memory, 1 where others have just written it, as in a pass.
    """
    within = nbytes / (values["bytes_per_flop"] * rates.vector)
    return values["overhead_s"] + larger_of(_beyond_cache(nbytes, cached, values, rates), within)


def strided_seconds(
    values: Mapping[str, float], rates: DeviceRates, *, nbytes: Any, elements: Any, cached: Any = 1
) -> Any:
    """A copy into another order of memory, padding, or a pointwise operator of which an operand is broadcast.

    cached: as of `moving_seconds`.
    """
    within = elements / (values["elements_per_flop"] * rates.vector)
    return values["overhead_s"] + larger_of(_beyond_cache(nbytes, cached, values, rates), within)


def _over_link(law: Callable[..., Any]) -> Callable[..., Any]:
    """The time of a collective, as of the other classes from a device's rates; its link must be known."""

    def seconds(values: Mapping[str, float], rates: DeviceRates, **sizes: Any) -> Any:
        assert rates.link is not None
        return law(values, rates.link, **sizes)

    return seconds


def _beyond_cache(nbytes: Any, cached: Any, values: Mapping[str, float], rates: DeviceRates) -> Any:
    """Seconds of the bytes that do not lie in the L2 cache, of a kernel that reads what others have written."""
    held = cached * smaller_of(HELD * rates.l2_bytes, nbytes)
    return (nbytes - held) / (values["bandwidth"] * rates.bandwidth)


# -- reading --------------------------------------------------------------------------------------------------------

_WORDS: Final = Text(2000, least=1)
_ERRORS: Final = Record(
    {
        "rows": Whole(0, 10**9),
        "median": Number(Fraction(0), Fraction(10**6)),
        "p90": Number(Fraction(0), Fraction(10**6)),
    },
    "the errors of kernels",
)
_ABOUT: Final[Mapping[str, Kind[Any]]] = {
    "origin": Choice(ORIGINS),
    "source": _WORDS,
    "fitted_rows": Maybe(Whole(1, 10**9)),
    "errors": Maybe(_ERRORS),
}
#: what a device's file may have under `kernels`
KERNELS: Final = Record(
    {
        name: Maybe(
            Record({**constants, **_ABOUT}, f"the constants of {name}", missing="a class has all of its constants")
        )
        for name, constants in CONSTANTS.items()
    },
    "kernels, whose names are classes of kernels",
)


def read_kernels(content: Mapping[str, Any]) -> Mapping[str, KernelConstants]:
    """The constants of each class that a file has, from what `KERNELS` has read."""
    found = {}
    for name, given in content.items():
        if given is None:
            continue
        errors = given["errors"]
        found[name] = KernelConstants(
            values=MappingProxyType({key: float(given[key]) for key in CONSTANTS[name]}),
            origin=given["origin"],
            source=given["source"],
            fitted_rows=given["fitted_rows"] or 0,
            errors=errors and Errors(rows=errors["rows"], median=float(errors["median"]), p90=float(errors["p90"])),
        )
    return MappingProxyType(found)


def check_processors(who: str, kernels: Mapping[str, KernelConstants], processors: int | None) -> None:
    """Raise `ModelMeterError` where constants of attention are given, and no number of multiprocessors."""
    needing = [name for name in kernels if name in NEEDS_PROCESSORS]
    if needing and processors is None:
        raise ModelMeterError(
            f"{who}: kernels.{needing[0]} needs the number of multiprocessors; add multiprocessors with its source."
        )


#: the time of each class
SECONDS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        classes.GEMM: gemm_seconds,
        classes.MOE: moe_seconds,
        classes.CONTEXT_ATTENTION: prefill_attention_seconds,
        classes.ENCODER_ATTENTION: prefill_attention_seconds,
        classes.BIAS_ATTENTION: bias_attention_seconds,
        classes.GENERATION_ATTENTION: generation_attention_seconds,
        classes.ELEMENTWISE: moving_seconds,
        classes.COPY: moving_seconds,
        classes.STRIDED: strided_seconds,
        classes.CONVOLUTION: convolution_seconds,
        classes.ALL_REDUCE: _over_link(all_reduce_seconds),
        classes.ALL_GATHER: _over_link(all_gather_seconds),
    }
)
