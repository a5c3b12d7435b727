"""The configuration of Idefics3: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Flag, Kind, Said
from modelmeter.models.common.configuration import COUNT, SIZE, CommonSchema, Configuration
from modelmeter.models.common.siglip_config import DENSE_KINDS, SIGLIP_KINDS, MarkedRuntimeSchema, SiglipSchema
from modelmeter.models.idefics3.checkpoint_files import FILES
from modelmeter.models.idefics3.executions import EXECUTIONS
from modelmeter.models.idefics3.workload import MODES


@dataclass
class DecoderSchema:
    """The group `decoder`: the names of the model's text_config."""

    vocab_size: int = 100352
    hidden_size: int = 576
    intermediate_size: int = 1536
    num_hidden_layers: int = 30
    num_attention_heads: int = 9
    num_key_value_heads: int = 3
    head_dim: int = 64
    max_position_embeddings: int = 8192
    tie_word_embeddings: bool = True


@dataclass
class WorkloadSchema:
    """The group `workload`: arguments of `Workload`."""

    longest_edge: int = 2048
    max_image_size: int = 512
    do_image_splitting: bool = True
    patch_size: int = 16
    scale_factor: int = 4


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    runtime: MarkedRuntimeSchema = field(default_factory=MarkedRuntimeSchema)
    vision: SiglipSchema = field(default_factory=SiglipSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **SIGLIP_KINDS,
    **DENSE_KINDS,
    "decoder.head_dim": Said(COUNT, "width of a head"),
    "workload.longest_edge": Said(SIZE, "longer side that every page is made to have, pixels"),
    "workload.max_image_size": Said(SIZE, "side of a tile, and of the view of the whole page, pixels"),
    "workload.do_image_splitting": Said(Flag(), "whether pages are cut into tiles"),
    "workload.patch_size": Said(SIZE, "side of a patch, pixels"),
    "workload.scale_factor": Said(COUNT, "patches a side that become one token"),
}

#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("granite_docling_258m",)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.idefics3.configs",
    name="idefics3",
    modes=MODES,
    executions=EXECUTIONS,
    checkpoints=CHECKPOINTS,
    files=FILES,
)
