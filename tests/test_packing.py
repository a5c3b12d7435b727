"""Packed matrices: their bytes by hand, and what an operator over one records."""

import pytest

from modelmeter.layers.quantisation import SCHEMES, with_more_bits
from modelmeter.operators import Parameter, grouped_mm, linear
from modelmeter.packing import (
    AWQ,
    FP8_BLOCK,
    FP8_CHANNEL,
    FP8_TENSOR,
    GPTQ,
    MXFP4,
    NF4,
    NVFP4,
    Q4_K,
    Q5_0,
    Q6_K,
    Q8_0,
    Packing,
)
from modelmeter.shape_tensor import Tape
from modelmeter.walk import OperatorRecord

#: an up-projection of an expert: 896 outputs, 1280 inputs
ROWS, COLUMNS = 896, 1280

#: by hand, from the tensors that a checkpoint has of it
BY_HAND = {
    AWQ: 1280 * 896 // 8 * 4 + 10 * 896 // 8 * 4 + 10 * 896 * 2,  # qweight, qzeros, scales
    GPTQ: 1280 * 896 // 8 * 4 + 10 * 896 // 8 * 4 + 10 * 896 * 2 + 1280 * 4,  # and g_idx
    FP8_TENSOR: 896 * 1280 + 2 + 2,
    FP8_CHANNEL: 896 * 1280 + 896 * 2,
    FP8_BLOCK: 896 * 1280 + 7 * 10 * 2,
    Q4_K: 896 * 5 * (2 + 2 + 12 + 128),
    Q6_K: 896 * 5 * (128 + 64 + 16 + 2),
    Q8_0: 896 * 40 * (2 + 32),
    NF4: 896 * 1280 // 2 + 896 * 1280 // 64 * 4,
    NVFP4: 896 * 1280 // 2 + 896 * 80 + 4 + 4,
    MXFP4: 896 * 1280 // 2 + 896 * 40,
}


@pytest.mark.parametrize("packing", BY_HAND, ids=lambda packing: packing.name)
def test_bytes_of_a_matrix_are_those_of_its_tensors(packing: Packing) -> None:
    assert packing.nbytes(ROWS, COLUMNS) == BY_HAND[packing]


def test_groups_that_do_not_divide_the_columns() -> None:
    assert Q4_K.fitting(896) is Q5_0  # 3.5 blocks of 256
    assert Q4_K.fitting(6848) is Q5_0
    assert Q6_K.fitting(896) is Q8_0
    assert Q4_K.fitting(1280) is Q4_K
    assert Q8_0.fitting(1000) is None
    assert AWQ.fitting(6848) is None  # 53.5 groups of 128
    assert FP8_BLOCK.fitting(6848) is FP8_BLOCK
    assert FP8_BLOCK.nbytes(1280, 6848) == 1280 * 6848 + 10 * 54 * 2  # the last block is half a block


def test_layers_that_get_more_bits() -> None:
    assert [layer for layer in range(12) if with_more_bits(layer, 12)] == [0, 3, 6, 9, 10, 11]
    assert [layer for layer in range(32) if with_more_bits(layer, 32)] == [
        *range(4),
        *range(6, 28, 3),
        *range(28, 32),
    ]


def weight(scheme: str, *shape: int) -> Parameter:
    packed = SCHEMES[scheme].packed(
        {"": shape[-2]}, shape[-1], "bfloat16", more=False, matrices=shape[0] if shape[2:] else 1
    )
    return Parameter(*shape, dtype="bfloat16", packed=packed)


def records(scheme: str, rows: int) -> list[OperatorRecord]:
    tape = Tape()
    linear(tape.input((rows, COLUMNS), "bfloat16"), weight(scheme, ROWS, COLUMNS))
    return [each for each in tape.entries if isinstance(each, OperatorRecord)]


def test_a_gemm_reads_packed_weights_as_they_lie() -> None:
    (gemm,) = records("awq", 3)
    assert gemm.tensor_core_flops == 2 * 3 * ROWS * COLUMNS
    assert gemm.weight_bytes == BY_HAND[AWQ]
    assert gemm.bytes_read == 3 * COLUMNS * 2 + BY_HAND[AWQ]
    assert gemm.dtype == "bfloat16"


def test_activations_are_turned_to_the_type_of_the_weights_before() -> None:
    quantise, gemm = records("fp8_block", 3)
    assert quantise.bytes_read == 3 * COLUMNS * 2
    assert quantise.bytes_written == 3 * COLUMNS + 3 * 10 * 4
    assert gemm.dtype == "float8_e4m3fn"
    assert gemm.bytes_read == 3 * COLUMNS + 3 * 10 * 4 + BY_HAND[FP8_BLOCK]
    assert gemm.bytes_written == 3 * ROWS * 2
    static, _ = records("fp8_tensor", 3)
    assert static.bytes_written == 3 * COLUMNS
    pairs, gemm = records("nvfp4", 3)
    assert pairs.bytes_written == 3 * COLUMNS // 2 + 3 * COLUMNS // 16
    assert gemm.tensor_core_flops == 2 * 3 * ROWS * COLUMNS


def test_a_kernel_that_writes_the_weights_out_does_so_from_two_rows_on() -> None:
    (gemv,) = records("bnb_nf4", 1)
    assert gemv.weight_bytes == BY_HAND[NF4]
    dequantise, gemm = records("bnb_nf4", 2)
    assert (dequantise.weight_bytes, dequantise.bytes_written) == (BY_HAND[NF4], ROWS * COLUMNS * 2)
    assert (gemm.weight_bytes, gemm.bytes_read) == (0, 2 * COLUMNS * 2 + ROWS * COLUMNS * 2)


def test_grouped_gemms_read_the_experts_that_are_hit() -> None:
    tape = Tape()
    experts = weight("fp8_channel", 64, ROWS, COLUMNS)
    assert experts.nbytes == 64 * BY_HAND[FP8_CHANNEL]
    x, offsets = tape.input((12, COLUMNS), "bfloat16"), tape.input((64,), "int32")
    grouped_mm(x, experts, offsets, 6 * BY_HAND[FP8_CHANNEL])
    quantise, gemm = (each for each in tape.entries if isinstance(each, OperatorRecord))
    assert quantise.bytes_written == 12 * COLUMNS + 12 * 4
    assert gemm.bytes_read == 12 * COLUMNS + 12 * 4 + 64 * 4 + 6 * BY_HAND[FP8_CHANNEL]
    assert gemm.dtype == "float8_e4m3fn"
