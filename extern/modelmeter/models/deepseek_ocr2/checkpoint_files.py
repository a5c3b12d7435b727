"""How a folder with a checkpoint of DeepSeek-OCR-2 is read: the published layout, and transformers'.

`config.json` is enough; what the library's image processor saved beside it is read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Choice, Kind, ListOf
from modelmeter.models.common.checkpoint_files import CheckpointFiles, ConfigClass, Keys
from modelmeter.models.common.configuration import LAYERS, SIZE
from modelmeter.models.common.deep_encoder_files import (
    DECODER,
    KINDS,
    MLP_RATIO,
    MLP_TYPES,
    PREPROCESSOR,
    SAM,
    SIZES,
    WIDTH_OF_SAM,
    check_stated,
    finish_heads,
    finish_layer_types,
    published_keys,
)

_IN, _OUT, _ATTENTION = "projector.input_dim", "projector.n_embed", "encoder.layer_types"
_ENCODER: Final = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
#: sizes whose defaults in the library are another model's
_OTHER_DEFAULTS: Final = tuple(
    name for name in SIZES if name not in ("n_routed_experts", "n_shared_experts", "first_k_dense_replace")
)

#: what the published code builds, whatever its config.json says
_WIDTH: Final = 896

PUBLISHED: Final = published_keys(
    towers={
        "sam_vit_b": Keys(
            values={name: key for name, key in WIDTH_OF_SAM.values.items() if name != "downsample_channels"},
            harmless=("downsample_channels",),  # it says 1024; the code has 896 in its place
        ),
        "qwen2-0-5b": Keys(fixed={"dim": (_WIDTH,)}),
    },
    projector=Keys(values={"input_dim": _IN, "n_embed": _OUT}, fixed={"projector_type": ("linear",)}),
    model_name="deepencoderv2",
)

#: the classes of transformers: `DeepseekOcr2Config`, and those within it
TRANSFORMERS: Final = Keys(
    fixed={"tie_word_embeddings": (False,)},
    harmless=("image_token_id",),
    within={
        "text_config": replace(DECODER, values={**DECODER.values, "mlp_layer_types": MLP_TYPES}),
        "vision_config": Keys(
            within={
                "sam_config": replace(SAM, harmless=("scale",), fixed={**SAM.fixed, "mlp_ratio": (float(MLP_RATIO),)}),
                "encoder_config": Keys(
                    values={**{name: f"vision.encoder.{name}" for name in _ENCODER}, "layer_types": _ATTENTION},
                    fixed={
                        "hidden_act": ("silu",),
                        "sliding_window": (None,),
                        "use_sliding_window": (False,),
                    },
                    harmless=(
                        "max_position_embeddings",
                        "max_window_layers",
                        "rope_theta",
                        "tie_word_embeddings",
                        "vocab_size",  # its embedding is never made
                    ),
                    within={"rope_parameters": Keys(fixed={"rope_type": ("default",)}, harmless=("rope_theta",))},
                ),
            }
        ),
    },
)

OWN_KINDS: Final[Mapping[str, Kind[Any]]] = {
    **KINDS,
    _IN: SIZE,
    _OUT: SIZE,
    _ATTENTION: ListOf(Choice(("full_attention",)), 1, LAYERS.most),
}


def finish_sam(values: dict[str, Any]) -> None:
    """Put in the inner width that follows of SAM's."""
    if "vision.sam.embed_dim" in values:
        values.setdefault("vision.sam.mlp_dim", MLP_RATIO * values["vision.sam.embed_dim"])


def finish_published(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that the published layout states."""
    check_stated(who, values)
    for name, stated, follows in (
        ("input_dim", values.pop(_IN, None), _WIDTH),
        ("n_embed", values.pop(_OUT, None), values["decoder.hidden_size"]),
    ):
        if stated is not None and stated != follows:
            raise ModelMeterError(
                f"{who}: projector_config.{name}={stated} does not fit the layer beside it, of {follows}; make them "
                "the same."
            )
    finish_sam(values)
    finish_heads(who, values)
    return values


def finish_transformers(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that transformers' layout states."""
    for key in (
        *(f"decoder.{name}" for name in _OTHER_DEFAULTS),
        MLP_TYPES,
        *(f"vision.encoder.{name}" for name in _ENCODER),
    ):
        if key not in values:
            group = "vision_config.encoder_config" if key.startswith("vision") else "text_config"
            raise ModelMeterError(
                f"{who}: {group} has no {key.rpartition('.')[2]}, and the library's default is another model's; add it."
            )
    finish_sam(values)
    finish_heads(who, values)
    finish_layer_types(who, values)
    types, layers = values.pop(_ATTENTION, None), values["vision.encoder.num_hidden_layers"]
    if types is not None and len(types) != layers:
        raise ModelMeterError(
            f"{who}: layer_types has {len(types)} entries for num_hidden_layers={layers}; give as many."
        )
    return values


FILES: Final = CheckpointFiles(
    classes={
        "DeepseekOCR2ForCausalLM": ConfigClass(keys=PUBLISHED, finish=finish_published),
        "DeepseekOcr2ForConditionalGeneration": ConfigClass(keys=TRANSFORMERS, finish=finish_transformers),
    },
    model_types={"deepseek_ocr2": "DeepseekOcr2ForConditionalGeneration"},
    preprocessor=replace(PREPROCESSOR, fixed={**PREPROCESSOR.fixed, "crop_to_patches": (True,)}),
    kinds=OWN_KINDS,
)
