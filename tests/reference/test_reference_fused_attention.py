"""What the interception calls, allocates and refuses; sizes by hand."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attention

from modelmeter.errors import ModelMeterError
from modelmeter.reference.flops import measure_flops
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.memory import LiveSet

B, H, T, S, D = 2, 3, 20, 28, 16


def qkv(dtype: torch.dtype = torch.bfloat16, kv_heads: int = H) -> list[torch.Tensor]:
    return [torch.empty(B, h, n, D, device="meta", dtype=dtype) for h, n in ((H, T), (kv_heads, S), (kv_heads, S))]


def made(call: object) -> dict[str, list[int]]:
    """Sizes in bytes of what each operator made, by operator, at the peak."""
    with torch.no_grad(), FusedAttention(), LiveSet() as live:
        out = call()  # type: ignore[operator]
    assert out.shape == (B, H, T, D)
    sizes: dict[str, list[int]] = {}
    for holding in live.alive_at_peak:
        sizes.setdefault(holding.operator.split(".")[1], []).append(holding.size_bytes)
    return sizes


FLASH, EFFICIENT = "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kv_heads", [H, 1])
def test_half_precision_without_a_mask_is_flash(dtype: torch.dtype, kv_heads: int) -> None:
    sizes = made(lambda: attention(*qkv(dtype, kv_heads), is_causal=True, enable_gqa=kv_heads != H))
    # the inputs of this call are made outside of operators of their own: empty, and die with it
    del sizes["empty"]
    assert sizes == {FLASH: [2 * B * H * T * D, 4 * B * H * T, 16, 8, 0]}  # output, log-sum-exp, random state


def test_float32_is_efficient_and_writes_no_log_sum_exp() -> None:
    sizes = made(lambda: attention(*qkv(torch.float32)))
    del sizes["empty"]
    assert sizes == {EFFICIENT: [4 * B * H * T * D, 8, 8, 0]}


@pytest.mark.parametrize("length, padded", [(28, 32), (24, None)])
def test_a_bias_is_padded_to_a_multiple_of_8(length: int, padded: int | None) -> None:
    q, k, v = qkv()
    k, v, bias = (
        k[:, :, :length],
        v[:, :, :length],
        torch.empty(B, H, T, length, device="meta", dtype=q.dtype),
    )
    sizes = made(lambda: attention(q, k, v, attn_mask=bias))
    expected = {EFFICIENT: [2 * B * H * T * D, 8, 8, 0]}
    if padded:
        expected["constant_pad_nd"] = [2 * B * H * T * padded]
    assert sizes == expected


def test_without_it_a_matrix_of_scores_appears() -> None:
    q, k, v = qkv()
    with torch.no_grad(), LiveSet() as live:
        attention(q, k, v)
    assert live.alive_at_peak[0].size_bytes == 4 * B * H * T * S  # in float32 at that


def test_flops_are_the_same_either_way() -> None:
    q, k, v = qkv()
    plain = measure_flops(None, lambda: attention(q, k, v))
    with FusedAttention():
        fused = measure_flops(None, lambda: attention(q, k, v))
    assert plain.total == fused.total == B * H * 2 * (2 * T * S * D)
    assert fused.by_operator.keys() == {f"aten.{FLASH}"}


def test_cpu_tensors_pass_through() -> None:
    q, k, v = (torch.randn(1, 2, 3, 16) for _ in range(3))
    with FusedAttention():
        inside = attention(q, k, v, is_causal=True)
    assert torch.equal(inside, attention(q, k, v, is_causal=True))


REFUSED = {
    "dropout": (lambda: attention(*qkv(), dropout_p=0.1), "dropout_p=0.1; call .eval()"),
    "head dimension": (
        lambda: attention(*(t[..., :12] for t in qkv())),
        "head dimension 12 is no multiple of 8",
    ),
    "mask and causal": (
        lambda: attention(*qkv(), torch.empty(T, S, device="meta"), is_causal=True),
        "both attn_mask and is_causal",
    ),
    "grouped heads with a mask": (
        lambda: attention(*qkv(torch.float32, 1), torch.empty(T, S, device="meta"), enable_gqa=True),
        "3 heads on 1 KV heads with a mask",
    ),
    "three dimensions": (lambda: attention(*(t[0] for t in qkv())), "query has 3 dimensions"),
}


@pytest.mark.parametrize("call, text", REFUSED.values(), ids=REFUSED)
def test_what_a_gpu_kernel_would_not_take_is_refused(call: object, text: str) -> None:
    with FusedAttention(), pytest.raises(ModelMeterError, match=text):
        call()  # type: ignore[operator]
