"""How a folder with a checkpoint of Unlimited-OCR is read: the published layout, and transformers'.

`config.json` is enough; what the library's image processor saved beside it is read too.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    SIZES,
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
    sam="sam_vit_b",
    clip="clip-l-14-224",
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
                "sam_config": Keys(
                    values={
                        "hidden_size": "vision.sam.embed_dim",
                        "output_channels": "vision.sam.out_chans",
                        "num_hidden_layers": "vision.sam.depth",
                        "num_attention_heads": "vision.sam.num_heads",
                        "num_channels": "vision.sam.in_chans",
                        "image_size": "vision.sam.pretrain_img_size",
                        "patch_size": "vision.sam.patch_size",
                        "qkv_bias": "vision.sam.qkv_bias",
                        "window_size": "vision.sam.window_size",
                        "global_attn_indexes": "vision.sam.global_attn_indexes",
                        "mlp_dim": "vision.sam.mlp_dim",
                        "downsample_channels": "vision.sam.downsample_channels",
                    },
                    fixed={"hidden_act": ("gelu",), "use_abs_pos": (True,), "use_rel_pos": (True,)},
                ),
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

#: what `UnlimitedOcrImageProcessor` saves, and the published processor beside it
PREPROCESSOR: Final = Keys(
    values={
        "crop_to_patches": "workload.crop_to_patches",
        "tile_size": "workload.tile_size",
        "min_patches": "workload.min_patches",
        "max_patches": "workload.max_patches",
        "patch_size": "workload.patch_size",
        "downsample_ratio": "workload.downsample_ratio",
    },
    within={"size": Keys(values={"height": "workload.size", "width": "workload.size"})},
    fixed={
        "do_convert_rgb": (True, None),
        "do_normalize": (True, None),
        "do_rescale": (True, None),
        "do_resize": (True, None),
    },
    harmless=(
        "add_special_token",
        "background_color",
        "candidate_resolutions",
        "data_format",
        "ignore_id",
        "image_mean",
        "image_processor_type",
        "image_std",
        "image_token",
        "mask_prompt",
        "maximum_pad_value",  # how a page is padded, not to what size
        "normalize",
        "pad_token",
        "resample",
        "rescale_factor",
        "sft_format",
    ),
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
    preprocessor=PREPROCESSOR,
    kinds=OWN_KINDS,
)
