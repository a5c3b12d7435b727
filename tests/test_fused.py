"""`fused`: chains of operators as one kernel, on cases that the reader can redo."""

import gc

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, LayerNorm, Linear
from modelmeter.layers.code import Code, Precision
from modelmeter.models.deepseek_ocr.executions import SERVING
from modelmeter.operators import (
    Parameter,
    add,
    cat,
    clone,
    fused,
    gather,
    in_place_output,
    index_put,
    layer_norm,
    linear,
    mul,
    silu,
    to,
)
from modelmeter.shape_tensor import KV, ShapeTensor, Tape
from modelmeter.walk import OperatorRecord


def only_record(tape: Tape) -> OperatorRecord:
    (record,) = tape.entries
    assert isinstance(record, OperatorRecord)
    return record


def add_and_scale(x: ShapeTensor, y: ShapeTensor, weight: Parameter) -> tuple[ShapeTensor, ShapeTensor]:
    total = add(x, y)
    return total, mul(silu(to(total, "float32")), weight.on(total.tape), "bfloat16")


def test_by_hand() -> None:
    """x [3, 5] and y [5] in bfloat16, a weight [5] in bfloat16; a sum, a cast, a silu and a product."""
    tape = Tape()
    x, y, weight = tape.input((3, 5), "bfloat16"), tape.input((5,), "bfloat16"), Parameter(5, dtype="bfloat16")
    total, scaled = fused("add_and_scale", add_and_scale, x, y, weight)
    assert only_record(tape) == OperatorRecord(
        path="",
        name="add_and_scale",
        aten="fused.add_and_scale",
        kind="fused",
        dtype="bfloat16",
        inputs=((3, 5), (5,), (5,)),
        outputs=((3, 5), (3, 5)),
        tensor_core_flops=0,
        cuda_core_flops=15 * 1 + 15 * 0 + 15 * 4 + 15 * 1,  # sum, cast, silu, product
        elements=4 * 15,
        bytes_read=2 * 15 + 2 * 5 + 2 * 5,
        bytes_written=2 * 15 + 2 * 15,
        weight_bytes=2 * 5,
        kv_bytes=0,
        live_bytes=60,
    )
    assert (total.dtype, scaled.dtype) == ("bfloat16", "bfloat16")
    assert tape.peak_bytes == 60  # the float32 intermediates, 60 bytes each, are in no memory


def test_a_layers_weights_are_read_once() -> None:
    tape = Tape()
    weight, bias = Parameter(5, dtype="float16"), Parameter(5, dtype="float16")
    x = tape.input((3, 5), "float16")
    fused("twice", lambda x: layer_norm(layer_norm(x, weight, bias), weight, bias), x)
    record = only_record(tape)
    # mean and deviation, which layer_norm writes, are intermediates
    assert (record.bytes_read, record.bytes_written, record.weight_bytes) == (30 + 20, 30, 20)
    assert record.cuda_core_flops == 2 * 8 * 15
    assert (tape.peak_bytes, tape.live_bytes) == (30, 0)


def test_overlapping_views_are_read_once() -> None:
    """x [2, 8] whole and both its halves: 16 elements, not 32."""
    tape = Tape()
    x = tape.input((2, 8), "float32")

    def turned(x: ShapeTensor) -> ShapeTensor:
        first, second = x.chunk(2, 1)
        return add(x, cat((second, first), 1))

    fused("turned", turned, x)
    assert (only_record(tape).bytes_read, only_record(tape).bytes_written) == (64, 64)


def test_only_what_is_addressed_is_read() -> None:
    """Of x [6, 4] two rows; of a broadcast row [1, 4] one; an input that no operator reads costs nothing."""
    tape = Tape()
    x, row, unread = (tape.input(shape, "float32") for shape in ((6, 4), (1, 4), (50, 50)))
    fused("rows", lambda x, row, _: add(x.narrow(0, 2, 4), row.expand(2, 4)), x, row, unread)
    assert (only_record(tape).bytes_read, only_record(tape).bytes_written) == (4 * (8 + 4), 4 * 8)


def test_gathered_rows_are_read_and_no_more_than_the_table() -> None:
    tape = Tape()
    table, few, many = tape.input((7, 3), "float16"), tape.input((2,), "int64"), tape.input((9,), "int64")
    fused("few", lambda table, index: add(gather(table, 2, aten="", index=index)), table, few)
    fused("many", lambda table, index: add(gather(table, 9, aten="", index=index)), table, many)
    read = [entry.bytes_read for entry in tape.entries if isinstance(entry, OperatorRecord)]
    assert read == [2 * 2 * 3 + 8 * 2, 2 * 7 * 3 + 8 * 9]
    del tape.entries[:]
    # a table that is no input of the chain, such as a weight
    fused("closed", lambda index: add(gather(table, 9, aten="", index=index)), many)
    assert only_record(tape).bytes_read == 2 * 7 * 3 + 8 * 9
    del tape.entries[:]
    fused("two", lambda t, i: add(*(gather(t, 2, aten="", index=i.narrow(0, k, k + 2)) for k in (0, 2))), table, many)
    assert only_record(tape).bytes_read == 2 * (2 + 2) * 3 + 8 * (2 + 2)
    del tape.entries[:]
    # two looks into one table: both sets of rows, and an intermediate's rows are no traffic
    fused("both", lambda t, i: add(gather(t, 2, aten="", index=i), gather(clone(t), 2, aten="", index=i)), table, few)
    assert only_record(tape).bytes_read == 2 * 7 * 3 + 8 * 2


