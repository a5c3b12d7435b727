"""Schemes of quantisation: which matrices of a model are packed, how, and what its kernels multiply.

All leave in the model's type, as published checkpoints of OCR models do: the vision encoders with what follows them up
to the decoder, every norm and bias, the routers of experts; and but for GGUF the embedding and the head. Sources:

- fp8, int8: allenai/olmocr, `train/quantization_configs/` (`re:.*lm_head`, `re:model.visual.*`); recipes of
  compressed-tensors for mixtures of experts leave `mlp.gate` too
- nvfp4, mxfp4: the same recipes (chandra-ocr-2-NVFP4: lm_head, visual, mlp.gate, embed_tokens)
- awq, gptq: Qwen2.5-VL-7B-Instruct-AWQ, `modules_to_not_convert`: visual; the head and the embedding are 16 bits
- gguf: llama.cpp, `llama_tensor_get_type`; the vision encoder is a file of its own (mmproj), of 16 bits. In files norms
  and routers are float32, which engines hold in the model's type
- bnb_nf4: transformers 5.23, `integrations/bitsandbytes.py`, `replace_with_bnb_linear`: modules that are `nn.Linear`,
  so not experts that are one parameter, which there AWQ and GPTQ leave too; and not the head
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from modelmeter.layers.parallel import INPUTS, DoesNotDivide
from modelmeter.packing import (
    AWQ,
    FP8_BLOCK,
    FP8_CHANNEL,
    FP8_TENSOR,
    GPTQ,
    INT8_CHANNEL,
    INT8_WORDS,
    MXFP4,
    NF4,
    NVFP4,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_0,
    Operands,
    Packed,
    Packing,
    Piece,
)
from modelmeter.units import ITEMSIZE

#: tensors of a checkpoint, by what a scheme may say of them alone
EMBEDDING: Final = "embed_tokens"
HEAD: Final = "lm_head"
ENDS: Final = frozenset((EMBEDDING, HEAD))
VALUE: Final = "v_proj"
DOWN: Final = "down_proj"

#: matrices that a scheme of GGUF lays with more bits in some layers
_WITH_MORE_BITS: Final = (VALUE, DOWN)

_FP8: Final = "float8_e4m3fn"
_FP4: Final = "float4_e2m1fn_x2"

_ENGINES: Final = ("vllm", "sglang", "serving")


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A scheme: how the decoder's matrices lie, and those that lie otherwise.

    executions: code that has kernels for it. linear: every matrix of the decoder's layers. more: in some layers, values
    and down-projections. embedding, head: None: left as they are. tied: an embedding that is the head too.
    experts_in: of the executions, those that pack experts which are one parameter too.
    """

    name: str
    title: str
    executions: tuple[str, ...]
    linear: Packing
    more: Packing | None = None
    embedding: Packing | None = None
    head: Packing | None = None
    experts_in: tuple[str, ...] = _ENGINES
    operands: Operands

    def packing(self, tensor: str, columns: int, *, more: bool, tied: bool = False) -> Packing | None:
        """How the rows of a tensor lie; None: in the model's type."""
        if tensor == EMBEDDING:
            chosen = self.head if tied else self.embedding
        elif tensor == HEAD:
            chosen = self.head
        else:
            chosen = self.more if more and self.more is not None and tensor in _WITH_MORE_BITS else self.linear
        return None if chosen is None else chosen.fitting(columns)

    def packed(
        self,
        pieces: Mapping[str, int],
        columns: int,
        dtype: str,
        *,
        more: bool,
        matrices: int = 1,
        split: str | None = None,
        ranks: int = 1,
    ) -> Packed:
        """How a weight lies that holds these tensors of a checkpoint, each of so many rows, so many times.

        split, ranks: it is a part of a matrix that is split over devices, which lies as the whole does. Raises
        `DoesNotDivide` where a part would end within a group.
        """
        tied = pieces.keys() >= ENDS
        rows = {EMBEDDING: pieces[EMBEDDING]} if tied else pieces
        whole = columns * ranks if split == INPUTS else columns
        laid = []
        for name, count in rows.items():
            packing = self.packing(name, whole, more=more, tied=tied)
            if packing is not None and split is not None and ranks > 1:
                group, size = (packing.columns, columns) if split == INPUTS else (packing.rows, count)
                self._check_group(group, size, split, ranks)
            laid.append(Piece(packing, count, columns, matrices))
        return Packed(tuple(laid), self.operands, ITEMSIZE[dtype])

    def _check_group(self, group: int | None, size: int, split: str, ranks: int) -> None:
        if size % (group or 1):
            raise DoesNotDivide(
                f"parallel: tensor={ranks} leaves each device {size} of a matrix's {ranks * size} {split}, which "
                f"precision={self.name} has in groups of {group}, and engines refuse parts of a group"
            )


