"""The configuration of Qwen3-VL: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Kind, ListOf, Maybe, Said, Whole
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
    AREA,
    DECODER_KINDS,
    WORKLOAD_KINDS,
    DenseDecoderSchema,
    GridWorkloadSchema,
)
from modelmeter.models.qwen3_vl.checkpoint_files import FILES
from modelmeter.models.qwen3_vl.executions import EXECUTIONS
from modelmeter.models.qwen3_vl.workload import MODES

#: of the chat template and of a request of a line or two: assumed, as no tokenizer is at hand
PROMPT_TOKENS: Final = 100


@dataclass
class VisionSchema:
    """The group `vision`: the names of the model's vision configuration."""

    depth: int = 24
    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 16
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2
    out_hidden_size: int = 2048
    num_position_embeddings: int = 2304
    deepstack_visual_indexes: list[int] = field(default_factory=lambda: [5, 11, 17])


@dataclass
class DecoderSchema(DenseDecoderSchema):
    """The group `decoder`: the names of the model's text configuration."""

    vocab_size: int = 151936
    hidden_size: int = 2048
    intermediate_size: int = 6144
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    num_key_value_heads: int = 8
    head_dim: int = 128
    max_position_embeddings: int = 262144
    mrope_section: list[int] = field(default_factory=lambda: [24, 20, 20])
    tie_word_embeddings: bool = True


@dataclass
class WorkloadSchema(GridWorkloadSchema):
    """The group `workload`: arguments of `Workload`."""

    patch_size: int = 16
    min_pixels: int = 65_536
    max_pixels: int = 16_777_216
    min_image_dim: int | None = None
    fit_min_pixels: int | None = None
    fit_max_pixels: int | None = None


@dataclass
class QwenRuntimeSchema(RuntimeSchema):
    """The group `runtime`, with the prompt that is assumed for this model."""

    prompt_tokens: int = PROMPT_TOKENS


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
    "decoder.head_dim": Said(SIZE, "elements of a head"),
    "vision.depth": Said(LAYERS, "blocks of the vision tower"),
    "vision.hidden_size": Said(SIZE, "width of the vision tower's blocks"),
    "vision.intermediate_size": Said(SIZE, "hidden width of a block's feed-forward part"),
    "vision.num_heads": Said(COUNT, "attention heads of a block"),
    "vision.in_channels": Said(COUNT, "channels of a picture"),
    "vision.patch_size": Said(SIZE, "side of a patch, pixels; as workload.patch_size"),
    "vision.spatial_merge_size": Said(COUNT, "patches a side that become one token; as workload.merge_size"),
    "vision.temporal_patch_size": Said(COUNT, "frames of a patch: a page is repeated that often"),
    "vision.out_hidden_size": Said(SIZE, "width of an image token, the decoder's"),
    "vision.num_position_embeddings": Said(SIZE, "rows of the table of positions, which is a square grid"),
    "vision.deepstack_visual_indexes": Said(
        ListOf(Whole(0, LAYERS.most - 1), 0, LAYERS.most),
        "blocks whose output is added to what the decoder's first layers give, from 0 and ascending",
    ),
    "workload.min_image_dim": Said(
        Maybe(SIZE), "pixels that a page's shorter side is scaled up to first; null: it is not"
    ),
    "workload.fit_min_pixels": Said(
        Maybe(AREA), "area that a smaller page is scaled up to before the limits above, pixels; null: it is not"
    ),
    "workload.fit_max_pixels": Said(
        Maybe(AREA), "area that a larger page is scaled down to before the limits above, pixels; null: it is not"
    ),
}

#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("qwen3_vl_2b", "qwen3_vl_4b", "qwen3_vl_8b", "chandra", "firered_ocr_2b")

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.qwen3_vl.configs",
    name="qwen3_vl",
    modes=MODES,
    executions=EXECUTIONS,
    profiled={"vllm": MergedGridWorkload.largest},
    checkpoints=CHECKPOINTS,
    files=FILES,
)
