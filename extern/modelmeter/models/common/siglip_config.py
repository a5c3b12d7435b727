"""The configuration that models of SigLIP tiles share: the tower, and what its values and a dense decoder's may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Flag, Kind, Said
from modelmeter.models.common.configuration import COUNT, LAYERS, POSITIONS, SIZE, RuntimeSchema


@dataclass
class SiglipSchema:
    """The group `vision`: the names of the model's vision_config. image_size: pixels a side that positions are for."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 512


#: what is known of the prompt that is assumed for a page with markers around its views
MARKED_PROMPT_NOTE: Final = " of text, and the markers around a page's views (2 a tile, 1 a row, 3 of the whole page)"


@dataclass
class MarkedRuntimeSchema(RuntimeSchema):
    """The group `runtime`: unless told, the prompt is text that is assumed and the markers of a page's views."""

    prompt_tokens: int | None = None


#: what a value of the tower may be, by its key
SIGLIP_KINDS: Final[Mapping[str, Kind[Any]]] = {
    "vision.hidden_size": Said(SIZE, "width of the vision tower's blocks"),
    "vision.intermediate_size": Said(SIZE, "hidden width of a block's feed-forward part"),
    "vision.num_hidden_layers": Said(LAYERS, "blocks of the vision tower"),
    "vision.num_attention_heads": Said(COUNT, "attention heads of a block"),
    "vision.num_channels": Said(COUNT, "channels of a picture"),
    "vision.image_size": Said(SIZE, "side of the picture that the position table is for, pixels"),
}

#: what a value of a dense decoder may be, by its key
DENSE_KINDS: Final[Mapping[str, Kind[Any]]] = {
    "decoder.vocab_size": Said(SIZE, "tokens of the vocabulary: rows of the embedding and of the head"),
    "decoder.hidden_size": Said(SIZE, "width of the decoder's layers"),
    "decoder.intermediate_size": Said(SIZE, "hidden width of a feed-forward part"),
    "decoder.num_hidden_layers": Said(LAYERS, "layers of the decoder"),
    "decoder.num_attention_heads": Said(COUNT, "query heads of a layer"),
    "decoder.num_key_value_heads": Said(COUNT, "key and value heads of a layer: what the KV cache holds"),
    "decoder.max_position_embeddings": Said(POSITIONS, "positions at most: prompt, image and output tokens together"),
    "decoder.tie_word_embeddings": Said(Flag(), "whether the head's weight is the embedding's"),
}


def check_tower(vision: SiglipSchema, patch_size: int) -> None:
    """Refuse a tower whose sizes do not fit together."""
    if vision.hidden_size % vision.num_attention_heads:
        raise ModelMeterError(
            f"config: vision.hidden_size={vision.hidden_size} does not divide by vision.num_attention_heads="
            f"{vision.num_attention_heads}; set either so that it does."
        )
    if vision.image_size % patch_size:
        raise ModelMeterError(
            f"config: vision.image_size={vision.image_size} is no multiple of workload.patch_size={patch_size} "
            f"(remainder {vision.image_size % patch_size}); give one."
        )
