"""The configuration of DeepSeek-OCR: its groups, their published values, and what else these may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Flag, Kind, Said, Whole
from modelmeter.models.common.configuration import (
    COUNT,
    LAYERS,
    SIZE,
    WORD,
    CommonSchema,
    Configuration,
)
from modelmeter.models.common.deep_encoder_config import (
    DECODER_KINDS,
    ENCODER_KINDS,
    ClipSchema,
    MoeDecoderSchema,
    SamSchema,
)
from modelmeter.models.deepseek_ocr.checkpoint_files import FILES
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr.vision_workload import MAX_CROPS, MODES, ViewLayout, VisionWorkload


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
class DecoderSchema(MoeDecoderSchema):
    """The group `decoder`: the published config's names."""

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
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **ENCODER_KINDS,
    "vision.projector.projector_type": Said(
        WORD, "linear is published; the others are identity, mlp_gelu, downsample_mlp_gelu"
    ),
    "vision.projector.input_dim": Said(SIZE, "width of what the projector takes"),
    "vision.projector.n_embed": Said(SIZE, "width of what it makes, the decoder's"),
    "vision.projector.depth": Said(LAYERS, "linear layers of the mlp types"),
    "vision.projector.mlp_ratio": Said(COUNT, "hidden width over n_embed, of downsample_mlp_gelu"),
    "vision.projector.downsample_ratio": Said(COUNT, "neighbours a side that become one token, of downsample_mlp_gelu"),
    **DECODER_KINDS,
    "workload.base_size": Said(SIZE, "side of the global view in crop mode, pixels"),
    "workload.image_size": Said(SIZE, "side of a crop in crop mode, of the only view without it, pixels"),
    "workload.crop_mode": Said(Flag(), "whether a page is cut into crops beside its global view"),
    "workload.patch_size": Said(SIZE, "side of a patch, pixels"),
    "workload.downsample_ratio": Said(SIZE, "patches a side that become one token"),
    "workload.min_num": Said(Whole(1, MAX_CROPS), "crops at least, where a page is cut"),
    "workload.max_num": Said(Whole(1, MAX_CROPS), "crops at most"),
}

#: crops that vLLM and SGLang cut at most: MAX_CROPS in their processors of this model and in the published vLLM example
ENGINE_MAX_CROPS: Final = 6

#: what engines set otherwise for this model; the n-grams are those of vLLM's recipe
ENGINE_KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "vllm": {
        "workload.max_num": ENGINE_MAX_CROPS,
        "host.ngram": "true",
        "host.ngram_size": 30,
        "host.ngram_window": 90,
    },
    "sglang": {"workload.max_num": ENGINE_MAX_CROPS},
}


def _profiled(workload: VisionWorkload) -> ViewLayout:
    """vLLM's largest image: `DeepseekOCRProcessingInfo.get_image_size_with_most_features`, models/deepseek_ocr.py."""
    side = 2048 if (workload.image_size, workload.base_size) == (1024, 1280) else 1280
    return workload.layout(side, side)


#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("deepseek_ocr",)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.deepseek_ocr.configs",
    name="deepseek_ocr",
    modes=MODES,
    executions=EXECUTIONS,
    engine_keys=ENGINE_KEYS,
    profiled={"vllm": _profiled},
    checkpoints=CHECKPOINTS,
    files=FILES,
)
