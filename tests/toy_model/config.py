"""The toy's configuration: its groups, their values, and what else these may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Kind, Whole
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
    "vision.hidden_size": SIZE,
    "vision.intermediate_size": SIZE,
    "vision.num_heads": COUNT,
    "vision.depth": LAYERS,
    "decoder.vocab_size": SIZE,
    "decoder.hidden_size": SIZE,
    "decoder.intermediate_size": SIZE,
    "decoder.num_hidden_layers": LAYERS,
    "decoder.num_attention_heads": COUNT,
    "decoder.num_key_value_heads": COUNT,
    "decoder.max_position_embeddings": POSITIONS,
    "workload.patch_size": SIZE,
    "workload.max_patches": Whole(WINDOW, 1000),
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
