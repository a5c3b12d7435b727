"""Elements of operators small enough to count by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from modelmeter.errors import ModelMeterError
from modelmeter.reference.elements import COUNTED_BY, NOT_COUNTED, ElementCount
from modelmeter.reference.flops import ADDED_FORMULAS, FREE_OF_MULTIPLY_ADDS


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


A, ROWS, TABLE = meta(3, 5), meta(2, dtype=torch.int64), meta(7, 5)
OPERATORS = {  # one operator                              elements by operator, by hand
    "sum of two": (lambda: A + meta(3, 5), {"aten.add.Tensor": 15}),
    "broadcast": (lambda: A * meta(2, 1, 5), {"aten.mul.Tensor": 2 * 3 * 5}),
    "in place": (lambda: A.add_(meta(5)), {"aten.add_.Tensor": 15}),
    "to another type": (lambda: A.to(torch.bfloat16), {"aten._to_copy.default": 15}),
    "copy of a transpose": (lambda: A.t().contiguous(), {"aten.clone.default": 15}),
    "cat": (lambda: torch.cat([A, meta(1, 5)]), {"aten.cat.default": 20}),
    "padding": (lambda: nn.functional.pad(A, (0, 1)), {"aten.constant_pad_nd.default": 3 * 6}),
    "rows of a table": (lambda: TABLE[ROWS], {"aten.index.Tensor": 2 * 5}),
    "embedding": (lambda: nn.functional.embedding(ROWS, TABLE), {"aten.embedding.default": 2 * 5}),
    "rows written": (lambda: TABLE.index_put_((ROWS,), meta(2, 5)), {"aten.index_put_.default": 2 * 5}),
    "a number put": (
        lambda: TABLE.scatter_(0, meta(2, 3, dtype=torch.int64), 1.0),
        {"aten.scatter_.value": 2 * 3},
    ),
    "rows copied": (lambda: TABLE.index_copy_(0, ROWS, meta(2, 5)), {"aten.index_copy_.default": 2 * 5}),
    "under a mask": (
        lambda: A.masked_scatter_(meta(3, 5, dtype=torch.bool), meta(4)),
        {"aten.masked_scatter_.default": 15},
    ),
    "resized": (
        lambda: nn.functional.interpolate(meta(1, 2, 3), size=7, mode="linear"),
        {"aten.upsample_linear1d.default": 2 * 7},
    ),
    "sum over rows": (lambda: A.sum(0), {"aten.sum.dim_IntList": 15}),
    "mean": (lambda: A.mean(-1), {"aten.mean.dim": 15}),
    "the two largest": (lambda: A.topk(2), {"aten.topk.default": 15}),
    "order": (lambda: A.sort(), {"aten.sort.default": 15}),
    "softmax": (lambda: A.softmax(-1), {"aten._softmax.default": 15}),
    "layer norm": (lambda: nn.functional.layer_norm(A, (5,)), {"aten.native_layer_norm.default": 15}),
    "twice": (lambda: A.neg().neg(), {"aten.neg.default": 2 * 15}),
    "views": (lambda: A.view(15).view(5, 3).t().unsqueeze(0)[:, 1:], {}),
    "memory": (lambda: torch.empty_like(A), {}),
    "a product": (lambda: A @ meta(5, 4), {}),
    "a product with a bias": (lambda: nn.functional.linear(A, meta(4, 5), meta(4)), {}),
}


@pytest.mark.parametrize("call, elements", OPERATORS.values(), ids=OPERATORS)
def test_operators_by_hand(call: Callable[[], object], elements: dict[str, int]) -> None:
    with torch.no_grad(), ElementCount() as count:
        call()
    assert dict(count.by_operator) == elements


def test_an_operator_that_nobody_answers_for_is_refused() -> None:
    module = nn.Sequential(nn.Linear(5, 5), nn.Softplus()).to("meta")
    with (
        pytest.raises(
            ModelMeterError, match=r"aten\.softplus\.default \(in module '1'\) is neither counted nor listed"
        ),
        torch.no_grad(),
        ElementCount(module),
    ):
        module(A)


def test_a_named_device_leaves_the_others_out() -> None:
    for device, elements in {
        None: {"aten.arange.default": 3, "aten.index.Tensor": 15},
        "meta": {"aten.index.Tensor": 15},
    }.items():
        with torch.no_grad(), ElementCount(device=device) as count:
            A[torch.arange(3)]
        assert dict(count.by_operator) == elements


def test_each_operator_stands_once_and_exists() -> None:
    names = [name for group in (*COUNTED_BY.values(), *NOT_COUNTED.values()) for name in group]
    assert len(names) == len(set(names))
    assert not [name for name in names if not hasattr(torch.ops.aten, name)]


def test_whatever_the_flop_counter_knows_has_elements_or_a_reason() -> None:
    known = {name for group in (*COUNTED_BY.values(), *NOT_COUNTED.values()) for name in group}
    assert known >= FREE_OF_MULTIPLY_ADDS
    assert known >= {str(packet).removeprefix("aten.") for packet in ADDED_FORMULAS}
