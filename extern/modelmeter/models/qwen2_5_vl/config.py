"""The configuration of Qwen2.5-VL: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Kind, ListOf, Maybe, Whole
from modelmeter.models.common.configuration import (
    COUNT,
    LAYERS,
    SIZE,
    CommonSchema,
    Configuration,
    RuntimeSchema,
)
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

    prompt_tokens: int = PROMPT_TOKENS


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
    "vision.depth": LAYERS,
    "vision.hidden_size": SIZE,
    "vision.intermediate_size": SIZE,
    "vision.num_heads": COUNT,
    "vision.in_channels": COUNT,
    "vision.patch_size": SIZE,
    "vision.spatial_merge_size": COUNT,
    "vision.temporal_patch_size": COUNT,
    "vision.window_size": SIZE,
    "vision.out_hidden_size": SIZE,
    "vision.fullatt_block_indexes": ListOf(Whole(0, LAYERS.most - 1), 0, LAYERS.most),
    "workload.target_longest_image_dim": Maybe(SIZE),
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
    checkpoints=CHECKPOINTS,
    files=FILES,
)
