"""The configuration of LightOnOCR: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Flag, Kind, Said
from modelmeter.models.common.configuration import (
    COUNT,
    LAYERS,
    POSITIONS,
    SIZE,
    CommonSchema,
    Configuration,
)
from modelmeter.models.lighton_ocr.checkpoint_files import FILES
from modelmeter.models.lighton_ocr.executions import EXECUTIONS
from modelmeter.models.lighton_ocr.workload import MODES


@dataclass
class VisionSchema:
    """The group `vision`: the names of the model's vision_config."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_channels: int = 3


@dataclass
class DecoderSchema:
    """The group `decoder`: the names of the model's text_config."""

    vocab_size: int = 151936
    hidden_size: int = 1024
    intermediate_size: int = 3072
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    num_key_value_heads: int = 8
    head_dim: int = 128
    max_position_embeddings: int = 8192
    tie_word_embeddings: bool = True


@dataclass
class WorkloadSchema:
    """The group `workload`: arguments of `Workload`."""

    longest_edge: int = 1540
    patch_size: int = 14
    spatial_merge_size: int = 2
    whole_squares: bool = False


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    "vision.hidden_size": Said(SIZE, "width of the vision tower's blocks"),
    "vision.intermediate_size": Said(SIZE, "hidden width of a block's feed-forward part"),
    "vision.num_hidden_layers": Said(LAYERS, "blocks of the vision tower"),
    "vision.num_attention_heads": Said(COUNT, "attention heads of a block"),
    "vision.num_channels": Said(COUNT, "channels of a picture"),
    "decoder.vocab_size": Said(SIZE, "tokens of the vocabulary: rows of the embedding and of the head"),
    "decoder.hidden_size": Said(SIZE, "width of the decoder's layers"),
    "decoder.intermediate_size": Said(SIZE, "hidden width of a dense feed-forward part"),
    "decoder.num_hidden_layers": Said(LAYERS, "layers of the decoder"),
    "decoder.num_attention_heads": Said(COUNT, "query heads of a layer"),
    "decoder.num_key_value_heads": Said(COUNT, "key and value heads of a layer: what the KV cache holds"),
    "decoder.head_dim": Said(COUNT, "width of a head"),
    "decoder.max_position_embeddings": Said(POSITIONS, "positions at most: prompt, image and output tokens together"),
    "decoder.tie_word_embeddings": Said(Flag(), "whether the head's weight is the embedding's"),
    "workload.longest_edge": Said(SIZE, "longer side of a page at most, pixels; a larger page is made smaller"),
    "workload.patch_size": Said(SIZE, "side of a patch, pixels"),
    "workload.spatial_merge_size": Said(COUNT, "patches a side that become one token"),
    "workload.whole_squares": Said(Flag(), "whether each side is made a whole number of tokens"),
}

#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("lighton_ocr_1b", "lighton_ocr_2_1b")

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.lighton_ocr.configs",
    name="lighton_ocr",
    modes=MODES,
    executions=EXECUTIONS,
    checkpoints=CHECKPOINTS,
    files=FILES,
)
