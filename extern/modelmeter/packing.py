"""How a matrix of weights lies in memory where a scheme of quantisation packs it: bytes, from rows and columns alone.

A row holds the weights of one output; a group of weights shares what stands beside it: a scale, and a zero point or a
minimum. Sources of the layouts, by name:

- Q4_K, Q5_K, Q6_K (256 weights), Q4_0, Q5_0, Q5_1, Q8_0 (32): bytes a block as PyPI gguf 0.19.0 has them,
  `constants.GGML_QUANT_SIZES`; what takes the place of a layout whose block does not divide the columns: llama.cpp,
  `llama_tensor_get_type`.
- awq: vLLM, `quantization/awq.py`, `AWQLinearMethod.create_weights`: `qweight`, `qzeros`, `scales`. gptq: the same
  sizes, and `g_idx`, an int32 a column.
- fp8, int8, nvfp4, mxfp4: PyPI compressed-tensors 0.20.0, `quant_scheme.py` and `compressors/`: scales of the weight's
  own type, 16 bits; those of nvfp4 e4m3 and a float32 a matrix, as of its input; those of mxfp4 e8m0.
- nf4: bitsandbytes, `quantize_nf4`: 64 weights of the matrix as one row share a float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from modelmeter.units import BITS_PER_BYTE, ceil_div


@dataclass(frozen=True, kw_only=True)
class Packing:
    """A layout of a matrix.

    bits: of a weight. rows, columns: of a group; None: all there are. group_bits: beside its weights. flat: groups run
    through the matrix as through one row. column_bytes, matrix_bytes: once a column, and once a matrix. divides: the
    group must divide the columns; where it does not, the matrix lies as `instead`, or in the model's type.
    """

    name: str
    bits: int
    rows: int | None = 1
    columns: int | None = None
    group_bits: int = 0
    flat: bool = False
    column_bytes: int = 0
    matrix_bytes: int = 0
    divides: bool = False
    instead: Packing | None = None

    def nbytes(self, rows: int, columns: int) -> int:
        """Bytes of a matrix [rows, columns]."""
        weights = rows * columns
        if self.flat:
            rows, columns = 1, weights
        groups = ceil_div(rows, self.rows or rows) * ceil_div(columns, self.columns or columns)
        bits = weights * self.bits + groups * self.group_bits
        return ceil_div(bits, BITS_PER_BYTE) + columns * self.column_bytes + self.matrix_bytes

    def fitting(self, columns: int) -> Packing | None:
        """This layout, or the one in whose place its rows lie; None: the model's type."""
        if not self.divides or columns % (self.columns or 1) == 0:
            return self
        return None if self.instead is None else self.instead.fitting(columns)


def _blocks(name: str, bits: int, block: int, nbytes: int, instead: Packing | None = None) -> Packing:
    """A layout of GGUF: blocks of so many weights in so many bytes."""
    beside = nbytes * BITS_PER_BYTE - bits * block
    return Packing(name=name, bits=bits, columns=block, group_bits=beside, divides=True, instead=instead)


Q8_0: Final = _blocks("q8_0", 8, 32, 34)
Q5_0: Final = _blocks("q5_0", 5, 32, 22)
Q5_1: Final = _blocks("q5_1", 5, 32, 24)
Q4_K: Final = _blocks("q4_k", 4, 256, 144, Q5_0)
Q5_K: Final = _blocks("q5_k", 5, 256, 176, Q5_1)
Q6_K: Final = _blocks("q6_k", 6, 256, 210, Q8_0)

#: a float16 scale and a zero point of 4 bits
AWQ: Final = Packing(name="awq", bits=4, columns=128, group_bits=16 + 4, divides=True)
GPTQ: Final = Packing(name="gptq", bits=4, columns=128, group_bits=16 + 4, column_bytes=4, divides=True)
#: the scale of the matrix, and that of its input, which is static
FP8_TENSOR: Final = Packing(name="fp8_tensor", bits=8, rows=None, matrix_bytes=2 + 2)
FP8_CHANNEL: Final = Packing(name="fp8_channel", bits=8, group_bits=16)
FP8_BLOCK: Final = Packing(name="fp8_block", bits=8, rows=128, columns=128, group_bits=16)
INT8_CHANNEL: Final = Packing(name="int8_channel", bits=8, group_bits=16)
#: in words of 32 bits, with the shape that they are of, two int64
INT8_WORDS: Final = Packing(name="int8_words", bits=8, group_bits=16, matrix_bytes=16)
NVFP4: Final = Packing(name="nvfp4", bits=4, columns=16, group_bits=8, matrix_bytes=4 + 4)
MXFP4: Final = Packing(name="mxfp4", bits=4, columns=32, group_bits=8)
NF4: Final = Packing(name="nf4", bits=4, columns=64, group_bits=32, flat=True)


class Piece(NamedTuple):
    """Equal matrices of a checkpoint within a weight, and how each lies; None: in the weight's own type."""

    packing: Packing | None
    rows: int
    columns: int
    matrices: int


@dataclass(frozen=True, kw_only=True)
class Operands:
    """What a kernel multiplies where weights are packed.

    name: what kernels are called by that take these weights. inputs: the type that a kernel before it turns the
    activations to; None: they stay as they are, and weights are turned to their type as they are read. a_byte:
    activations in a byte. scale_columns: activations of a row that share a scale, all of them where None; 0: there is
    one for all, known before. scale: its type. written_from: rows from which on a kernel before it writes the weights
    in the type of the activations; None: none ever does.
    """

    name: str = ""
    inputs: str | None = None
    a_byte: int = 1
    scale_columns: int | None = None
    scale: str = "float32"
    written_from: int | None = None


class Packed(NamedTuple):
    """How a weight lies, and what a kernel multiplies of it."""

    pieces: tuple[Piece, ...]
    operands: Operands
    itemsize: int

    @property
    def kernel(self) -> str:
        """What its kernel is called by; "": nothing of it is packed."""
        return self.operands.name if any(piece.packing for piece in self.pieces) else ""

    @property
    def nbytes(self) -> int:
        """Bytes of all pieces."""
        return sum(
            matrices * (rows * columns * self.itemsize if packing is None else packing.nbytes(rows, columns))
            for packing, rows, columns, matrices in self.pieces
        )
