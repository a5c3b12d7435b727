"""The configuration of Granite-Docling: its groups, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelmeter.kinds import Choice, Flag, Kind, ListOf, Said, Whole
from modelmeter.models.common.configuration import COUNT, LAYERS, SIZE, CommonSchema, Configuration
from modelmeter.models.common.siglip_config import DENSE_KINDS, SIGLIP_KINDS, MarkedRuntimeSchema, SiglipSchema
from modelmeter.models.common.tiles import MAX_TILES
from modelmeter.models.granite_docling.checkpoint_files import FILES
from modelmeter.models.granite_docling.executions import EXECUTIONS
from modelmeter.models.granite_docling.workload import MODES, ROUTES


@dataclass
class TappedSchema(SiglipSchema):
    """The group `vision`: the names of the model's vision_config."""

    deepstack_visual_indexes: list[int] = field(default_factory=lambda: [3, 7, 10])
    use_fine_route: bool = True


@dataclass
class DecoderSchema:
    """The group `decoder`: the names of the model's text_config."""

    vocab_size: int = 133800
    hidden_size: int = 1024
    intermediate_size: int = 2048
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    num_key_value_heads: int = 4
    max_position_embeddings: int = 32768
    tie_word_embeddings: bool = True


@dataclass
class WorkloadSchema:
    """The group `workload`: arguments of `Workload`."""

    size: int = 512
    crop_to_patches: bool = True
    min_patches: int = 1
    max_patches: int = 32
    patch_size: int = 16
    scale_factor: int = 4
    route: str = "coarse"


@dataclass
class ModelSchema(CommonSchema):
    """The whole configuration of a cost model."""

    runtime: MarkedRuntimeSchema = field(default_factory=MarkedRuntimeSchema)
    vision: TappedSchema = field(default_factory=TappedSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)


#: what a value of the model's own groups may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    **SIGLIP_KINDS,
    **DENSE_KINDS,
    "vision.deepstack_visual_indexes": Said(
        ListOf(Whole(0, LAYERS.most), 0, LAYERS.most), "blocks whose output goes to the decoder's first layers too"
    ),
    "vision.use_fine_route": Said(Flag(), "whether the connector has the fine route"),
    "workload.size": Said(SIZE, "side of a view, pixels"),
    "workload.crop_to_patches": Said(Flag(), "whether pages are cut into tiles"),
    "workload.min_patches": Said(Whole(1, MAX_TILES), "tiles at least, where a page is cut"),
    "workload.max_patches": Said(Whole(1, MAX_TILES), "tiles at most; the thumbnail comes on top"),
    "workload.patch_size": Said(SIZE, "side of a patch, pixels"),
    "workload.scale_factor": Said(COUNT, "patches a side that become one token on the coarse route"),
    "workload.route": Said(Choice(tuple(ROUTES)), "way through the connector, declared: fine has 4 times the tokens"),
}

#: the weights that it describes, the default first; configs/checkpoint/ has a file of each
CHECKPOINTS: Final = ("granite_docling_500m",)

CONFIGURATION: Final = Configuration(
    schema=ModelSchema,
    kinds=KINDS,
    module="modelmeter.models.granite_docling.configs",
    name="granite_docling",
    modes=MODES,
    executions=EXECUTIONS,
    checkpoints=CHECKPOINTS,
    files=FILES,
)
