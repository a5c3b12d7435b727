"""Rows of measured kernels: what constants are fitted on and judged by, whatever layout they were read from.

The split. A row's site is what does not change from call to call of one layer: (n, k) of a GEMM; heads, KV heads,
width and keys of an attention; hidden size, width, choices, experts and parts of an expert layer. Of pointwise kernels,
whose time depends on no shape, and of which few layers are published, it is bytes a token and tokens. A site is held
out of every fit where the CRC-32 of its numbers, written in decimal with commas between, is odd.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelmeter import kernel_classes as classes
from modelmeter.devices.kernel_time import ALIGNED_WIDTH
from modelmeter.errors import ModelMeterError
from modelmeter.kernels import moved_by_a_block

#: sizes of the GEMMs of models for OCR: rows at most, and features
OCR_ROWS: Final = 8192
OCR_FEATURES: Final = (768, 6144)
#: what a benchmark goes round that reads every operand from memory: no cache holds any of it
NOWHERE: Final = float("inf")
#: a row is cold where what it goes round is this many times the L2 cache
COLD: Final = 2

Array = Any


@dataclass(frozen=True, kw_only=True)
class KernelRows:
    """Rows of one class, an array of each: seconds measured, the arguments of the class's time, and what tells them.

    resident: bytes of weights that a GEMM's benchmark goes round, of a decode step its KV cache; else 0; of all
    classes `NOWHERE` where every operand comes from memory.
    """

    kernel_class: str
    seconds: Array
    sizes: Mapping[str, Array]
    resident: Array
    held_out: Array
    ocr: Array

    def where(self, chosen: Array) -> KernelRows:
        """The rows for which `chosen` is true."""
        return KernelRows(
            kernel_class=self.kernel_class,
            seconds=self.seconds[chosen],
            sizes={name: values[chosen] for name, values in self.sizes.items()},
            resident=self.resident[chosen],
            held_out=self.held_out[chosen],
            ocr=self.ocr[chosen],
        )

    def cold(self, l2_bytes: int) -> Array:
        """Whether what the benchmark goes round is beyond the L2 cache."""
        return self.resident > COLD * l2_bytes


@dataclass(frozen=True, kw_only=True)
class KernelTable:
    """A file: its rows by class, and how many others there are, by class and reason."""

    file: str
    rows: tuple[KernelRows, ...]
    left_out: Mapping[str, int]


# -- rows of each class ---------------------------------------------------------------------------------------------
# Sizes are arrays of one length, types bfloat16.


def gemm_rows(m: Array, n: Array, k: Array, resident: Array, seconds: Array) -> KernelRows:
    """GEMMs of m rows by weights [n, k]; resident: bytes of weights that the benchmark goes round."""
    ocr = m <= OCR_ROWS
    for features in (n, k):
        ocr &= (features >= OCR_FEATURES[0]) & (features <= OCR_FEATURES[1])
    return KernelRows(
        kernel_class=classes.GEMM,
        seconds=seconds,
        sizes={"rows": m, "columns": n, "flops": 2 * m * n * k, "nbytes": 2 * (m * k + n * k + m * n)},
        resident=resident,
        held_out=_held_out([n, k]),
        ocr=ocr,
    )


def moe_rows(
    *,
    tokens: Array,
    hidden: Array,
    width: Array,
    chosen: Array,
    hit: Array,
    matrices: Array,
    site: Sequence[Array],
    seconds: Array,
) -> KernelRows:
    """Blocks of experts of a width, `chosen` a token, `hit` of them by any; matrices: 3 of an expert with a gate."""
    weights = 2 * matrices * hit * hidden * width
    return KernelRows(
        kernel_class=classes.MOE,
        seconds=seconds,
        sizes={
            "flops": 2 * matrices * tokens * chosen * hidden * width,
            "weight_bytes": weights,
            "activation_bytes": 2 * moved_by_a_block(tokens, tokens * chosen, hidden, width, matrices),
            "rows_an_expert": tokens * chosen / hit,
            "of_a_block": np.ones(len(tokens)),
            "misaligned": (width % ALIGNED_WIDTH != 0) * 1.0,
        },
        resident=weights,
        held_out=_held_out(site),
        ocr=np.zeros(len(tokens), dtype=bool),
    )


def attention_rows(
    kernel_class: str,
    *,
    batch: Array,
    heads: Array,
    kv_heads: Array,
    head_dim: Array,
    length: Array,
    seconds: Array,
    before: Array | None = None,
    resident: Array | None = None,
) -> KernelRows:
    """Fused attention; length: queries of a prefill or an encoder, keys of a decode step. before: keys
    that a prefill finds. resident: None: of a decode step its keys and values, else none.
    """
    sizes = {"batch": batch, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    held = np.zeros(len(batch))
    if kernel_class == classes.GENERATION_ATTENTION:
        sizes["keys"] = length
        held = 4 * batch * kv_heads * length * head_dim
    else:
        sizes["length"] = length
    if kernel_class == classes.CONTEXT_ATTENTION:
        sizes["before"] = np.zeros(len(batch)) if before is None else before
    return KernelRows(
        kernel_class=kernel_class,
        seconds=seconds,
        sizes=sizes,
        resident=held if resident is None else resident,
        held_out=_held_out([heads, kv_heads, head_dim, length]),
        ocr=np.zeros(len(batch), dtype=bool),
    )


def moving_rows(tokens: Array, bytes_a_token: Array, seconds: Array) -> KernelRows:
    """Pointwise kernels over tokens, by the bytes that they read and write."""
    return KernelRows(
        kernel_class=classes.ELEMENTWISE,
        seconds=seconds,
        sizes={"nbytes": tokens * bytes_a_token},
        resident=np.zeros(len(tokens)),
        held_out=_held_out([bytes_a_token, tokens]),
        ocr=np.zeros(len(tokens), dtype=bool),
    )


def shape_rows(kernel_class: str, *, sizes: Mapping[str, Array], site: Sequence[Array], seconds: Array) -> KernelRows:
    """Rows whose operands come from memory, by the arguments of their class's time; site: of each row, as columns."""
    count = len(seconds)
    return KernelRows(
        kernel_class=kernel_class,
        seconds=seconds,
        sizes=sizes,
        resident=np.full(count, NOWHERE),
        held_out=_held_out(site),
        ocr=np.zeros(count, dtype=bool),
    )


