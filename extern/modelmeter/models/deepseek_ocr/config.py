"""The configuration of DeepSeek-OCR: its groups, their published values, and what else these may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Flag, Kind, ListOf, Whole
from modelmeter.models.common.configuration import (
    COUNT,
    EXPERTS,
    LAYERS,
    POSITIONS,
    SIZE,
    WORD,
    Configuration,
    ExecutionSchema,
    RuntimeSchema,
)
from modelmeter.models.deepseek_ocr.vision_workload import MAX_CROPS, MODES


@dataclass
class SamSchema:
    """Arguments of `ImageEncoderViT`."""

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
    """Arguments of `VitModel`."""

    hidden_size: int = 1024
    num_layers: int = 24
    num_attention_heads: int = 16
    ffn_hidden_size: int = 4096
    num_positions: int = 257


@dataclass
class ProjectorSchema:
    """Arguments of `MlpProjector`."""

    projector_type: str = "linear"
    input_dim: int = 2048
    n_embed: int = 1280
    depth: int = 1
    mlp_ratio: int = 1
    downsample_ratio: int = 2


@dataclass
class VisionSchema:
    """The group `vision`."""

    sam: SamSchema = field(default_factory=SamSchema)
    clip: ClipSchema = field(default_factory=ClipSchema)
    projector: ProjectorSchema = field(default_factory=ProjectorSchema)


@dataclass
class DecoderSchema:
    """The group `decoder`: the published config's names."""

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


@dataclass
class WorkloadSchema:
    """The group `workload`: arguments of `VisionWorkload`."""

    base_size: int = 1024
    image_size: int = 640
    crop_mode: bool = True
    patch_size: int = 16
    downsample_ratio: int = 4
    min_num: int = 2
    max_num: int = 9


@dataclass
class ModelSchema:
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)
    runtime: RuntimeSchema = field(default_factory=RuntimeSchema)
    execution: ExecutionSchema = field(default_factory=ExecutionSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    "vision.sam.patch_size": SIZE,
    "vision.sam.in_chans": SIZE,
    "vision.sam.embed_dim": SIZE,
    "vision.sam.depth": LAYERS,
    "vision.sam.num_heads": COUNT,
    "vision.sam.mlp_dim": SIZE,
    "vision.sam.out_chans": SIZE,
    "vision.sam.qkv_bias": Flag(),
    "vision.sam.window_size": SIZE,
    "vision.sam.global_attn_indexes": ListOf(Whole(0, LAYERS.most - 1), 0, LAYERS.most),
    "vision.sam.downsample_channels": ListOf(SIZE, 2, 2),
    "vision.sam.pretrain_img_size": SIZE,
    "vision.clip.hidden_size": SIZE,
    "vision.clip.num_layers": LAYERS,
    "vision.clip.num_attention_heads": COUNT,
    "vision.clip.ffn_hidden_size": SIZE,
    "vision.clip.num_positions": Whole(2, POSITIONS.most),
    "vision.projector.projector_type": WORD,
    "vision.projector.input_dim": SIZE,
    "vision.projector.n_embed": SIZE,
    "vision.projector.depth": LAYERS,
    "vision.projector.mlp_ratio": COUNT,
    "vision.projector.downsample_ratio": COUNT,
    "decoder.vocab_size": Whole(1, 2**30),
    "decoder.hidden_size": SIZE,
    "decoder.intermediate_size": SIZE,
    "decoder.moe_intermediate_size": SIZE,
    "decoder.num_hidden_layers": LAYERS,
    "decoder.num_attention_heads": COUNT,
    "decoder.num_key_value_heads": COUNT,
    "decoder.n_routed_experts": EXPERTS,
    "decoder.num_experts_per_tok": EXPERTS,
    "decoder.n_shared_experts": COUNT,
    "decoder.first_k_dense_replace": Whole(0, LAYERS.most),
    "decoder.max_position_embeddings": POSITIONS,
    "workload.base_size": SIZE,
    "workload.image_size": SIZE,
    "workload.crop_mode": Flag(),
    "workload.patch_size": SIZE,
    "workload.downsample_ratio": SIZE,
    "workload.min_num": Whole(1, MAX_CROPS),
    "workload.max_num": Whole(1, MAX_CROPS),
}

CONFIGURATION: Final = Configuration(
    schema=ModelSchema, kinds=KINDS, module="modelmeter.models.deepseek_ocr.configs", name="deepseek_ocr", modes=MODES
)
