"""Elements that a real module's call works through outside its GEMMs, by operator, with none left out silently.

This is what vector FLOPs are a multiple of, so it is the part of them that can be measured. An operator's elements:

- element by element, copies, gathers, resampling: those of its (first) output;
- a reduction, a softmax, a norm, an order: those of its input;
- a scatter by index, in place: those that it puts.

GEMMs and attention are tensor-core work and have their own counter (`flops`); views and `empty` work through
nothing. Each operator stands in `COUNTED_BY` or in `NOT_COUNTED`, whatever `flops` knows among them; any other raises.

    with torch.no_grad(), FusedAttention(), ElementCount(module) as elements:
        module(x)
    elements.by_operator["aten.add.Tensor"]

To admit an operator: add its name where its elements are those of the rule, or to the group of `NOT_COUNTED` whose
reason holds for it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from modelmeter.errors import ModelMeterError
from modelmeter.reference._dispatch import Instrument, Roots, operator_name, tensors


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _of_output(_args: tuple[Any, ...], result: Any) -> Tensor:
    return tensors(result)[0]


def _of_input(args: tuple[Any, ...], _result: Any) -> Tensor:
    return tensors(args)[0]


def _put(args: tuple[Any, ...], _result: Any) -> Tensor:
    return tensors(args[2])[0]  # the values of index_put_, the index of scatter_


def _brought(args: tuple[Any, ...], _result: Any) -> Tensor:
    return tensors(args[3])[0]  # the source of index_copy_


COUNTED_BY: Mapping[Callable[[tuple[Any, ...], Any], Tensor], frozenset[str]] = {
    _of_output: _names(
        # element by element
        "abs add add_ bitwise_and bitwise_not bitwise_or bucketize ceil clamp clamp_ clamp_min cos div div_ eq erf exp "
        "floor "
        "floor_divide ge gelu gt hardtanh le log logical_and logical_not logical_or lt maximum minimum mul mul_ "
        "native_dropout ne neg pow reciprocal relu relu_ remainder rsqrt rsub sigmoid silu sin sqrt sub sub_ tanh "
        "where "
        # made, filled, copied, converted
        "_to_copy arange cat clone constant_pad_nd copy copy_ expand_copy fill fill_ full full_like im2col linspace "
        "new_full new_ones new_zeros normal_ ones ones_like rand randn repeat roll scalar_tensor stack tril triu "
        "uniform_ zero_ zeros zeros_like "
        # moved by an index
        "embedding gather index index_put index_select masked_fill masked_fill_ masked_scatter masked_scatter_ scatter "
        "scatter_add slice_scatter "
        # resampled
        "_upsample_bicubic2d_aa _upsample_bilinear2d_aa upsample_bicubic2d upsample_bilinear2d upsample_linear1d "
        "upsample_nearest2d"
    ),
    _of_input: _names(
        "_log_softmax _safe_softmax _softmax all amax amin any argmax bincount cumsum histc max mean min "
        "native_group_norm native_layer_norm nonzero prod sort std sum topk var var_mean"
    ),
    _put: _names("index_put_ scatter_ scatter_add_"),
    _brought: _names("index_copy_"),
}
"""aten operators (without overload) by the tensor whose elements they work through."""

NOT_COUNTED: Mapping[str, frozenset[str]] = {
    "a GEMM or attention: tensor-core work": _names(
        "_grouped_mm _scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention "
        "_scaled_dot_product_flash_attention_for_cpu addmm addmv baddbmm bmm convolution dot mm mv vdot"
    ),
    "a view or an alias: no work": _names(
        "_reshape_alias _unsafe_view alias as_strided detach diagonal expand lift_fresh permute select slice split "
        "split_with_sizes squeeze t transpose unbind unfold unsafe_split unsqueeze view"
    ),
    "asks or checks one value": _names(
        "_assert_async _assert_scalar _local_scalar_dense equal is_nonzero item sym_numel sym_size"
    ),
    "allocates without writing": _names("empty empty_like empty_strided new_empty new_empty_strided"),
}
"""aten operators (without overload) without elements of their own, by the reason why."""

_TENSOR_OF = {name: tensor_of for tensor_of, names in COUNTED_BY.items() for name in names}
_UNCOUNTED = frozenset().union(*NOT_COUNTED.values())


class ElementCount(Instrument):
    """A mode that counts the elements of every operator, on every device unless one is named."""

    def __init__(self, roots: Roots = None, *, device: str | None = None) -> None:
        super().__init__(roots, device)
        self.by_operator: Counter[str] = Counter()
        """Elements by operator, such as "aten.add.Tensor"; only operators that have elements."""
        self.series: list[tuple[str, int]] = []
        """Every operator, views included, in order, and its elements, 0 where it has none."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        namespace, _, name = func._schema.name.partition("::")
        if namespace != "aten" or (name not in _TENSOR_OF and name not in _UNCOUNTED):
            raise ModelMeterError(
                f"elements: operator {func} (in module {self.path!r}) is neither counted nor listed as without "
                "elements; in modelmeter/reference/elements.py, add its name to COUNTED_BY or to NOT_COUNTED."
            )
        result = func(*args, **(kwargs or {}))
        elements = 0
        if name in _TENSOR_OF:
            tensor = _TENSOR_OF[name](args, result)
            if self.on_device(tensor):
                elements = tensor.numel()
                self.by_operator[operator_name(func)] += elements
        self.series.append((operator_name(func), elements))
        return result
