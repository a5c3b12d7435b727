"""The configuration of GLM-OCR: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Kind, Said
from modelmeter.models.common.configuration import (
    COUNT,
    LAYERS,
    SIZE,
    CommonSchema,
    Configuration,
    RuntimeSchema,
)
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.packed_pages_config import (
    AREA,
    DECODER_KINDS,
    WORKLOAD_KINDS,
    DenseDecoderSchema,
    GridWorkloadSchema,
)
from modelmeter.models.common.passes import REGION_KINDS
from modelmeter.models.common.region_tables import REGIONS_EXPAND
from modelmeter.models.common.regions import RegionsSchema
from modelmeter.models.glm_ocr.checkpoint_files import FILES
from modelmeter.models.glm_ocr.executions import EXECUTIONS
from modelmeter.models.glm_ocr.workload import MODES, Workload

#: of the chat template and the request for a page's text: assumed, as no tokenizer is at hand
PROMPT_TOKENS: Final = 20


@dataclass
class VisionSchema:
    """The group `vision`: the names of the model's vision configuration."""

    depth: int = 24
    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2
    out_hidden_size: int = 1536


@dataclass
class DecoderSchema(DenseDecoderSchema):
    """The group `decoder`: the names of the model's text configuration."""

    vocab_size: int = 59392
    hidden_size: int = 1536
    intermediate_size: int = 4608
    num_hidden_layers: int = 16
    num_attention_heads: int = 16
    num_key_value_heads: int = 8
    head_dim: int = 128
    max_position_embeddings: int = 131072


@dataclass
class WorkloadSchema(RegionsSchema, GridWorkloadSchema):
    """The group `workload`: arguments of `Workload`."""

    min_pixels: int = 12_544
    max_pixels: int = 9_633_792


@dataclass
class GlmRuntimeSchema(RuntimeSchema):
    """The group `runtime`, with the prompt that is assumed for this model."""

    prompt_tokens: int = PROMPT_TOKENS


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)
    runtime: GlmRuntimeSchema = field(default_factory=GlmRuntimeSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **DECODER_KINDS,
    **WORKLOAD_KINDS,
    "decoder.head_dim": Said(SIZE, "width of an attention head of the decoder"),
    "vision.depth": Said(LAYERS, "blocks of the vision tower"),
    "vision.hidden_size": Said(SIZE, "width of the vision tower's blocks"),
    "vision.intermediate_size": Said(SIZE, "hidden width of a block's feed-forward part"),
    "vision.num_heads": Said(COUNT, "attention heads of a block"),
    "vision.in_channels": Said(COUNT, "channels of a picture"),
    "vision.patch_size": Said(SIZE, "side of a patch, pixels; as workload.patch_size"),
    "vision.spatial_merge_size": Said(COUNT, "patches a side that become one token; as workload.merge_size"),
    "vision.temporal_patch_size": Said(COUNT, "frames of a patch: a page is repeated that often"),
    "vision.out_hidden_size": Said(SIZE, "width of an image token, the decoder's"),
    "workload.min_pixels": Said(AREA, "area of a page's two frames at least, pixels; a smaller page is made larger"),
    "workload.max_pixels": Said(AREA, "area of a page's two frames at most, pixels; a larger page is made smaller"),
    **REGION_KINDS,
}


def _profiled(workload: Workload) -> MergedGrid:
    """vLLM's largest image, any larger square: `Glm4vProcessingInfo.get_image_size_with_most_features`, glm4_1v.py."""
    return workload.layout(9_999, 9_999)


#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("glm_ocr",)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.glm_ocr.configs",
    name="glm_ocr",
    modes=MODES,
    executions=EXECUTIONS,
    profiled={"vllm": _profiled},
    checkpoints=CHECKPOINTS,
    files=FILES,
    expands=REGIONS_EXPAND,
)
