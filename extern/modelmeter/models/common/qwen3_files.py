"""What files of checkpoints say of a Qwen3 decoder, whichever model it is a part of: its `text_config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Choice, Kind, ListOf
from modelmeter.models.common.checkpoint_files import Keys
from modelmeter.models.common.configuration import LAYERS

_TYPES: Final = "decoder.layer_types"  # no key of the configuration: every layer sees all before it

#: where frequencies of positions come from; how they are scaled, if they are, costs nothing a page
ROPE: Final = Keys(fixed={"rope_type": ("default", "axial")}, harmless=("rope_theta",))

TEXT: Final = Keys(
    values={
        **{
            name: f"decoder.{name}"
            for name in (
                "vocab_size",
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "num_key_value_heads",
                "head_dim",
                "max_position_embeddings",
                "tie_word_embeddings",
            )
        },
        "layer_types": _TYPES,
    },
    fixed={
        "attention_bias": (False,),
        "hidden_act": ("silu",),
        "use_sliding_window": (False,),
        "use_qk_norm": (True,),
    },
    harmless=("max_window_layers", "rope_theta"),
    within={"rope_parameters": ROPE, "rope_scaling": Keys()},
)

#: what the value may be that is no key of the configuration
TEXT_KINDS: Final[Mapping[str, Kind[Any]]] = {_TYPES: ListOf(Choice(("full_attention",)), 1, LAYERS.most)}


def drop_layer_types(who: str, values: dict[str, Any], layers: int) -> None:
    """Take the types of layers out, which have to be as many as layers."""
    types = values.pop(_TYPES, None)
    if types is not None and len(types) != layers:
        raise ModelMeterError(
            f"{who}: layer_types has {len(types)} entries for num_hidden_layers={layers}; give as many."
        )
