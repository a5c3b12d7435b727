"""The configuration of Qianfan-OCR: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from modelmeter.kinds import Flag, Kind, Real, Said, Whole
from modelmeter.models.common.configuration import (
    COUNT,
    LAYERS,
    SIZE,
    CommonSchema,
    Configuration,
    RuntimeSchema,
)
from modelmeter.models.common.packed_pages_config import DECODER_KINDS
from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.common.tiles import MAX_TILES
from modelmeter.models.qianfan_ocr.checkpoint_files import FILES
from modelmeter.models.qianfan_ocr.executions import EXECUTIONS
from modelmeter.models.qianfan_ocr.workload import MODES, Workload

#: the chat template, a request, and the two markers around an image, however it is cut: assumed, as no tokenizer is
#: at hand
PROMPT_TOKENS: Final = 30


@dataclass
class VisionSchema:
    """The group `vision`: the names of the model's vision_config."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16


@dataclass
class DecoderSchema:
    """The group `decoder`: the names of the model's text_config."""

    vocab_size: int = 153678
    hidden_size: int = 2560
    intermediate_size: int = 9728
    num_hidden_layers: int = 36
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int = 128
    max_position_embeddings: int = 32768
    tie_word_embeddings: bool = False


@dataclass
class WorkloadSchema:
    """The group `workload`: arguments of `Workload`."""

    size: int = 448
    crop_to_patches: bool = True
    min_patches: int = 1
    max_patches: int = 12
    patch_size: int = 14
    downsample_ratio: float = 0.5


@dataclass
class QianfanRuntimeSchema(RuntimeSchema):
    """The group `runtime`, with the prompt that is assumed for this model."""

    prompt_tokens: int | None = PROMPT_TOKENS


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)
    runtime: QianfanRuntimeSchema = field(default_factory=QianfanRuntimeSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    "vision.hidden_size": Said(SIZE, "width of the vision tower's blocks"),
    "vision.intermediate_size": Said(SIZE, "hidden width of a block's feed-forward part"),
    "vision.num_hidden_layers": Said(LAYERS, "blocks of the vision tower"),
    "vision.num_attention_heads": Said(COUNT, "attention heads of a block"),
    **{key: kind for key, kind in DECODER_KINDS.items() if key != "decoder.mrope_section"},
    "decoder.head_dim": Said(COUNT, "width of a head"),
    "workload.size": Said(SIZE, "side of a view, pixels"),
    "workload.crop_to_patches": Said(Flag(), "whether pages are cut into tiles"),
    "workload.min_patches": Said(Whole(1, MAX_TILES), "tiles at least; one is the page itself"),
    "workload.max_patches": Said(Whole(1, MAX_TILES), "tiles at most, the thumbnail not among them"),
    "workload.patch_size": Said(SIZE, "side of a patch, pixels"),
    "workload.downsample_ratio": Said(Real(Fraction(1, 8), Fraction(1)), "share of a side that pixel shuffle leaves"),
}


def _profiled(workload: Workload) -> PatchesGrid:
    """vLLM's largest image, of most tiles: `get_image_size_with_most_features` of InternVL, models/internvl.py."""
    return workload.layout(workload.size * workload.max_patches, workload.size)


#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("qianfan_ocr",)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.qianfan_ocr.configs",
    name="qianfan_ocr",
    modes=MODES,
    executions=EXECUTIONS,
    profiled={"vllm": _profiled},
    checkpoints=CHECKPOINTS,
    files=FILES,
)
