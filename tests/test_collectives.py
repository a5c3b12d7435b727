"""Collectives on shapes: what one of the devices that take part reads and writes, by hand."""

import pytest

from modelmeter import kernel_classes as classes
from modelmeter.errors import ModelMeterError
from modelmeter.kernels import kernel_of
from modelmeter.operators import all_gather, all_reduce, fused
from modelmeter.shape_tensor import Tape
from modelmeter.walk import OperatorRecord


def only_record(tape: Tape) -> OperatorRecord:
    (record,) = tape.entries
    assert isinstance(record, OperatorRecord)
    return record


def test_all_reduce() -> None:
    """[3, 5] in bfloat16 of 2 devices: 30 bytes read, 30 written beside them; one sum an element."""
    tape = Tape()
    x = tape.input((3, 5), "bfloat16")
    out = all_reduce(x, 2)
    record = only_record(tape)
    assert (out.shape, out.storage is x.storage) == ((3, 5), False)
    assert (record.kind, record.ranks) == ("collective", 2)
    assert (record.bytes_read, record.bytes_written) == (30, 30)
    assert (record.cuda_core_flops, record.tensor_core_flops) == (15, 0)
    assert tape.walk().peak_bytes == 30
    kernel = kernel_of(record)
    assert kernel.kernel_class == classes.ALL_REDUCE
    assert (kernel.sizes["message_bytes"], kernel.sizes["ranks"]) == (30, 2)


def test_all_reduce_in_place() -> None:
    tape = Tape()
    x = tape.input((3, 5), "bfloat16")
    assert all_reduce(x, 2, in_place=True) is x
    assert tape.walk().peak_bytes == 0
    assert only_record(tape).bytes_written == 30


@pytest.mark.parametrize(("width", "columns"), [(None, 20), (18, 18)])
def test_all_gather(width: int | None, columns: int) -> None:
    """[3, 5] in float16 of 4 devices side by side; the last of them has 3 columns where 18 are asked for."""
    tape = Tape()
    out = all_gather(tape.input((3, 5), "float16"), 4, width)
    record = only_record(tape)
    assert out.shape == (3, columns)
    assert (record.bytes_read, record.bytes_written, record.cuda_core_flops) == (30, 3 * columns * 2, 0)
    assert kernel_of(record).kernel_class == classes.ALL_GATHER


def test_a_collective_is_no_part_of_a_chain() -> None:
    tape = Tape()
    with pytest.raises(ModelMeterError, match=r"fused add: .* is a collective; such are kernels of their own"):
        fused("add", lambda x: all_reduce(x, 2), tape.input((3, 5), "bfloat16"))
