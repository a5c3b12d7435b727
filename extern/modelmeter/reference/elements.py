"""Elements that a real module's call works through outside its products, by operator, with none left out silently.

This is what CUDA-core FLOPs are a multiple of, so it is the part of them that can be measured. An operator's elements:

- element by element, copies, gathers, resampling: those of its (first) output;
- a reduction, a softmax, a norm, an order: those of its input;
- a scatter by index, in place: those that it puts.

Products and attention are tensor-core work and have their own counter (`flops`); views and `empty` work through
nothing. Each operator stands in `COUNTED_BY` or in `NOT_COUNTED`; any other raises.

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


COUNTED_BY: Mapping[Callable[[tuple[Any, ...], Any], Tensor], frozenset[str]] = {
    _of_output: _names(
        # element by element
        "abs add add_ bitwise_and bitwise_not bitwise_or cos div eq erf exp floor_divide ge gelu gt le log lt maximum "
        "minimum mul mul_ ne neg pow reciprocal relu rsqrt sigmoid silu sin sqrt sub tanh where "
        # made, filled, copied, converted
        "_to_copy arange cat clone constant_pad_nd copy_ fill_ full im2col new_ones new_zeros ones scalar_tensor "
        "stack zero_ zeros zeros_like "
        # moved by an index
        "embedding gather index index_select masked_fill masked_fill_ masked_scatter masked_scatter_ "
        # resampled
        "_upsample_bicubic2d_aa upsample_bicubic2d upsample_linear1d"
    ),
    _of_input: _names(
        "_log_softmax _softmax all amax any argmax cumsum histc max mean min native_layer_norm sort sum topk"
    ),
    _put: _names("index_put_ scatter_"),
}
"""aten operators (without overload) by the tensor whose elements they work through."""

NOT_COUNTED: Mapping[str, frozenset[str]] = {
    "a product or attention: tensor-core work": _names(
        "_grouped_mm _scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention addmm baddbmm bmm "
        "convolution mm"
    ),
    "a view or an alias: no work": _names(
        "_unsafe_view alias as_strided detach expand permute select slice split split_with_sizes squeeze t transpose "
        "unbind unsqueeze view"
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
        if name in _TENSOR_OF:
            tensor = _TENSOR_OF[name](args, result)
            if self.on_device(tensor):
                self.by_operator[operator_name(func)] += tensor.numel()
        return result
