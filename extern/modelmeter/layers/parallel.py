"""How layers are split over devices: tensor parallelism as Megatron-LM has it, as one of the devices sees it.

A GEMM that begins a pair (query, key and value; gate and up) is split by its outputs, the one that ends it by its
inputs, and the devices' results are summed: an all-reduce for each pair. Attention heads go with the outputs; where
there are fewer KV heads than devices, each has one of them. The embedding and the head are split by the vocabulary:
rows that a device has are looked up and summed, logits are gathered. Norms, routers of experts and what is not split
are on every device. Expert parallelism gives each device whole experts in place of a part of every one.

Source: Shoeybi et al., Megatron-LM (arXiv 1909.08053), section 3; vLLM, `model_executor/layers/linear.py`
(`QKVParallelLinear`, `RowParallelLinear`) and `vocab_parallel_embedding.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelmeter.errors import ModelMeterError
from modelmeter.units import ceil_div

#: rows that a split vocabulary is padded to a multiple of: vLLM, `DEFAULT_VOCAB_PADDING_SIZE`
VOCAB_PADDING: Final = 64


@dataclass(frozen=True, kw_only=True)
class ParallelTraits:
    """How code splits a model over devices; the defaults are those of code that runs on one."""

    decoder_split: bool = False
    """The decoder, the embedding and the head are split over devices where several are asked for."""
    vision_split: bool = False
    """So are the vision encoders' blocks; otherwise every device has them whole, and encodes every page."""
    vision_qkv_gathered: bool = False
    """Where they are, the outputs of query, key and value are gathered from all devices, and each takes its heads."""
    projection: str = "split"
    """And a projection between encoder and decoder is split, or "whole", or of one with a GEMM before its MLP that one
    too, whose outputs are "gathered"."""
    images_shared_out: bool = False
    """Instead, if asked for, each device has the encoders whole and encodes some of the images."""
    whole_experts: bool = False
    """If asked for, each device has whole experts in place of a part of every one."""


class DoesNotDivide(ModelMeterError):
    """A size of a model has no whole part for each of several devices."""


#: which sizes of a matrix are split
OUTPUTS: Final = "outputs"
INPUTS: Final = "inputs"


@dataclass(frozen=True)
class Parallel:
    """Over how many devices layers are split.

    experts: each has whole ones. images: each encodes some of the images, with encoders that are not split.
    """

    ranks: int = 1
    experts: bool = False
    images: bool = False

    def of_vision(self, traits: ParallelTraits) -> Parallel:
        """That of the vision encoders: the same, or one device's."""
        return self if traits.vision_split and not self.images else Parallel()

    def own_images(self, images: int) -> int:
        """Images that a device encodes of so many of one size: all, or where they are shared out a part, rounded up."""
        return ceil_div(images, self.ranks) if self.images else images

    def share(self, what: str, size: int) -> int:
        """A device's part of `size`; raises `DoesNotDivide` where there is none."""
        if size % self.ranks:
            raise DoesNotDivide(
                f"parallel: tensor={self.ranks}, but {what}={size} does not divide by it (remainder "
                f"{size % self.ranks}), and engines refuse that"
            )
        return size // self.ranks

    def kv_heads(self, heads: int) -> int:
        """KV heads of a device: its part, or one, which several devices then have."""
        if self.ranks > heads and self.ranks % heads == 0:
            return 1
        return self.share("num_key_value_heads", heads)

    def vocabulary(self, rows: int) -> int:
        """Rows of a device's part of the embedding: of the vocabulary as it is padded where it is split."""
        return rows if self.ranks == 1 else self.share("vocab_size", ceil_div(rows, VOCAB_PADDING) * VOCAB_PADDING)
