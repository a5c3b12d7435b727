"""The configuration that models of packed pages share: a dense decoder with M-RoPE, limits of the image rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.errors import ModelMeterError, shown
from modelmeter.kinds import Flag, Kind, ListOf, Said, Whole
from modelmeter.layers.decoder.rotary import MROPE_AXES
from modelmeter.models.common.configuration import COUNT, LAYERS, POSITIONS, SIZE
from modelmeter.models.common.merged_grid import MergedGridWorkload


@dataclass
class DenseDecoderSchema:
    """The group `decoder`: the names of the model's text configuration."""

    vocab_size: int = 152064
    hidden_size: int = 3584
    intermediate_size: int = 18944
    num_hidden_layers: int = 28
    num_attention_heads: int = 28
    num_key_value_heads: int = 4
    max_position_embeddings: int = 128000
    mrope_section: list[int] = field(default_factory=lambda: [16, 24, 24])
    tie_word_embeddings: bool = False


@dataclass
class GridWorkloadSchema:
    """The group `workload`, as far as all have it."""

    patch_size: int = 14
    merge_size: int = 2
    min_pixels: int = 3136
    max_pixels: int = 12_845_056


#: areas in pixels: a float holds the largest exactly
AREA: Final = Whole(1, 2**40)

#: what a value of the decoder may be, by its key
DECODER_KINDS: Final[Mapping[str, Kind[Any]]] = {
    "decoder.vocab_size": Said(Whole(1, 2**30), "tokens of the vocabulary: rows of the embedding and of the head"),
    "decoder.hidden_size": Said(SIZE, "width of the decoder's layers"),
    "decoder.intermediate_size": Said(SIZE, "hidden width of a dense feed-forward part"),
    "decoder.num_hidden_layers": Said(LAYERS, "layers of the decoder"),
    "decoder.num_attention_heads": Said(COUNT, "query heads of a layer"),
    "decoder.num_key_value_heads": Said(COUNT, "key and value heads of a layer: what the KV cache holds"),
    "decoder.max_position_embeddings": Said(POSITIONS, "positions at most: prompt, image and output tokens together"),
    "decoder.mrope_section": Said(
        ListOf(SIZE, MROPE_AXES, MROPE_AXES), "rotary frequencies of time, height and width; half of a head together"
    ),
    "decoder.tie_word_embeddings": Said(Flag(), "whether the head's weight is the embedding's"),
}

#: what a value of the workload may be, by its key
WORKLOAD_KINDS: Final[Mapping[str, Kind[Any]]] = {
    "workload.patch_size": Said(SIZE, "side of a patch, pixels"),
    "workload.merge_size": Said(COUNT, "patches a side that become one token"),
    "workload.min_pixels": Said(AREA, "area at least, pixels; a smaller page is made larger"),
    "workload.max_pixels": Said(AREA, "area at most, pixels; a larger page is made smaller"),
}


def check_patches(workload: MergedGridWorkload, patch_size: int, spatial_merge_size: int) -> None:
    """Raise `ModelMeterError` unless workload and tower have the same patches, and merge as many."""
    for name, of_vision, here, there in (
        ("patch_size", "patch_size", workload.patch_size, patch_size),
        ("merge_size", "spatial_merge_size", workload.merge_size, spatial_merge_size),
    ):
        if here != there:
            raise ModelMeterError(
                f"config: workload.{name}={here} differs from vision.{of_vision}={there}; set both to the same size."
            )


def check_widths(
    vision_hidden: int, num_heads: int, out: int, decoder: DenseDecoderSchema, head_dim: int | None = None
) -> None:
    """Raise `ModelMeterError` unless the widths of tower, merger and decoder fit together, and the rotary sections.

    head_dim: of the decoder, where it is stated; None: what its width is in heads.
    """
    if vision_hidden % (4 * num_heads):
        raise ModelMeterError(
            f"config: {num_heads} heads of a tower of width {vision_hidden} are no multiple of 4 wide, which its "
            "rotary embedding over rows and columns takes; set one of both."
        )
    if out != decoder.hidden_size:
        raise ModelMeterError(
            f"config: the tower makes tokens of {out} elements, and decoder.hidden_size={decoder.hidden_size}; set "
            "both to the same size."
        )
    if head_dim is not None:
        if 2 * sum(decoder.mrope_section) != head_dim:
            raise ModelMeterError(
                f"config: decoder.mrope_section={shown(decoder.mrope_section)} sums to {sum(decoder.mrope_section)}, "
                f"and decoder.head_dim={head_dim}; let it sum to half of that."
            )
        return
    head_dim, left = divmod(decoder.hidden_size, decoder.num_attention_heads)
    if left or 2 * sum(decoder.mrope_section) != head_dim:
        raise ModelMeterError(
            f"config: decoder.mrope_section={shown(decoder.mrope_section)} sums to {sum(decoder.mrope_section)}, and "
            f"decoder.hidden_size={decoder.hidden_size} in num_attention_heads={decoder.num_attention_heads} makes "
            f"heads of {decoder.hidden_size / decoder.num_attention_heads:g} elements; let it sum to half of a head."
        )
