"""How a folder with a checkpoint of Unlimited-OCR is read: the published layout, and transformers'.

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
from modelmeter.models.common.deep_encoder_config import ClipSchema, MoeDecoderSchema, SamSchema
from modelmeter.models.common.deep_encoder_files import (
    DECODER,
    IMAGE,
    KINDS,
    MLP_TYPES,
    PATCH,
    PREPROCESSOR,
    SAM,
    SIZES,
    WIDTH_OF_CLIP,
    WIDTH_OF_SAM,
    check_stated,
    finish_layer_types,
    finish_towers,
    published_keys,
)

_WINDOW: Final = {"sliding_window": "decoder.sliding_window"}

#: the projector, a linear layer whose sizes follow from the two it stands between
_IN, _OUT, _ATTENTION = "projector.input_dim", "projector.n_embed", "decoder.layer_types"
PROJECTOR: Final = Keys(values={"input_dim": _IN, "n_embed": _OUT}, fixed={"projector_type": ("linear",)})

PUBLISHED: Final = published_keys(
    towers={"sam_vit_b": WIDTH_OF_SAM, "clip-l-14-224": WIDTH_OF_CLIP},
    projector=PROJECTOR,
    window={**_WINDOW, "sliding_window_size": "decoder.sliding_window"},
)

#: the classes of transformers: `UnlimitedOcrConfig`, and those within it
TRANSFORMERS: Final = Keys(
    fixed={"tie_word_embeddings": (False,)},
    harmless=("image_token_id",),
    within={
        "text_config": Keys(
            values={**DECODER.values, **_WINDOW, "mlp_layer_types": MLP_TYPES, "layer_types": _ATTENTION},
            fixed=DECODER.fixed,
            harmless=DECODER.harmless,
            within=DECODER.within,
        ),
        "vision_config": Keys(
            within={
                "sam_config": SAM,
                "encoder_config": Keys(
                    values={
                        "hidden_size": "vision.clip.hidden_size",
                        "intermediate_size": "vision.clip.ffn_hidden_size",
                        "num_hidden_layers": "vision.clip.num_layers",
                        "num_attention_heads": "vision.clip.num_attention_heads",
                        "image_size": IMAGE,
                        "patch_size": PATCH,
                    },
                    fixed={"hidden_act": ("quick_gelu",), "num_channels": (3,)},
                ),
            }
        ),
    },
)

OWN_KINDS: Final[Mapping[str, Kind[Any]]] = {
    **KINDS,
    _IN: SIZE,
    _OUT: SIZE,
    _ATTENTION: ListOf(Choice(("reference_sliding_attention",)), 1, LAYERS.most),
}


def finish_published(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that the published layout states."""
    check_stated(who, values, (*SIZES, "sliding_window"))
    width, hidden = values.pop(_IN, None), values.pop(_OUT, None)
    finish_towers(who, values)
    clip = values.get("vision.clip.hidden_size", ClipSchema().hidden_size)
    channels = values.get("vision.sam.downsample_channels", SamSchema().downsample_channels)
    for name, stated, follows in (
        ("input_dim", width, channels[-1] + clip),
        ("n_embed", hidden, values["decoder.hidden_size"]),
    ):
        if stated is not None and stated != follows:
            raise ModelMeterError(
                f"{who}: projector_config.{name}={stated} does not fit the layers beside it, of {follows} together; "
                "make them the same."
            )
    return values


def finish_transformers(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that transformers' layout states."""
    types = values.pop(_ATTENTION, None)
    finish_towers(who, values)
    finish_layer_types(who, values)
    layers = values.get("decoder.num_hidden_layers", MoeDecoderSchema().num_hidden_layers)
    if types is not None and len(types) != layers:
        raise ModelMeterError(
            f"{who}: layer_types has {len(types)} entries for num_hidden_layers={layers}; give as many."
        )
    return values


FILES: Final = CheckpointFiles(
    classes={
        "UnlimitedOCRForCausalLM": ConfigClass(keys=PUBLISHED, finish=finish_published),
        "UnlimitedOcrForConditionalGeneration": ConfigClass(keys=TRANSFORMERS, finish=finish_transformers),
    },
    model_types={"unlimited-ocr": "UnlimitedOCRForCausalLM", "unlimited_ocr": "UnlimitedOcrForConditionalGeneration"},
    preprocessor=replace(PREPROCESSOR, values={**PREPROCESSOR.values, "crop_to_patches": "workload.crop_to_patches"}),
    kinds=OWN_KINDS,
)
