"""All figures of one call, by hand on a module that fits in the head."""

from functools import partial

import torch
from torch import nn

from modelmeter.reference.layer import LayerRun, OperatorRun, measure_layer, meta_tensor

F32 = 4


class Residual(nn.Module):
    """x + down(relu(up(x))), and what relu gave."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(3, 11)
        self.down = nn.Linear(11, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        wide = torch.relu(self.up(x))
        return x + self.down(wide), wide


def test_a_module_by_hand() -> None:
    rows, narrow, wide = 14, 3, 11
    hidden, out = F32 * rows * wide, F32 * rows * narrow
    measured = measure_layer(partial(Residual().to("meta"), meta_tensor((2, 7, 3), "float32")))
    assert measured == LayerRun(
        flops=2 * 2 * rows * narrow * wide,
        traffic_bytes=sum(each.read_bytes + each.written_bytes for each in measured.operators),
        peak_bytes=F32 * rows * 2 * wide,  # before and after relu
        peak_operator="aten.relu.default",
        operators=(
            OperatorRun(
                operator="aten.addmm.default",
                elements=0,
                read_bytes=out + F32 * (narrow * wide + wide),
                written_bytes=hidden,
                live_bytes=hidden,
            ),
            OperatorRun(
                operator="aten.relu.default",
                elements=rows * wide,
                read_bytes=hidden,
                written_bytes=hidden,
                live_bytes=2 * hidden,
            ),
            OperatorRun(
                operator="aten.addmm.default",
                elements=0,
                read_bytes=hidden + F32 * (wide * narrow + narrow),
                written_bytes=out,
                live_bytes=hidden + out,
            ),
            OperatorRun(
                operator="aten.add.Tensor",
                elements=rows * narrow,
                read_bytes=2 * out,
                written_bytes=out,
                live_bytes=hidden + 2 * out,
            ),
        ),
        shapes=((2, 7, 3), (2, 7, 11)),
    )


def test_fused_attention_and_experts_hit() -> None:
    q, k, v = (meta_tensor((1, 2, 5, 8), "bfloat16") for _ in range(3))
    attention = measure_layer(partial(nn.functional.scaled_dot_product_attention, q, k, v))
    assert [each.operator for each in attention.operators] == ["aten._scaled_dot_product_flash_attention.default"]
    assert attention.flops == 2 * 2 * 2 * 5 * 5 * 8
    rows, weights = meta_tensor((6, 16), "bfloat16"), meta_tensor((5, 16, 8), "bfloat16")
    call = partial(torch._grouped_mm, rows, weights, offs=meta_tensor((5,), "int32"))
    assert measure_layer(call).traffic_bytes - measure_layer(call, experts_hit=2).traffic_bytes == 3 * 16 * 8 * 2


def test_meta_tensor() -> None:
    assert meta_tensor((2, 3), "int64").stride() == (3, 1)
    turned = meta_tensor((2, 3), "float16", (1, 2))
    assert (turned.shape, turned.stride(), turned.dtype, turned.device.type) == ((2, 3), (1, 2), torch.float16, "meta")
