"""The configuration of LightOnOCR: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Flag, Kind
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
    "vision.hidden_size": SIZE,
    "vision.intermediate_size": SIZE,
    "vision.num_hidden_layers": LAYERS,
    "vision.num_attention_heads": COUNT,
    "vision.num_channels": COUNT,
    "decoder.vocab_size": SIZE,
    "decoder.hidden_size": SIZE,
    "decoder.intermediate_size": SIZE,
    "decoder.num_hidden_layers": LAYERS,
    "decoder.num_attention_heads": COUNT,
    "decoder.num_key_value_heads": COUNT,
    "decoder.head_dim": COUNT,
    "decoder.max_position_embeddings": POSITIONS,
    "decoder.tie_word_embeddings": Flag(),
    "workload.longest_edge": SIZE,
    "workload.patch_size": SIZE,
    "workload.spatial_merge_size": COUNT,
    "workload.whole_squares": Flag(),
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
