"""Shape-tensors against real tensors on the meta device: strides, views, copies; and the live set by hand."""

import gc
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter.errors import ModelMeterError
from modelmeter.operators import add, cat, clone, contiguous, matmul, mul, pointwise_strides, reshape
from modelmeter.shape_tensor import Tape, is_contiguous, view_strides

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def permuted(data: st.DataObject, shape: list[int]) -> torch.Tensor:
    """A dense meta tensor whose dimensions lie in some order of memory."""
    order = data.draw(st.permutations(range(len(shape))))
    dense = torch.empty([shape[axis] for axis in order], device="meta")
    return dense.permute([order.index(axis) for axis in range(len(shape))])


@settings(max_examples=400, deadline=None)
@given(st.data(), SIZES)
def test_views_follow_pytorch(data: st.DataObject, shape: list[int]) -> None:
    tensor = permuted(data, shape)
    if data.draw(st.booleans()):
        axis = data.draw(st.integers(0, len(shape) - 1))
        tensor = tensor.narrow(axis, 0, data.draw(st.integers(1, tensor.shape[axis])))
    pieces = data.draw(
        st.permutations([size for size in tensor.shape for size in ((2, size // 2) if size == 4 else (size,))])
    )
    split = data.draw(st.integers(0, len(pieces)))
    merged = 1
    for piece in pieces[:split]:
        merged *= piece
    target = (merged, *pieces[split:])
    try:
        expected = tensor.view(target).stride()
    except RuntimeError:
        expected = None
    assert view_strides(tuple(tensor.shape), tensor.stride(), target) == expected
    assert is_contiguous(tuple(tensor.shape), tensor.stride()) == tensor.is_contiguous()


@settings(max_examples=400, deadline=None)
@given(st.data(), SIZES)
def test_pointwise_results_lie_in_memory_as_pytorch_lays_them(data: st.DataObject, shape: list[int]) -> None:
    def operand() -> torch.Tensor:
        kept = [size if data.draw(st.booleans()) else 1 for size in shape]
        return permuted(data, kept)

    left, right = operand(), operand()
    if data.draw(st.booleans()):
        right = right.expand(torch.broadcast_shapes(left.shape, right.shape))
    expected = left + right
    strides = pointwise_strides(((tuple(left.shape), left.stride()), (tuple(right.shape), right.stride())))
    big = [axis for axis, size in enumerate(expected.shape) if size > 1]
    assert [strides[axis] for axis in big] == [expected.stride()[axis] for axis in big]


def test_copies_are_named_and_views_are_free() -> None:
    tape = Tape()
    x = tape.input((2, 3, 5), "bfloat16")
    assert contiguous(x) is x
    assert reshape(x, 6, 5).storage is x.storage
    turned = x.transpose(0, 1)
    assert tape.entries == []
    copied = reshape(turned, 6, 5)
    assert copied.storage is not x.storage
    assert contiguous(turned).storage is not x.storage
    for record in tape.entries:
        assert (record.aten, record.bytes_read, record.bytes_written) == ("aten.clone.default", 60, 60)
    assert len(tape.entries) == 2


def test_a_dimension_of_size_1_lies_anywhere() -> None:
    shape, strides = (2, 1, 3), (3, 99, 1)
    assert torch.empty_strided(shape, strides, device="meta").view(6).stride() == (1,)
    assert view_strides(shape, strides, (6,)) == (1,)


def test_live_set_follows_the_names_that_hold_it() -> None:
    tape = Tape()
    x = tape.input((10,), "float32")
    first = clone(x)  # 40 bytes
    second = add(first, first)  # 80
    del first  # 40
    assert tape.live_bytes == 40
    third = cat((second, second), 0)  # 40 + 80
    assert (tape.live_bytes, tape.peak_bytes, tape.peak_operator) == (120, 120, "aten.cat.default")
    del second, third
    assert (tape.live_bytes, tape.peak_bytes) == (0, 120)


def test_the_peak_names_the_first_operator_to_reach_it() -> None:
    tape = Tape()
    x = tape.input((10,), "float32")
    first = clone(x)
    del first
    add(x, x)  # the same 40 bytes again
    assert (tape.peak_bytes, tape.peak_operator) == (40, "aten.clone.default")


def test_the_same_view_is_read_once_and_a_broadcast_dimension_once() -> None:
    tape = Tape()
    x = tape.input((4, 6), "float32")
    add(x, x)
    add(x, x.narrow(0, 0, 1).expand(4, 6))
    same, broadcast = tape.entries
    assert same.bytes_read == 4 * 6 * 4
    assert broadcast.bytes_read == 4 * 6 * 4 + 6 * 4


def test_live_equals_what_is_left_without_a_garbage_collector() -> None:
    gc.disable()
    try:
        tape = Tape()
        x = tape.input((3, 8, 4), "float16")
        y = mul(matmul(x, x.transpose(-2, -1)))
        assert tape.live_bytes == y.nbytes == 3 * 8 * 8 * 2
        del y
        assert tape.live_bytes == 0
    finally:
        gc.enable()


def test_two_walks_interleave_and_threads_are_safe() -> None:
    one, other = Tape(), Tape()
    x, y = one.input((5,), "float32"), other.input((7,), "float32")
    a = clone(x)
    b = clone(y)
    assert (one.live_bytes, other.live_bytes) == (20, 28)
    del a, b
    peaks: list[int] = []

    def walk(size: int) -> None:
        tape = Tape()
        value = tape.input((size,), "float32")
        for _ in range(200):
            value = add(value)
        peaks.append(tape.peak_bytes - 2 * 4 * size)

    threads = [threading.Thread(target=walk, args=(size,)) for size in (3, 5, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peaks == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "work, text",
    [
        (lambda x: x.view(7), r"has 24 elements and cannot take the shape \[7\]"),
        (lambda x: x.transpose(0, 1).view(24), "needs a copy"),
        (lambda x: x.expand(5, 6), "cannot be expanded"),
        (lambda x: add(x, x.view(6, 4)), "do not broadcast"),
    ],
)
def test_wrong_shapes_are_refused(work: object, text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        work(Tape().input((4, 6), "float32"))  # type: ignore[operator]
