"""How a folder with a checkpoint of HunyuanOCR is read: the published layout, and transformers', which nests the text.

What the image processor saved beside `config.json` is read too; without it the published one is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.checkpoint_files import CheckpointFiles, ConfigClass, Keys

#: how frequencies are scaled costs nothing a page; how they are shared among coordinates is modelled
_ROPE: Final = Keys(
    values={"mrope_section": "decoder.mrope_section", "xdrope_section": "decoder.mrope_section"},
    fixed={"rope_type": ("default", "dynamic", "xdrope"), "type": ("default", "dynamic", "xdrope")},
    harmless=("alpha", "beta_fast", "beta_slow", "factor", "mscale", "mscale_all_dim", "rope_theta"),
)

_TEXT: Final = Keys(
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
        "attention_head_dim": "decoder.head_dim",
        "org_vocab_size": "decoder.vocab_size",
    },
    fixed={
        "attention_bias": (False,),
        "hidden_act": ("silu",),
        "mlp_bias": (False,),
        "norm_type": ("rms",),
        "num_experts": (1,),
        "pretraining_tp": (1,),
        "use_cla": (False,),
        "use_qk_norm": (True,),
    },
    harmless=(
        "eod_token_id",
        "im_end_id",
        "im_newline_id",
        "im_start_id",
        "image_end_token_id",
        "image_newline_token_id",
        "image_start_token_id",
        "image_token_id",
        "pad_id",
        "rope_theta",
        "routed_scaling_factor",  # of experts, of which there are none
        "text_end_id",
        "text_start_id",
    ),
    within={"rope_scaling": _ROPE, "rope_parameters": _ROPE},
)

_VISION: Final = Keys(
    values={
        name: f"vision.{name}"
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_channels",
            "out_hidden_size",
            "patch_size",
            "spatial_merge_size",
            "max_image_size",
        )
    },
    fixed={
        "add_patchemb_bias": (True,),
        "cat_extra_token": (1, True),
        "hidden_act": ("gelu",),
        "interpolate_mode": ("bilinear",),
        "temporal_patch_size": (1,),
    },
    harmless=(
        "hidden_dropout",
        "img_max_token_num",
        "max_vit_seq_len",
        "min_image_size",
        "num_key_value_heads",  # the tower's attention has as many as heads, whatever this says
        "text_hidden_size",  # the decoder's, whatever this says
    ),
)

_CONFIG: Final = Keys(
    values=_TEXT.values,
    fixed=_TEXT.fixed,
    harmless=_TEXT.harmless,
    within={**_TEXT.within, "text_config": _TEXT, "vision_config": _VISION},
)

_PIXELS: Final = {"min_pixels": "workload.min_pixels", "max_pixels": "workload.max_pixels"}

#: what `HunYuanVLImageProcessor` saves
_PREPROCESSOR: Final = Keys(
    values={**_PIXELS, "patch_size": "workload.patch_size", "merge_size": "workload.merge_size"},
    within={"size": Keys(values={"shortest_edge": "workload.min_pixels", "longest_edge": "workload.max_pixels"})},
    fixed={"do_resize": (True, None), "temporal_patch_size": (1,)},
    harmless=(
        "data_format",
        "default_to_square",
        "do_convert_rgb",
        "do_normalize",
        "do_rescale",
        "image_mean",
        "image_processor_type",
        "image_std",
        "input_data_format",
        "resample",
        "rescale_factor",
    ),
)

#: what a file must state: the library's own defaults are those of another model
_STATED: Final = (
    "decoder.hidden_size",
    "decoder.intermediate_size",
    "decoder.num_hidden_layers",
    "decoder.num_attention_heads",
    "decoder.num_key_value_heads",
    "decoder.head_dim",
    "decoder.max_position_embeddings",
    "decoder.vocab_size",
    "decoder.mrope_section",
)


def finish(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that the files state; the library's merger is as wide as the decoder."""
    for key in _STATED:
        if key not in values:
            raise ModelMeterError(
                f"{who}: config.json does not say {key.rpartition('.')[2]} of its text model; add it."
            )
    return {"vision.out_hidden_size": values["decoder.hidden_size"], **values}


FILES: Final = CheckpointFiles(
    classes={"HunYuanVLForConditionalGeneration": ConfigClass(keys=_CONFIG, finish=finish)},
    model_types={"hunyuan_vl": "HunYuanVLForConditionalGeneration"},
    preprocessor=_PREPROCESSOR,
)
