"""Bytes moved by operators small enough to check by hand; float32 is 4 bytes, an index 8."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from modelmeter.errors import ModelMeterError
from modelmeter.reference.traffic import Traffic, TrafficMeter, addressed_bytes

F32, I64, BF16 = 4, 8, 2


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


def indices(*shape: int) -> torch.Tensor:
    return meta(*shape, dtype=torch.int64)


A, ROWS, TABLE = meta(3, 5), indices(2), meta(7, 5)
OPERATORS = {  # one operator                                    read, written, by hand
    "sum of two": (lambda: A + meta(3, 5), 2 * 15 * F32, 15 * F32),
    "with itself": (lambda: A + A, 15 * F32, 15 * F32),
    "two views of one": (lambda: A[:1] + A[1:2], 2 * 5 * F32, 5 * F32),
    "broadcast row": (lambda: A + meta(5), (15 + 5) * F32, 15 * F32),
    "stride 0": (lambda: meta(5).expand(3, 5) * 2, 5 * F32, 15 * F32),
    "a part": (lambda: A[1:, :2] * 2, 4 * F32, 4 * F32),
    "matrix": (lambda: A @ meta(5, 4), (15 + 20) * F32, 12 * F32),
    "view": (lambda: A.view(15).view(5, 3).t().unsqueeze(0), 0, 0),
    "unsafe view": (lambda: torch.ops.aten._unsafe_view(A, [15]), 0, 0),
    "split": (lambda: A.split(1), 0, 0),
    "copy of a transpose": (lambda: A.t().contiguous(), 15 * F32, 15 * F32),
    "to another type": (lambda: A.to(torch.bfloat16), 15 * F32, 15 * BF16),
    "to its own type": (lambda: A.to(torch.float32), 0, 0),
    "cat": (lambda: torch.cat([A, meta(1, 5)]), (15 + 5) * F32, 20 * F32),
    "empty": (lambda: (torch.empty_like(A), meta(9), A.new_empty(3)), 0, 0),
    "zeros": (lambda: torch.zeros(9, device="meta"), 0, 9 * F32),
    "in place": (lambda: A.add_(meta(3, 5)), 2 * 15 * F32, 15 * F32),
    "in place, a part": (lambda: A[0].mul_(2), 5 * F32, 5 * F32),
    "overwritten blindly": (lambda: A.copy_(meta(3, 5)), 15 * F32, 15 * F32),
    "filled": (lambda: A.zero_(), 0, 15 * F32),
    "out": (lambda: torch.add(A, A, out=meta(3, 5)), 15 * F32, 15 * F32),
    "embedding": (lambda: nn.functional.embedding(ROWS, TABLE), 2 * 5 * F32 + 2 * I64, 10 * F32),
    "index": (lambda: TABLE[ROWS], 2 * 5 * F32 + 2 * I64, 10 * F32),
    "index, rows twice": (lambda: meta(1, 5)[ROWS], 2 * 5 * F32 + 2 * I64, 10 * F32),
    "index_select": (lambda: TABLE.index_select(0, ROWS), 2 * 5 * F32 + 2 * I64, 10 * F32),
    "gather": (lambda: TABLE.gather(0, indices(2, 3)), 6 * F32 + 6 * I64, 6 * F32),
    "scatter rows": (lambda: TABLE.index_put_((ROWS,), meta(2, 5)), 10 * F32 + 2 * I64, 35 * F32),
    "scatter one value": (lambda: TABLE.index_put_((ROWS,), meta(1)), 1 * F32 + 2 * I64, 35 * F32),
    "accumulate": (
        lambda: TABLE.index_put_((ROWS,), meta(2, 5), accumulate=True),
        (35 + 10) * F32 + 2 * I64,
        35 * F32,
    ),
    "scatter_": (lambda: TABLE.scatter_(0, indices(2, 3), meta(2, 3)), 6 * F32 + 6 * I64, 35 * F32),
    "index_copy_": (lambda: TABLE.index_copy_(0, ROWS, meta(2, 5)), 10 * F32 + 2 * I64, 35 * F32),
    "two outputs": (lambda: A.topk(2), 15 * F32, 6 * F32 + 6 * I64),
}


@pytest.mark.parametrize("call, read, written", OPERATORS.values(), ids=OPERATORS)
def test_operators_by_hand(call: Callable[[], object], read: int, written: int) -> None:
    with torch.no_grad(), TrafficMeter() as traffic:
        call()
    assert (traffic.total.read_bytes, traffic.total.written_bytes) == (read, written)
    assert traffic.total.activation_bytes == traffic.total.total_bytes


@pytest.mark.parametrize("hit, read_experts", {None: 5, 1: 1, 3: 3}.items())
def test_a_grouped_product_reads_the_experts_that_are_hit(hit: int | None, read_experts: int) -> None:
    rows, weights = meta(6, 16, dtype=torch.bfloat16), meta(5, 16, 8, dtype=torch.bfloat16)
    offsets = meta(5, dtype=torch.int32)
    with torch.no_grad(), TrafficMeter(experts_hit=hit) as traffic:
        torch._grouped_mm(rows, weights, offs=offsets)
    assert traffic.total.read_bytes == BF16 * (6 * 16 + read_experts * 16 * 8) + 5 * 4
    assert traffic.total.written_bytes == BF16 * 6 * 8


@pytest.mark.parametrize("hit", [0, 6])
def test_experts_hit_must_fit_the_layer(hit: int) -> None:
    rows, weights = meta(6, 16, dtype=torch.bfloat16), meta(5, 16, 8, dtype=torch.bfloat16)
    with (
        pytest.raises(ModelMeterError, match=rf"experts_hit={hit}; expected 1 to 5"),
        torch.no_grad(),
        TrafficMeter(experts_hit=hit),
    ):
        torch._grouped_mm(rows, weights, offs=meta(5, dtype=torch.int32))


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(3, 5)

    def forward(self, x: torch.Tensor, cache: list[torch.Tensor]) -> torch.Tensor:
        cache[0] = torch.cat([cache[0], self.proj(x)])
        return cache[0].sum(0)


def test_weights_activations_and_cache_are_told_apart() -> None:
    module = Remembers().to("meta")
    cache = [meta(7, 5)]
    with torch.no_grad(), TrafficMeter(module, kv=cache) as traffic:
        module(meta(1, 3), cache)
    traffic.mark_kv(cache)
    projected = Traffic(
        read_bytes=F32 * (15 + 5 + 3),
        written_bytes=F32 * 5,
        weight_bytes=F32 * (15 + 5),
        activation_bytes=F32 * 8,
    )
    cat = Traffic(read_bytes=F32 * (35 + 5), written_bytes=F32 * 40, activation_bytes=F32 * 5, kv_bytes=F32 * (35 + 40))
    summed = Traffic(read_bytes=F32 * 40, written_bytes=F32 * 5, activation_bytes=F32 * 5, kv_bytes=F32 * 40)
    assert [row.traffic for row in traffic.operators] == [projected, cat, summed]
    assert traffic.by_module == {"": projected + cat + summed, "proj": projected}
    assert traffic.by_operator == {
        "aten.addmm.default": projected,
        "aten.cat.default": cat,
        "aten.sum.dim_IntList": summed,
    }
    total = traffic.total
    assert total == projected + cat + summed
    assert total.total_bytes == total.weight_bytes + total.activation_bytes + total.kv_bytes


def test_a_named_device_leaves_the_others_out() -> None:
    for device, moved_bytes in {None: 3 * I64 + 3 * I64 + 15 * F32 * 2, "meta": 15 * F32 * 2}.items():
        with torch.no_grad(), TrafficMeter(device=device) as traffic:
            A[torch.arange(3)]
        assert traffic.total.total_bytes == moved_bytes


@pytest.mark.parametrize(
    "tensor, size_bytes",
    [
        (meta(3, 5).t(), 15 * F32),
        (meta(3, 1).expand(3, 5), 3 * F32),
        (meta(10)[::2].expand(3, 5), 5 * F32),
        (meta(9).as_strided((4, 3), (2, 1)), 9 * F32),  # windows of 3, 2 apart: 9 distinct elements
        (meta(0, 5), 0),
        (meta(), F32),
    ],
)
def test_addressed_bytes(tensor: torch.Tensor, size_bytes: int) -> None:
    assert addressed_bytes(tensor) == size_bytes
