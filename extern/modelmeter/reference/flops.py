"""FLOPs of a real module's call, by submodule, with nothing left out silently.

A multiply-add is 2 FLOPs. PyTorch's `FlopCounterMode` counts the GEMMs, convolutions and
attention; an operator that it has no formula for counts zero there, without a word. Here every operator must
be counted, or stand on `FREE_OF_MULTIPLY_ADDS` with a reason; any other raises.

Formulas added to PyTorch's: the grouped GEMM of experts, matrix-vector and dot products, and the CPU's
fused attention kernel (all of which it leaves at zero). Causal attention is not halved.

    count = measure_flops(module, lambda: module(x))
    count.total                          # FLOPs
    count.by_module["layers.0.mlp"]      # FLOPs, everything below it included

To admit an operator without GEMMs: add its name to the group in `FREE` whose reason holds for it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from modelmeter.errors import ModelMeterError
from modelmeter.reference._dispatch import Instrument, Roots, enclosing_paths, operator_name
from modelmeter.reference.grouped_mm import grouped_mm_flop

aten = torch.ops.aten


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FREE: Mapping[str, frozenset[str]] = {
    "a view or an alias: no arithmetic": _names(
        "_reshape_alias _unsafe_view alias as_strided detach diagonal expand permute select slice split "
        "split_with_sizes squeeze t transpose unbind unfold unsqueeze unsafe_split view"
    ),
    "makes, fills, copies or converts: no arithmetic": _names(
        "_to_copy arange cat clone constant_pad_nd im2col copy copy_ empty empty_like empty_strided expand_copy "
        "fill fill_ full full_like lift_fresh linspace new_empty new_empty_strided new_full new_ones "
        "new_zeros ones ones_like rand randn repeat roll scalar_tensor stack zero_ zeros zeros_like normal_ "
        "uniform_"
    ),
    "moves by an index: no arithmetic": _names(
        "embedding gather index index_copy_ index_put index_put_ index_select masked_fill masked_fill_ "
        "masked_scatter masked_scatter_ nonzero scatter scatter_ scatter_add scatter_add_ slice_scatter "
        "tril triu where"
    ),
    "element by element: vector work, no GEMM": _names(
        "abs add add_ bitwise_and bitwise_not bitwise_or bucketize ceil clamp clamp_ clamp_min cos div div_ "
        "eq erf exp floor floor_divide ge gelu gt hardtanh le log logical_and logical_not logical_or lt "
        "maximum minimum mul mul_ native_dropout ne neg pow reciprocal relu relu_ remainder rsqrt rsub "
        "sigmoid silu sin sqrt sub sub_ tanh"
    ),
    "a norm, a softmax or a reduction: vector work, a fixed number of operations an element": _names(
        "_log_softmax _safe_softmax _softmax all amax amin any argmax bincount cumsum histc max mean min "
        "native_group_norm native_layer_norm prod sort std sum topk var var_mean"
    ),
    "resamples a table to another size: a few weighted neighbours an element, vector work": _names(
        "_upsample_bicubic2d_aa _upsample_bilinear2d_aa upsample_bicubic2d upsample_bilinear2d "
        "upsample_linear1d upsample_nearest2d"
    ),
    "asks or checks: no arithmetic": _names(
        "_assert_async _assert_scalar _local_scalar_dense equal is_nonzero item sym_numel sym_size"
    ),
}
"""aten operators (without overload) that no GEMM hides in, by the reason why."""

FREE_OF_MULTIPLY_ADDS: frozenset[str] = frozenset().union(*FREE.values())
"""Every operator of `FREE`: seen, and rightly counted as 0 tensor-core FLOPs."""


def _matrix_vector(matrix_shape: Any, _vector_shape: Any, *_args: Any, **_kwargs: Any) -> int:
    rows, columns = matrix_shape
    return 2 * int(rows) * int(columns)


def _added_matrix_vector(_bias_shape: Any, matrix_shape: Any, *_args: Any, **_kwargs: Any) -> int:
    return _matrix_vector(matrix_shape, None)


def _dot(left_shape: Any, *_args: Any, **_kwargs: Any) -> int:
    return 2 * int(left_shape[0])


def _cpu_attention(query_shape: Any, key_shape: Any, value_shape: Any, *_args: Any, **_kwargs: Any) -> int:
    return int(sdpa_flop_count(query_shape, key_shape, value_shape))


ADDED_FORMULAS: Mapping[Any, Callable[..., int]] = {
    aten._grouped_mm: grouped_mm_flop,
    aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    aten.addmv: _added_matrix_vector,
    aten.dot: _dot,
    aten.mv: _matrix_vector,
    aten.vdot: _dot,
}
"""Operators that PyTorch's counter leaves at zero, with their FLOPs from the shapes of their arguments."""


