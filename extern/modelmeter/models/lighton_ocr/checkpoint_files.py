"""How a folder with a checkpoint of LightOnOCR is read: the published layout, and transformers', which differ in names.

What the image processor saved beside `config.json` is read too; without it the published one is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Kind, Whole
from modelmeter.models.common.checkpoint_files import CheckpointFiles, ConfigClass, Keys
from modelmeter.models.common.configuration import SIZE
from modelmeter.models.common.qwen3_files import ROPE, TEXT, TEXT_KINDS, drop_layer_types

_HEAD_DIM: Final = "vision.head_dim"  # follows from the width and the heads
_IMAGE: Final = "vision.image_size"  # what the rotary tables of some code reach to
_TIED: Final = "decoder.tie_word_embeddings"
_PATCH: Final = "workload.patch_size"
_MERGE: Final = "workload.spatial_merge_size"

VISION: Final = Keys(
    values={
        **{
            name: f"vision.{name}"
            for name in (
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "num_channels",
            )
        },
        "patch_size": _PATCH,
        "head_dim": _HEAD_DIM,
        "image_size": _IMAGE,
    },
    fixed={"hidden_act": ("silu",)},
    harmless=("rope_theta",),
    within={"rope_parameters": ROPE},
)

CONFIG: Final = Keys(
    values={"spatial_merge_size": _MERGE, "tie_word_embeddings": _TIED},
    fixed={
        "multimodal_projector_bias": (False,),
        "projector_hidden_act": ("gelu",),
        "vision_feature_layer": (-1,),
    },
    harmless=("image_token_id", "image_token_index", "transformers.js_config"),
    within={"text_config": TEXT, "vision_config": VISION},
)

#: what `PixtralImageProcessor` saves
PREPROCESSOR: Final = Keys(
    within={
        "size": Keys(values={"longest_edge": "workload.longest_edge"}),
        "patch_size": Keys(values={"height": _PATCH, "width": _PATCH}),
    },
    values={"patch_size": _PATCH, "spatial_merge_size": _MERGE},
    fixed={"do_resize": (True, None), "do_center_crop": (False, None)},
    harmless=(
        "data_format",
        "default_to_square",
        "do_convert_rgb",
        "do_normalize",
        "do_pad",
        "do_rescale",
        "image_break_token",
        "image_end_token",
        "image_mean",
        "image_processor_type",
        "image_std",
        "image_token",
        "resample",
        "rescale_factor",
    ),
)

KINDS: Final[Mapping[str, Kind[Any]]] = {
    **TEXT_KINDS,
    _HEAD_DIM: Whole(1, 2**12),
    _IMAGE: SIZE,
}


def finish(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that the files state."""
    values.pop(_IMAGE, None)
    head_dim = values.pop(_HEAD_DIM, None)
    width, heads = values.get("vision.hidden_size", 1024), values.get("vision.num_attention_heads", 16)
    if head_dim is not None and head_dim * heads != width:
        raise ModelMeterError(
            f"{who}: vision_config.head_dim={head_dim} of {heads} heads is not its hidden_size={width}, which is all "
            "that is modelled; make them fit."
        )
    drop_layer_types(who, values, values.get("decoder.num_hidden_layers", 28))
    return values


_CLASS: Final = ConfigClass(keys=CONFIG, finish=finish)

FILES: Final = CheckpointFiles(
    classes={"LightOnOCRForConditionalGeneration": _CLASS, "LightOnOcrForConditionalGeneration": _CLASS},
    model_types={"lighton_ocr": "LightOnOcrForConditionalGeneration"},
    preprocessor=PREPROCESSOR,
    kinds=KINDS,
)
