"""The configuration of HunyuanOCR: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Kind, ListOf, Said
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
from modelmeter.models.hunyuan_vl.checkpoint_files import FILES
from modelmeter.models.hunyuan_vl.executions import EXECUTIONS
from modelmeter.models.hunyuan_vl.workload import MODES

#: of the chat template and the request: assumed, as no tokenizer is at hand
PROMPT_TOKENS: Final = 40


@dataclass
class VisionSchema:
    """The group `vision`: the names of the model's vision_config. out_hidden_size: of what the decoder is given."""

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    num_channels: int = 3
    out_hidden_size: int = 1024
    patch_size: int = 16
    spatial_merge_size: int = 2
    max_image_size: int = 2048


@dataclass
class DecoderSchema(DenseDecoderSchema):
    """The group `decoder`: the names of the model's config."""

    vocab_size: int = 120818
    hidden_size: int = 1024
    intermediate_size: int = 3584
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_key_value_heads: int = 8
    head_dim: int = 128
    max_position_embeddings: int = 32768
    mrope_section: list[int] = field(default_factory=lambda: [16, 16, 16, 16])
    tie_word_embeddings: bool = True


@dataclass
class WorkloadSchema(GridWorkloadSchema):
    """The group `workload`: arguments of `Workload`."""

    patch_size: int = 16
    min_pixels: int = 262_144
    max_pixels: int = 4_194_304


@dataclass
class HunYuanRuntimeSchema(RuntimeSchema):
    """The group `runtime`, with the prompt that is assumed for this model."""

    prompt_tokens: int = PROMPT_TOKENS


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)
    runtime: HunYuanRuntimeSchema = field(default_factory=HunYuanRuntimeSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **DECODER_KINDS,
    **WORKLOAD_KINDS,
    "vision.hidden_size": Said(SIZE, "width of the vision tower's blocks"),
    "vision.intermediate_size": Said(SIZE, "hidden width of a block's feed-forward part"),
    "vision.num_hidden_layers": Said(LAYERS, "blocks of the vision tower"),
    "vision.num_attention_heads": Said(COUNT, "attention heads of a block"),
    "vision.num_channels": Said(COUNT, "channels of a picture"),
    "vision.out_hidden_size": Said(SIZE, "width of an image token, the decoder's"),
    "vision.patch_size": Said(SIZE, "side of a patch, pixels; as workload.patch_size"),
    "vision.spatial_merge_size": Said(COUNT, "patches a side that become one token; as workload.merge_size"),
    "vision.max_image_size": Said(SIZE, "pixels a side that the position table has patches for; others are resized"),
    "decoder.head_dim": Said(COUNT, "width of a head"),
    "decoder.mrope_section": Said(
        ListOf(SIZE, 3, 4),
        "rotary frequencies of position (if there are four), column, row and image; half of a head together",
    ),
}

#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("hunyuan_ocr",)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.hunyuan_vl.configs",
    name="hunyuan_vl",
    modes=MODES,
    executions=EXECUTIONS,
    checkpoints=CHECKPOINTS,
    files=FILES,
)