@dataclass(frozen=True, kw_only=True)
class OperatorFlops:
    """One operator with multiply-adds that ran."""

    operator: str
    """Its name, such as "aten.addmm.default"."""
    path: str
    """Dotted path of the module in which it ran."""
    run: int
    """Which run of the outermost submodule that was: see `Instrument.run`."""
    flops: int
    """Its FLOPs."""


@dataclass(frozen=True, kw_only=True)
class FlopCount:
    """FLOPs of one call (multiply-add = 2)."""

    total: int
    """FLOPs of the whole call."""
    by_module: Mapping[str, int]
    """FLOPs by dotted module path, submodules included; "" is the whole. A module without GEMMs has 0."""
    own_by_module: Mapping[str, int]
    """FLOPs by dotted module path of the operators that ran in that module itself, submodules excluded."""
    by_operator: Mapping[str, int]
    """FLOPs by aten operator, such as "aten.addmm"."""
    operators: Sequence[OperatorFlops]
    """Every operator with multiply-adds, in the order in which they ran."""


class _Attribution(Instrument):
    """Has FlopCounterMode, entered before it, count each operator; notes where; refuses an unknown one."""

    def __init__(self, roots: Roots, counter: FlopCounterMode) -> None:
        super().__init__(roots)
        self._counter = counter
        self.operators: list[OperatorFlops] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = getattr(func, "_overloadpacket", func)
        if packet not in self._counter.flop_registry and not _is_free(func):
            with self:
                parts = func.decompose(*args, **kwargs) if hasattr(func, "decompose") else NotImplemented
            if parts is not NotImplemented:
                return parts
            raise ModelMeterError(
                f"flops: operator {func} (in module {self.path!r}) is neither counted nor listed as free of "
                "multiply-adds; in modelmeter/reference/flops.py, add its formula to ADDED_FORMULAS or its "
                "name to FREE."
            )
        before = int(self._counter.get_total_flops())
        result = func(*args, **kwargs)
        flops = int(self._counter.get_total_flops()) - before
        if flops:
            self.operators.append(
                OperatorFlops(operator=operator_name(func), path=self.path, run=self.run, flops=flops)
            )
        return result


def _is_free(func: Any) -> bool:
    namespace, _, name = func._schema.name.partition("::")
    return namespace == "prim" or (namespace == "aten" and name in FREE_OF_MULTIPLY_ADDS)


def measure_flops(roots: Roots, call: Callable[[], object]) -> FlopCount:
    """FLOPs (multiply-add = 2) of `call()`, run without gradients, by dotted path under `roots`.

    `roots` is the module whose call is measured, or several modules by the path that each is to have, as in
    `{"vision_tower": vision, "multi_modal_projector": projector}`. What runs outside of all counts to ""
    alone. An operator that nobody can answer for raises ModelMeterError with its name.
    """
    counter = FlopCounterMode(display=False, custom_mapping=dict(ADDED_FORMULAS))
    with torch.no_grad(), counter, _Attribution(roots, counter) as attribution:
        call()
    own: Counter[str] = Counter()
    for each in attribution.operators:
        own[each.path] += each.flops
    inclusive: Counter[str] = Counter(dict.fromkeys(["", *attribution.known_paths], 0))
    for path, flops in own.items():
        for enclosing in enclosing_paths(path):
            inclusive[enclosing] += flops
    return FlopCount(
        total=int(counter.get_total_flops()),
        by_module=dict(inclusive),
        own_by_module=dict(own),
        by_operator={str(packet): int(flops) for packet, flops in counter.flop_counts["Global"].items()},
        operators=attribution.operators,
    )
