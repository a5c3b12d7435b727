"""The configuration of DeepSeek-OCR-2: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Kind, Said, Whole
from modelmeter.models.common.configuration import (
    COUNT,
    LAYERS,
    SIZE,
    CommonSchema,
    Configuration,
)
from modelmeter.models.common.deep_encoder_config import (
    DECODER_KINDS,
    SAM_KINDS,
    MoeDecoderSchema,
    SamSchema,
)
from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.common.tiles import MAX_TILES
from modelmeter.models.deepseek_ocr2.checkpoint_files import FILES
from modelmeter.models.deepseek_ocr2.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr2.workload import MODES, Workload


@dataclass
class EncoderSchema:
    """Arguments of `Qwen2Encoder`."""

    hidden_size: int = 896
    intermediate_size: int = 4864
    num_hidden_layers: int = 24
    num_attention_heads: int = 14
    num_key_value_heads: int = 2


@dataclass
class NarrowSamSchema(SamSchema):
    """Arguments of `SamEncoder`; its last convolution makes what the encoder takes."""

    downsample_channels: list[int] = field(default_factory=lambda: [512, 896])


@dataclass
class VisionSchema:
    """The group `vision`."""

    sam: NarrowSamSchema = field(default_factory=NarrowSamSchema)
    encoder: EncoderSchema = field(default_factory=EncoderSchema)


@dataclass
class WorkloadSchema:
    """The group `workload`: arguments of `Workload`."""

    size: int = 1024
    tile_size: int = 768
    min_patches: int = 2
    max_patches: int = 6
    patch_size: int = 16
    downsample_ratio: int = 4


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: MoeDecoderSchema = field(default_factory=MoeDecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **SAM_KINDS,
    **DECODER_KINDS,
    "vision.encoder.hidden_size": Said(SIZE, "width of the encoder's layers"),
    "vision.encoder.intermediate_size": Said(SIZE, "hidden width of a layer's feed-forward part"),
    "vision.encoder.num_hidden_layers": Said(LAYERS, "layers of the encoder"),
    "vision.encoder.num_attention_heads": Said(COUNT, "query heads of a layer"),
    "vision.encoder.num_key_value_heads": Said(COUNT, "key and value heads of a layer"),
    "workload.size": Said(SIZE, "side of the global view, pixels"),
    "workload.tile_size": Said(SIZE, "side of a tile, pixels"),
    "workload.min_patches": Said(Whole(1, MAX_TILES), "tiles at least, where a page is cut"),
    "workload.max_patches": Said(Whole(1, MAX_TILES), "tiles at most"),
    "workload.patch_size": Said(SIZE, "side of a patch, pixels"),
    "workload.downsample_ratio": Said(SIZE, "patches a side that become one token"),
}


def _profiled(workload: Workload) -> PatchesGrid:
    """vLLM's largest image: `DeepseekOCR2ProcessingInfo.get_image_size_with_most_features`, models/deepseek_ocr2.py."""
    return workload.layout(1536, 1536)


#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("deepseek_ocr2",)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.deepseek_ocr2.configs",
    name="deepseek_ocr2",
    modes=MODES,
    executions=EXECUTIONS,
    profiled={"vllm": _profiled},
    checkpoints=CHECKPOINTS,
    files=FILES,
)
