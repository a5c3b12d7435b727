"""The configuration of Qwen2.5-VL: its groups, and what their values may be."""

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
    DECODER_KINDS,
    WORKLOAD_KINDS,
    DenseDecoderSchema,
    GridWorkloadSchema,
)
from modelmeter.models.qwen2_5_vl.checkpoint_files import FILES
from modelmeter.models.qwen2_5_vl.executions import EXECUTIONS
from modelmeter.models.qwen2_5_vl.workload import MODES

#: of the chat template and of a request of a line or two: assumed, as no tokenizer is at hand
PROMPT_TOKENS: Final = 100


@dataclass
class VisionSchema:
    """The group `vision`: the names of the model's vision configuration."""

    depth: int = 32
    hidden_size: int = 1280
    intermediate_size: int = 3420
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2
    window_size: int = 112
    out_hidden_size: int = 3584
    fullatt_block_indexes: list[int] = field(default_factory=lambda: [7, 15, 23, 31])


@dataclass
class WorkloadSchema(GridWorkloadSchema):
    """The group `workload`: arguments of `Workload`."""

    target_longest_image_dim: int | None = None


@dataclass
class QwenRuntimeSchema(RuntimeSchema):
    """The group `runtime`, with the prompt that is assumed for this model."""

    prompt_tokens: int | None = PROMPT_TOKENS


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DenseDecoderSchema = field(default_factory=DenseDecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)
    runtime: QwenRuntimeSchema = field(default_factory=QwenRuntimeSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **DECODER_KINDS,
    **WORKLOAD_KINDS,
    "vision.depth": Said(LAYERS, "blocks of the vision tower"),
    "vision.hidden_size": Said(SIZE, "width of the vision tower's blocks"),
    "vision.intermediate_size": Said(SIZE, "hidden width of a block's feed-forward part"),
    "vision.num_heads": Said(COUNT, "attention heads of a block"),
    "vision.in_channels": Said(COUNT, "channels of a picture"),
    "vision.patch_size": Said(SIZE, "side of a patch, pixels; as workload.patch_size"),
    "vision.spatial_merge_size": Said(COUNT, "patches a side that become one token; as workload.merge_size"),
    "vision.temporal_patch_size": Said(COUNT, "frames of a patch: a page is repeated that often"),
    "vision.window_size": Said(SIZE, "side of an attention window, pixels"),
    "vision.out_hidden_size": Said(SIZE, "width of an image token, the decoder's"),
    "vision.fullatt_block_indexes": Said(
        ListOf(Whole(0, LAYERS.most - 1), 0, LAYERS.most),
        "blocks that attend to the whole page, from 0; the others attend within windows",
    ),
    "workload.target_longest_image_dim": Said(
        Maybe(SIZE), "pixels that the longer side is scaled to first; null: none"
    ),
}

#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = (
    "olmocr_2_7b",
    "rolmocr",
    "infinity_parser_7b",
    "nanonets_ocr2_3b",
    "ocrflux_3b",
    "qwen2_5_vl_3b",
    "qwen2_5_vl_7b",
)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.qwen2_5_vl.configs",
    name="qwen2_5_vl",
    modes=MODES,
    executions=EXECUTIONS,
    profiled={"vllm": MergedGridWorkload.largest},
    checkpoints=CHECKPOINTS,
    files=FILES,
)
