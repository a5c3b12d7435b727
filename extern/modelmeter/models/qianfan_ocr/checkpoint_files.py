"""How a folder with a checkpoint of Qianfan-OCR is read: the published layout, which is InternVL's, and transformers'.

What the image processor saved beside `config.json` is read too; without it the library's own is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from modelmeter.errors import ModelMeterError, shown
from modelmeter.kinds import Kind
from modelmeter.models.common.checkpoint_files import CheckpointFiles, ConfigClass, Keys
from modelmeter.models.common.configuration import SIZE
from modelmeter.models.common.qwen3_files import TEXT, TEXT_KINDS, drop_layer_types
from modelmeter.models.qianfan_ocr.workload import Workload

_SIDE: Final = "workload.size"
_PATCH: Final = "workload.patch_size"
_RATIO: Final = "workload.downsample_ratio"
_TOKENS: Final = "workload.image_seq_length"  # follows from the sides

#: what transformers' configuration of the decoder has where a file leaves it out, which is another model's
LIBRARY_TEXT: Final[Mapping[str, Any]] = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}

#: the decoder that is modelled, and no other that InternVL has
_QWEN3: Final = replace(TEXT, fixed={**TEXT.fixed, "model_type": ("qwen3",)})

#: what both layouts say of the tower
_TOWER: Final = Keys(
    values={
        **{
            name: f"vision.{name}"
            for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        },
        "image_size": _SIDE,
        "patch_size": _PATCH,
    },
    fixed={"hidden_act": ("gelu",), "norm_type": ("layer_norm",), "num_channels": (3,)},
    harmless=("drop_path_rate",),
)

#: how pages are cut: of code that takes it from config.json
_CUTTING: Final = Keys(
    values={
        "downsample_ratio": _RATIO,
        "dynamic_image_size": "workload.crop_to_patches",
        "force_image_size": _SIDE,
        "max_dynamic_patch": "workload.max_patches",
        "min_dynamic_patch": "workload.min_patches",
        "tie_word_embeddings": "decoder.tie_word_embeddings",
    },
    fixed={"ps_version": ("v2",), "use_thumbnail": (True,)},
)

TRANSFORMERS: Final = Keys(
    values={**_CUTTING.values, "image_seq_length": _TOKENS},
    fixed={
        **_CUTTING.fixed,
        "projector_hidden_act": ("gelu",),
        "vision_feature_layer": (-1,),
        "vision_feature_select_strategy": ("default",),
    },
    harmless=("image_token_id",),
    within={
        "text_config": _QWEN3,
        "vision_config": replace(
            _TOWER,
            fixed={
                **_TOWER.fixed,
                "attention_bias": (True,),
                "use_absolute_position_embeddings": (True,),
                "use_mask_token": (False,),
                "use_mean_pooling": (True,),
                "use_qk_norm": (False,),
            },
            harmless=(*_TOWER.harmless, "hidden_dropout_prob", "layer_scale_init_value", "projection_dropout"),
        ),
    },
)

PUBLISHED: Final = Keys(
    values={**_CUTTING.values, "hidden_size": "decoder.hidden_size"},
    fixed={
        **_CUTTING.fixed,
        "pad2square": (False,),
        "select_layer": (-1,),
        "use_backbone_lora": (0,),
        "use_llm_lora": (0,),
    },
    harmless=("img_context_token_id", "system_message", "template"),
    within={
        "llm_config": replace(
            _QWEN3,
            harmless=(
                *_QWEN3.harmless,
                "attn_implementation",
                "debug",
                "ep_size",
                "micro_forward",
                "skip_checkpoint",
                "use_deepep",
            ),
        ),
        "vision_config": replace(
            _TOWER,
            fixed={**_TOWER.fixed, "qk_normalization": (False,), "qkv_bias": (True,), "use_moe": (False,)},
            harmless=(*_TOWER.harmless, "use_fa3", "use_flash_attn"),
        ),
    },
)

#: what `GotOcr2ImageProcessor` saves. The processor around it cuts pages whatever `crop_to_patches` says there, and
#: nobody crops the middle out.
PREPROCESSOR: Final = Keys(
    values={
        "image_seq_length": _TOKENS,
        "max_patches": "workload.max_patches",
        "min_patches": "workload.min_patches",
        "size": _SIDE,
    },
    within={"size": Keys(values={"height": _SIDE, "width": _SIDE})},
    fixed={"do_resize": (True, None)},
    harmless=(
        "crop_size",
        "crop_to_patches",
        "data_format",
        "default_to_square",
        "do_center_crop",
        "do_convert_rgb",
        "do_normalize",
        "do_rescale",
        "feature_extractor_type",
        "image_mean",
        "image_placeholder_token",
        "image_processor_type",
        "image_std",
        "input_data_format",
        "resample",
        "rescale_factor",
    ),
)


class Square:
    """A side in pixels, or both of a square."""

    def read(self, name: str, value: object) -> int:
        """The side."""
        if isinstance(value, list | tuple) and len(value) == 2:
            height, width = (SIZE.read(name, each) for each in value)
            if height != width:
                raise ModelMeterError(f"{name}={shown(value)} is no square, and that is all that is modelled.")
            return height
        return SIZE.read(name, value)


KINDS: Final[Mapping[str, Kind[Any]]] = {**TEXT_KINDS, _SIDE: Square(), _PATCH: Square(), _TOKENS: SIZE}


def finish(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that the files state, the library's where they leave the decoder's out."""
    for name, value in LIBRARY_TEXT.items():
        values.setdefault(f"decoder.{name}", value)
    drop_layer_types(who, values, values["decoder.num_hidden_layers"])
    stated = values.pop(_TOKENS, None)
    sides = {
        key: values[f"workload.{key}"]
        for key in ("size", "patch_size", "downsample_ratio")
        if f"workload.{key}" in values
    }
    tokens = Workload(**sides).view_tokens
    if stated is not None and stated != tokens:
        raise ModelMeterError(
            f"{who}: image_seq_length={stated}, but a view of these sides has {tokens} tokens; make them fit."
        )
    return values


FILES: Final = CheckpointFiles(
    classes={
        "InternVLChatModel": ConfigClass(keys=PUBLISHED, finish=finish),
        "QianfanOCRForConditionalGeneration": ConfigClass(keys=TRANSFORMERS, finish=finish),
    },
    model_types={"qianfan_ocr": "QianfanOCRForConditionalGeneration", "internvl_chat": "InternVLChatModel"},
    preprocessor=PREPROCESSOR,
    kinds=KINDS,
)