def _held_out(columns: Sequence[Array]) -> Array:
    """Whether each row's site is kept from every fit."""
    if not len(columns[0]):
        return np.zeros(0, dtype=bool)
    sites, of_row = np.unique(np.stack(columns, axis=1).astype(np.int64), axis=0, return_inverse=True)
    odd = [zlib.crc32(",".join(map(str, site)).encode()) % 2 == 1 for site in sites.tolist()]
    return np.array(odd)[of_row.reshape(-1)]


# -- tables together ------------------------------------------------------------------------------------------------


def pooled(tables: Sequence[KernelTable]) -> dict[str, KernelRows]:
    """The rows of all tables by class, those of all engines together; classes without a row are left out."""
    found: dict[str, KernelRows] = {}
    for name in classes.CLASSES:
        rows = [each for table in tables for each in table.rows if each.kernel_class == name and len(each.seconds)]
        if rows:
            found[name] = KernelRows(
                kernel_class=name,
                seconds=np.concatenate([each.seconds for each in rows]),
                sizes={key: np.concatenate([each.sizes[key] for each in rows]) for key in rows[0].sizes},
                resident=np.concatenate([each.resident for each in rows]),
                held_out=np.concatenate([each.held_out for each in rows]),
                ocr=np.concatenate([each.ocr for each in rows]),
            )
    return found


def all_left_out(tables: Sequence[KernelTable]) -> dict[str, int]:
    """How many rows of all tables are left out, by class and reason."""
    counts: Counter[str] = Counter()
    for table in tables:
        counts.update(table.left_out)
    return dict(counts)


def none_usable(who: str, left_out: Mapping[str, int]) -> ModelMeterError:
    """The refusal of tables without a row that can be taken."""
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    return ModelMeterError(f"{who}: none of the tables' rows is usable; left out: {reasons}.")
