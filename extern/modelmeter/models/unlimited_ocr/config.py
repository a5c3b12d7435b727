"""The configuration of Unlimited-OCR: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Flag, Kind, Said, Whole
from modelmeter.models.common.configuration import SIZE, CommonSchema, Configuration
from modelmeter.models.common.deep_encoder_config import (
    DECODER_KINDS,
    ENCODER_KINDS,
    ClipSchema,
    MoeDecoderSchema,
    SamSchema,
)
from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.common.tiles import MAX_TILES
from modelmeter.models.unlimited_ocr.checkpoint_files import FILES
from modelmeter.models.unlimited_ocr.executions import EXECUTIONS
from modelmeter.models.unlimited_ocr.workload import MODES, Workload


@dataclass
class VisionSchema:
    """The group `vision`."""

    sam: SamSchema = field(default_factory=SamSchema)
    clip: ClipSchema = field(default_factory=ClipSchema)


@dataclass
class DecoderSchema(MoeDecoderSchema):
    """The group `decoder`: the names of the model's config."""

    max_position_embeddings: int = 32768
    sliding_window: int = 128


@dataclass
class WorkloadSchema:
    """The group `workload`: arguments of `Workload`."""

    size: int = 1024
    crop_to_patches: bool = True
    tile_size: int = 640
    min_patches: int = 2
    max_patches: int = 32
    patch_size: int = 16
    downsample_ratio: int = 4


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **ENCODER_KINDS,
    **DECODER_KINDS,
    "decoder.sliding_window": Said(Whole(2, 2**20), "generated tokens that a decode step sees"),
    "workload.size": Said(SIZE, "side of the global view, pixels"),
    "workload.crop_to_patches": Said(Flag(), "whether a page is cut into tiles beside its global view"),
    "workload.tile_size": Said(SIZE, "side of a tile, pixels"),
    "workload.min_patches": Said(Whole(1, MAX_TILES), "tiles at least, where a page is cut"),
    "workload.max_patches": Said(Whole(1, MAX_TILES), "tiles at most"),
    "workload.patch_size": Said(SIZE, "side of a patch, pixels"),
    "workload.downsample_ratio": Said(SIZE, "patches a side that become one token"),
}

#: what engines set otherwise for this model: the n-grams of vLLM's recipe, of one page (its processor cuts 32 tiles as
#: the published one does)
ENGINE_KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "vllm": {"host.ngram": "true", "host.ngram_size": 35, "host.ngram_window": 128}
}


def _profiled(workload: Workload) -> PatchesGrid:
    """vLLM's largest image: `UnlimitedOCRProcessingInfo.get_image_size_with_most_features`, models/unlimited_ocr.py."""
    return workload.layout(2560, 5120)


#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("unlimited_ocr",)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.unlimited_ocr.configs",
    name="unlimited_ocr",
    modes=MODES,
    executions=EXECUTIONS,
    profiled={"vllm": _profiled},
    engine_keys=ENGINE_KEYS,
    checkpoints=CHECKPOINTS,
    files=FILES,
)
