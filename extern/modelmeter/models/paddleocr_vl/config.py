"""The configuration of PaddleOCR-VL: its groups, and what their values may be."""

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
from modelmeter.models.paddleocr_vl.checkpoint_files import FILES
from modelmeter.models.paddleocr_vl.executions import EXECUTIONS
from modelmeter.models.paddleocr_vl.workload import MODES

#: of the chat template and the task, "OCR:": assumed, as no tokenizer is at hand
PROMPT_TOKENS: Final = 20


@dataclass
class VisionSchema:
    """The group `vision`: the names of the model's vision configuration."""

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 384
    patch_size: int = 14
    spatial_merge_size: int = 2


@dataclass
class DecoderSchema(DenseDecoderSchema):
    """The group `decoder`: the names of the model's text configuration."""

    vocab_size: int = 103424
    hidden_size: int = 1024
    intermediate_size: int = 3072
    num_hidden_layers: int = 18
    num_attention_heads: int = 16
    num_key_value_heads: int = 2
    head_dim: int = 128
    max_position_embeddings: int = 131072
    tie_word_embeddings: bool = False


@dataclass
class WorkloadSchema(RegionsSchema, GridWorkloadSchema):
    """The group `workload`: arguments of `Workload`."""

    min_pixels: int = 147_384
    max_pixels: int = 2_822_400


@dataclass
class PaddleRuntimeSchema(RuntimeSchema):
    """The group `runtime`, with the prompt that is assumed for this model."""

    prompt_tokens: int = PROMPT_TOKENS


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)
    runtime: PaddleRuntimeSchema = field(default_factory=PaddleRuntimeSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **DECODER_KINDS,
    **WORKLOAD_KINDS,
    **REGION_KINDS,
    "decoder.head_dim": Said(SIZE, "elements of a head, whatever the decoder's width"),
    "vision.hidden_size": Said(SIZE, "width of the vision tower's blocks"),
    "vision.intermediate_size": Said(SIZE, "hidden width of a block's feed-forward part"),
    "vision.num_hidden_layers": Said(LAYERS, "blocks of the vision tower"),
    "vision.num_attention_heads": Said(COUNT, "attention heads of a block"),
    "vision.num_channels": Said(COUNT, "channels of a picture"),
    "vision.image_size": Said(SIZE, "side of the picture that the table of positions was trained for, pixels"),
    "vision.patch_size": Said(SIZE, "side of a patch, pixels; as workload.patch_size"),
    "vision.spatial_merge_size": Said(COUNT, "patches a side that become one token; as workload.merge_size"),
}

#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("paddleocr_vl", "paddleocr_vl_1_5", "paddleocr_vl_1_6")

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.paddleocr_vl.configs",
    name="paddleocr_vl",
    modes=MODES,
    executions=EXECUTIONS,
    profiled={"vllm": MergedGridWorkload.largest},
    checkpoints=CHECKPOINTS,
    files=FILES,
    expands=REGIONS_EXPAND,
)
