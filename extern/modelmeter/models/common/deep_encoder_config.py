"""The configuration that models of the `deep_encoder` family share: SAM, CLIP, a decoder with experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from modelmeter.errors import ModelMeterError, shown
from modelmeter.kinds import Flag, Kind, ListOf, Said, Whole
from modelmeter.models.common.configuration import COUNT, EXPERTS, LAYERS, POSITIONS, SIZE
from modelmeter.models.common.deep_encoder import DOWNSAMPLE_RATIO


@dataclass
class SamSchema:
    """Arguments of `SamEncoder`."""

    patch_size: int = 16
    in_chans: int = 3
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    out_chans: int = 256
    qkv_bias: bool = True
    window_size: int = 14
    global_attn_indexes: list[int] = field(default_factory=lambda: [2, 5, 8, 11])
    downsample_channels: list[int] = field(default_factory=lambda: [512, 1024])
    pretrain_img_size: int = 1024


@dataclass
class ClipSchema:
    """Arguments of `ClipEncoder`."""

    hidden_size: int = 1024
    num_layers: int = 24
    num_attention_heads: int = 16
    ffn_hidden_size: int = 4096
    num_positions: int = 257


@dataclass
class MoeDecoderSchema:
    """Arguments of `Decoder`, and the rows of its embedding, at the sizes that the family shares."""

    vocab_size: int = 129280
    hidden_size: int = 1280
    intermediate_size: int = 6848
    moe_intermediate_size: int = 896
    num_hidden_layers: int = 12
    num_attention_heads: int = 10
    num_key_value_heads: int = 10
    n_routed_experts: int = 64
    num_experts_per_tok: int = 6
    n_shared_experts: int = 2
    first_k_dense_replace: int = 1
    max_position_embeddings: int = 8192


#: what a value of SAM may be, by its key
SAM_KINDS: Final[Mapping[str, Kind[Any]]] = {
    "vision.sam.patch_size": Said(SIZE, "side of a patch, pixels"),
    "vision.sam.in_chans": Said(SIZE, "channels of a picture"),
    "vision.sam.embed_dim": Said(SIZE, "width of SAM's blocks"),
    "vision.sam.depth": Said(LAYERS, "blocks of SAM"),
    "vision.sam.num_heads": Said(COUNT, "attention heads of a SAM block"),
    "vision.sam.mlp_dim": Said(SIZE, "hidden width of a SAM block's feed-forward part"),
    "vision.sam.out_chans": Said(SIZE, "channels after SAM's neck"),
    "vision.sam.qkv_bias": Said(Flag(), "whether queries, keys and values have a bias"),
    "vision.sam.window_size": Said(SIZE, "side of an attention window, patches"),
    "vision.sam.global_attn_indexes": Said(
        ListOf(Whole(0, LAYERS.most - 1), 0, LAYERS.most),
        "blocks that attend to the whole view, from 0; the others attend within windows",
    ),
    "vision.sam.downsample_channels": Said(
        ListOf(SIZE, 2, 2), "channels after each of the two convolutions of stride 2 behind the neck"
    ),
    "vision.sam.pretrain_img_size": Said(
        SIZE, "side that the stored position embeddings are of, pixels; another is interpolated"
    ),
}

#: what a value of SAM and CLIP may be, by its key
ENCODER_KINDS: Final[Mapping[str, Kind[Any]]] = {
    **SAM_KINDS,
    "vision.clip.hidden_size": Said(SIZE, "width of CLIP's blocks"),
    "vision.clip.num_layers": Said(LAYERS, "blocks of CLIP"),
    "vision.clip.num_attention_heads": Said(COUNT, "attention heads of a CLIP block"),
    "vision.clip.ffn_hidden_size": Said(SIZE, "hidden width of a CLIP block's feed-forward part"),
    "vision.clip.num_positions": Said(
        Whole(2, POSITIONS.most), "stored position embeddings, that of the class token included"
    ),
}

#: what a value of the decoder may be, by its key
DECODER_KINDS: Final[Mapping[str, Kind[Any]]] = {
    "decoder.vocab_size": Said(Whole(1, 2**30), "tokens of the vocabulary: rows of the embedding and of the head"),
    "decoder.hidden_size": Said(SIZE, "width of the decoder's layers"),
    "decoder.intermediate_size": Said(SIZE, "hidden width of a dense feed-forward part"),
    "decoder.moe_intermediate_size": Said(SIZE, "hidden width of one expert"),
    "decoder.num_hidden_layers": Said(LAYERS, "layers of the decoder"),
    "decoder.num_attention_heads": Said(COUNT, "query heads of a layer"),
    "decoder.num_key_value_heads": Said(COUNT, "key and value heads of a layer: what the KV cache holds"),
    "decoder.n_routed_experts": Said(EXPERTS, "experts of a layer that tokens are routed to"),
    "decoder.num_experts_per_tok": Said(EXPERTS, "routed experts that a token goes to"),
    "decoder.n_shared_experts": Said(COUNT, "experts of a layer that every token goes to"),
    "decoder.first_k_dense_replace": Said(Whole(0, LAYERS.most), "first layers that are dense in place of experts"),
    "decoder.max_position_embeddings": Said(POSITIONS, "positions at most: prompt, image and output tokens together"),
}


class Patches(Protocol):
    """What of a workload the encoder must agree with."""

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""

    @property
    def downsample_ratio(self) -> int:
        """Patches a side that become one token."""


def check_patches(workload: Patches, sam: SamSchema) -> None:
    """Raise `ModelMeterError` unless workload and encoder have the same patches."""
    if workload.patch_size != sam.patch_size:
        raise ModelMeterError(
            f"config: workload.patch_size={workload.patch_size} differs from "
            f"vision.sam.patch_size={sam.patch_size}; set both to the same size."
        )
    if workload.downsample_ratio != DOWNSAMPLE_RATIO:
        raise ModelMeterError(
            f"config: workload.downsample_ratio={workload.downsample_ratio}, but net_2 and net_3 of the SAM "
            f"encoder make one token of {DOWNSAMPLE_RATIO} x {DOWNSAMPLE_RATIO} patches; leave it at that."
        )


def check_sam(sam: SamSchema) -> None:
    """Raise `ModelMeterError` unless the sizes of SAM fit together."""
    indexes = sam.global_attn_indexes
    if len(set(indexes)) < len(indexes) or max(indexes, default=0) >= sam.depth:
        raise ModelMeterError(
            f"config: vision.sam.global_attn_indexes={shown(indexes)} are no blocks of vision.sam.depth={sam.depth}; "
            f"give numbers from 0 to {sam.depth - 1}, each once."
        )
    if sam.pretrain_img_size % sam.patch_size:
        raise ModelMeterError(
            f"config: vision.sam.pretrain_img_size={sam.pretrain_img_size} is no multiple of "
            f"vision.sam.patch_size={sam.patch_size}; give one."
        )


def check_encoder(sam: SamSchema, clip: ClipSchema) -> None:
    """Raise `ModelMeterError` unless the sizes of SAM and CLIP fit together: positions, and widths."""
    check_sam(sam)
    width = sam.downsample_channels[-1]
    if clip.hidden_size != width:
        raise ModelMeterError(
            f"config: vision.clip.hidden_size={clip.hidden_size} takes the {width} channels that the last of "
            f"vision.sam.downsample_channels={sam.downsample_channels} makes; set both to the same width."
        )


def check_heads(hidden_size: int, num_attention_heads: int, group: str = "decoder") -> None:
    """Raise `ModelMeterError` where the heads of a group's layers are of an odd width."""
    head_dim, left = divmod(hidden_size, num_attention_heads)
    if not left and head_dim % 2:
        raise ModelMeterError(
            f"config: {group}.hidden_size={hidden_size} in num_attention_heads={num_attention_heads} "
            f"makes heads of {head_dim} elements; the rotary embedding takes even ones."
        )