def test_what_is_written_in_place_and_what_is_handed_through() -> None:
    """Rows put into a given tensor are written; a result that is a view of an input is not, nor is it made."""
    tape = Tape()
    x, index, rows = tape.input((9, 4), "float32"), tape.input((3,), "int64"), tape.input((3, 4), "float32")

    def put(x: ShapeTensor, index: ShapeTensor, rows: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        index_put(x.narrow(0, 0, 3), index, add(rows))
        return x, rows.view(4, 3)

    same, _view = fused("put", put, x, index, rows)
    assert same is x
    record = only_record(tape)
    assert (record.bytes_read, record.bytes_written, record.outputs) == (3 * 8 + 48, 48, ((3, 4),))
    assert tape.peak_bytes == 0


def test_a_result_in_the_place_of_an_input_takes_no_memory() -> None:
    tape = Tape()
    x = clone(tape.input((3, 5), "float32"))
    result = fused("over", lambda x: in_place_output(x, silu(add(x))), x)
    assert result is x
    record = tape.entries[-1]
    assert isinstance(record, OperatorRecord)
    assert (record.bytes_read, record.bytes_written, record.live_bytes, tape.peak_bytes) == (60, 60, 60, 60)
    with pytest.raises(ModelMeterError, match=r"fused over: .*float16.* cannot be written over .*float32"):
        fused("over", lambda x: in_place_output(x, to(x, "float16")), x)
    apart = clone(x)
    assert in_place_output(x, apart) is apart  # outside a chain


def test_views_alone_are_no_kernel() -> None:
    tape = Tape()
    x = tape.input((4, 6), "float32")
    assert fused("nothing", lambda x: x.view(24), x).shape == (24,)
    assert tape.entries == []


def test_a_cut_result_is_held_whole_and_written_as_far_as_it_reaches() -> None:
    """Rows at a multiple of 8: 5 of 8 elements a row are written, all 8 are memory."""
    tape = Tape()
    x = tape.input((3, 5), "float32")

    def aligned(x: ShapeTensor) -> ShapeTensor:
        return cat((add(x), x.narrow(1, 0, 3)), 1).narrow(1, 0, 5)

    result = fused("aligned", aligned, x)
    assert (only_record(tape).bytes_written, tape.live_bytes, result.strides) == (60, 96, (8, 1))


def test_kv_cache_is_told_apart() -> None:
    tape = Tape()
    x, held = tape.input((1, 2, 3, 4), "float16"), tape.given((1, 2, 5, 4), "float16")
    kept = fused("keep", lambda x, held: cat((add(held), add(x)), 2, KV), x, held)
    assert only_record(tape).kv_bytes == held.nbytes + kept.nbytes == 2 * (40 + 64)
    assert tape.live_bytes == kept.nbytes


def test_a_chain_in_a_chain_is_part_of_it() -> None:
    tape = Tape()
    x = tape.input((4,), "float32")
    fused("outer", lambda x: add(fused("inner", lambda x: add(add(x)), x)), x)
    record = only_record(tape)
    assert (record.aten, record.bytes_read, record.bytes_written, record.elements) == ("fused.outer", 16, 16, 12)


def test_a_product_is_refused_and_the_tape_goes_on() -> None:
    tape = Tape()
    x, weight = tape.input((4, 3), "float32"), Parameter(2, 3, dtype="float32")
    with pytest.raises(ModelMeterError, match=r"fused gate: aten.mm.default is a GEMM; such are kernels"):
        fused("gate", lambda x: silu(linear(add(x), weight)), x)
    assert (tape.entries, tape.chain, tape.live_bytes, tape.peak_bytes) == ([], None, 0, 0)
    add(x)
    assert only_record(tape).aten == "aten.add.Tensor"


def test_a_chain_of_nothing_is_refused() -> None:
    with pytest.raises(ModelMeterError, match="fused numbers: there is no shape-tensor among its inputs"):
        fused("numbers", lambda number: number, 3)


def test_a_layer_called_in_a_chain_is_no_call_of_its_own() -> None:
    """Nor does the chain teach the layer a walk without operators."""

    class Remembered(BaseLayer):
        remembered = True

        def forward(self, x: ShapeTensor) -> ShapeTensor:
            return add(silu(x), x)

    layer = Remembered()
    tape = Tape()
    x = tape.input((4,), "float32")
    fused("layer", lambda x: mul(layer(x)), x)
    assert only_record(tape).elements == 12
    assert [record.elements for record in layer.walk((4,)).records()] == [4, 4]


def test_live_set_of_a_fused_layer_without_a_garbage_collector() -> None:
    class Normed(BaseLayer):
        def __init__(self) -> None:
            super().__init__(code=Code(SERVING, "flash", Precision.of("float16")))
            self.norm = LayerNorm(6, code=self.code)
            self.proj = Linear(6, 2, code=self.code)

        def forward(self, x: ShapeTensor, residual: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
            total, normed = self.norm(clone(x), clone(residual))  # in the places of both
            return total, self.proj(normed)

    gc.disable()
    try:
        tape = Tape()
        x = tape.input((5, 6), "float16")
        total, projected = Normed()(x, x)
        assert tape.live_bytes == total.nbytes + projected.nbytes == 2 * (30 + 10)
        assert tape.peak_bytes == 2 * (30 + 30 + 10)
        assert [entry.bytes_written for entry in tape.entries if isinstance(entry, OperatorRecord)] == [60, 60, 120, 20]
        del total, projected
        assert tape.live_bytes == 0
    finally:
        gc.enable()


def test_a_traced_walk_knows_who_holds_the_peak() -> None:
    tape = Tape(tracing=True)
    x = tape.input((4, 4), "float32")
    result = fused("chain", lambda x: add(mul(silu(x))), x)
    assert [(each.operator, each.nbytes) for each in tape.at_peak] == [("fused.chain", result.nbytes)]
