"""The toy's configuration: its groups, their values, and what else these may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Kind, Said, Whole
from modelmeter.models.common.configuration import (
    COUNT,
    LAYERS,
    POSITIONS,
    SIZE,
    CommonSchema,
    Configuration,
)
from tests.toy_model.checkpoint_files import FILES
from tests.toy_model.executions import EXECUTIONS
from tests.toy_model.workload import MODES, WINDOW


@dataclass
class VisionSchema:
    """The group `vision`."""

    hidden_size: int = 24
    intermediate_size: int = 40
    num_heads: int = 3
    depth: int = 2


@dataclass
class DecoderSchema:
    """The group `decoder`."""

    vocab_size: int = 97
    hidden_size: int = 32
    intermediate_size: int = 56
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 8192


@dataclass
class WorkloadSchema:
    """The group `workload`: arguments of `Workload`."""

    patch_size: int = 28
    max_patches: int = 64


@dataclass
class ModelSchema(CommonSchema):
    """All of it."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    "vision.hidden_size": Said(SIZE, "width of the vision tower's blocks"),
    "vision.intermediate_size": Said(SIZE, "hidden width of a block's feed-forward part"),
    "vision.num_heads": Said(COUNT, "attention heads of a block"),
    "vision.depth": Said(LAYERS, "blocks of the vision tower"),
    "decoder.vocab_size": Said(SIZE, "tokens of the vocabulary: rows of the embedding and of the head"),
    "decoder.hidden_size": Said(SIZE, "width of the decoder's layers"),
    "decoder.intermediate_size": Said(SIZE, "hidden width of a dense feed-forward part"),
    "decoder.num_hidden_layers": Said(LAYERS, "layers of the decoder"),
    "decoder.num_attention_heads": Said(COUNT, "query heads of a layer"),
    "decoder.num_key_value_heads": Said(COUNT, "key and value heads of a layer: what the KV cache holds"),
    "decoder.max_position_embeddings": Said(POSITIONS, "positions at most: prompt, image and output tokens together"),
    "workload.patch_size": Said(SIZE, "side of a patch, pixels"),
    "workload.max_patches": Said(Whole(WINDOW, 1000), "tiles at most"),
}

#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("toy", "toy_wide")

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="tests.toy_model.configs",
    name="toy",
    modes=MODES,
    executions=EXECUTIONS,
    checkpoints=CHECKPOINTS,
    files=FILES,
)