def with_more_bits(layer: int, layers: int) -> bool:
    """Whether a layer is one of those that get more bits: llama.cpp, `use_more_bits`."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _gguf(name: str, linear: Packing, *, more: Packing | None = None, head: Packing = Q6_K) -> Scheme:
    title = f"GGUF {name.upper()}"
    return Scheme(
        name=f"gguf_{name}",
        title=title,
        executions=("vllm", "serving"),
        linear=linear,
        more=more,
        embedding=linear,
        head=head,
        operands=Operands(name="gguf"),
    )


_ALL: Final = (
    Scheme(
        name="fp8_tensor",
        title="fp8 (e4m3), a scale a matrix; activations fp8, static",
        executions=_ENGINES,
        linear=FP8_TENSOR,
        operands=Operands(name="fp8", inputs=_FP8, scale_columns=0),
    ),
    Scheme(
        name="fp8_channel",
        title="fp8 (e4m3), a scale an output; activations fp8, a scale a token",
        executions=_ENGINES,
        linear=FP8_CHANNEL,
        operands=Operands(name="fp8", inputs=_FP8),
    ),
    Scheme(
        name="fp8_block",
        title="fp8 (e4m3), a scale a block of 128 x 128; activations fp8, a scale 128 of a token",
        executions=("transformers", *_ENGINES),
        linear=FP8_BLOCK,
        experts_in=("transformers", *_ENGINES),
        operands=Operands(name="fp8_block", inputs=_FP8, scale_columns=128),
    ),
    Scheme(
        name="int8_w8a8",
        title="int8, a scale an output; activations int8, a scale a token",
        executions=_ENGINES,
        linear=INT8_CHANNEL,
        operands=Operands(name="int8", inputs="int8"),
    ),
    Scheme(
        name="int8_w8a16",
        title="int8, a scale an output; activations of 16 bits",
        executions=_ENGINES,
        linear=INT8_WORDS,
        operands=Operands(name="int8_wo"),
    ),
    Scheme(
        name="awq",
        title="AWQ, int4 in groups of 128; activations of 16 bits",
        executions=("transformers", *_ENGINES),
        linear=AWQ,
        operands=Operands(name="int4_wo"),
    ),
    Scheme(
        name="gptq",
        title="GPTQ, int4 in groups of 128; activations of 16 bits",
        executions=("transformers", *_ENGINES),
        linear=GPTQ,
        operands=Operands(name="int4_wo"),
    ),
    _gguf("q8_0", Q8_0, head=Q8_0),
    _gguf("q6_k", Q6_K),
    _gguf("q5_k_m", Q5_K, more=Q6_K),
    _gguf("q5_k_s", Q5_K),
    _gguf("q4_k_m", Q4_K, more=Q6_K),
    Scheme(
        name="bnb_nf4",
        title="bitsandbytes nf4 in groups of 64, scales not quantised; activations of 16 bits",
        executions=("transformers", "published"),
        linear=NF4,
        experts_in=(),
        operands=Operands(name="nf4", written_from=2),
    ),
    Scheme(
        name="nvfp4",
        title="NVFP4, groups of 16; activations likewise",
        executions=_ENGINES,
        linear=NVFP4,
        operands=Operands(name="nvfp4", inputs=_FP4, a_byte=2, scale_columns=16, scale=_FP8),
    ),
    Scheme(
        name="mxfp4",
        title="MXFP4, groups of 32; activations likewise",
        executions=_ENGINES,
        linear=MXFP4,
        operands=Operands(name="mxfp4", inputs=_FP4, a_byte=2, scale_columns=32, scale="uint8"),
    ),
)

#: every scheme by its name
SCHEMES: Final[Mapping[str, Scheme]] = MappingProxyType({scheme.name: scheme for scheme in _ALL})
