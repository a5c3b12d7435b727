"""The configuration of Qwen2-VL: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Kind, Maybe, Said
from modelmeter.models.common.configuration import (
    COUNT,
    LAYERS,
    SIZE,
    CommonSchema,
    Configuration,
    RuntimeSchema,
)
from modelmeter.models.common.merged_grid import MergedGridWorkload
from modelmeter.models.common.packed_pages_config import (
    DECODER_KINDS,
    WORKLOAD_KINDS,
    DenseDecoderSchema,
    GridWorkloadSchema,
)
from modelmeter.models.common.passes import REGION_KINDS
from modelmeter.models.common.region_tables import REGIONS_EXPAND
from modelmeter.models.common.regions import RegionsSchema
from modelmeter.models.qwen2_vl.checkpoint_files import FILES
from modelmeter.models.qwen2_vl.executions import EXECUTIONS
from modelmeter.models.qwen2_vl.workload import MODES

#: of the chat template and MinerU2.5's request for a page's layout: assumed, as no tokenizer is at hand
PROMPT_TOKENS: Final = 30


@dataclass
class VisionSchema:
    """The group `vision`: the names of the model's vision configuration. hidden_size: of what the decoder is given."""

    depth: int = 32
    embed_dim: int = 1280
    hidden_size: int = 896
    mlp_ratio: int = 4
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2


@dataclass
class DecoderSchema(DenseDecoderSchema):
    """The group `decoder`: the names of the model's text configuration."""

    vocab_size: int = 151936
    hidden_size: int = 896
    intermediate_size: int = 4864
    num_hidden_layers: int = 24
    num_attention_heads: int = 14
    num_key_value_heads: int = 2
    max_position_embeddings: int = 32768
    mrope_section: list[int] = field(default_factory=lambda: [8, 12, 12])
    tie_word_embeddings: bool = True


@dataclass
class WorkloadSchema(RegionsSchema, GridWorkloadSchema):
    """The group `workload`: arguments of `Workload`."""

    layout_image_size: int | None = None
    min_image_edge: int | None = None
    max_image_edge_ratio: int | None = None


@dataclass
class QwenRuntimeSchema(RuntimeSchema):
    """The group `runtime`, with the prompt that is assumed for this model."""

    prompt_tokens: int | None = PROMPT_TOKENS


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)
    runtime: QwenRuntimeSchema = field(default_factory=QwenRuntimeSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **DECODER_KINDS,
    **WORKLOAD_KINDS,
    "vision.depth": Said(LAYERS, "blocks of the vision tower"),
    "vision.embed_dim": Said(SIZE, "width of the vision tower's blocks"),
    "vision.hidden_size": Said(SIZE, "width of an image token, the decoder's"),
    "vision.mlp_ratio": Said(COUNT, "hidden width of a block's feed-forward part over embed_dim"),
    "vision.num_heads": Said(COUNT, "attention heads of a block"),
    "vision.in_channels": Said(COUNT, "channels of a picture"),
    "vision.patch_size": Said(SIZE, "side of a patch, pixels; as workload.patch_size"),
    "vision.spatial_merge_size": Said(COUNT, "patches a side that become one token; as workload.merge_size"),
    "vision.temporal_patch_size": Said(COUNT, "frames of a patch: a page is repeated that often"),
    "workload.layout_image_size": Said(
        Maybe(SIZE), "side of the square that a page is stretched to first, pixels; null: none"
    ),
    "workload.min_image_edge": Said(Maybe(SIZE), "shorter side that a region is enlarged to, pixels; null: none is"),
    "workload.max_image_edge_ratio": Said(
        Maybe(COUNT), "longer side over the shorter above which a region is filled up; null: none is"
    ),
    **REGION_KINDS,
}

#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("mineru2_5",)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.qwen2_vl.configs",
    name="qwen2_vl",
    modes=MODES,
    executions=EXECUTIONS,
    profiled={"vllm": MergedGridWorkload.largest},
    checkpoints=CHECKPOINTS,
    files=FILES,
    expands=REGIONS_EXPAND,
)
