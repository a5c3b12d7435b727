"""How the files of checkpoints of the `deep_encoder` family are read: what their layouts share.

The published layout is that of the family's own code: the decoder's keys stand in `language_config` and again at the
top, where that code reads them; `vision_config.width` has the two encoders under their names. Source: config.json of
the published checkpoints, as printed in public logs and tests of other projects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from modelmeter.errors import ModelMeterError, shown
from modelmeter.kinds import Choice, Kind, ListOf
from modelmeter.models.common.checkpoint_files import Keys
from modelmeter.models.common.configuration import COUNT, LAYERS, SIZE
from modelmeter.models.common.deep_encoder_config import MoeDecoderSchema

#: an encoder's inner width over its width: the published code has no key for it
MLP_RATIO: Final = 4

#: what CLIP was trained on: side of an image and of a patch, pixels. Only the positions that follow are in use
IMAGE_SIDE: Final = 224
PATCH_SIDE: Final = 14

#: values that are no keys of the configuration: of them others follow
IMAGE, PATCH, HEAD, MLP_TYPES = "clip.image_size", "clip.patch_size", "decoder.head_dim", "decoder.mlp_layer_types"
KINDS: Final[Mapping[str, Kind[Any]]] = {
    IMAGE: SIZE,
    PATCH: SIZE,
    HEAD: COUNT,
    MLP_TYPES: ListOf(Choice(("dense", "sparse")), 1, LAYERS.most),
}

#: the sizes of the decoder, by their names in every layout and in the configuration
SIZES: Final = tuple(each.name for each in fields(MoeDecoderSchema))

#: the decoder's keys in every layout: multi-head attention without biases, a greedy choice of softmax scores
DECODER: Final = Keys(
    values={**{name: f"decoder.{name}" for name in SIZES}, "head_dim": HEAD},
    fixed={
        "attention_bias": (False,),
        "ep_size": (1,),
        "hidden_act": ("silu",),
        "kv_lora_rank": (None,),
        "lm_head": (True,),
        "mlp_bias": (False,),
        "moe_layer_freq": (1,),
        "n_group": (1, None),
        "norm_topk_prob": (False,),
        "num_nextn_predict_layers": (0, None),
        "output_router_logits": (False,),
        "pretraining_tp": (1,),
        "q_lora_rank": (None,),
        "qk_nope_head_dim": (0,),
        "qk_rope_head_dim": (0,),
        "rm_head": (False,),
        "rope_scaling": (None,),
        "scoring_func": ("softmax",),
        "tie_word_embeddings": (False,),
        "topk_group": (1, None),
        "topk_method": ("greedy",),
        "use_mla": (False,),
    },
    # v_head_dim: read with use_mla alone
    harmless=("aux_loss_alpha", "rope_theta", "routed_scaling_factor", "seq_aux", "v_head_dim"),
    within={"rope_parameters": Keys(fixed={"rope_type": ("default",)}, harmless=("rope_theta",))},
)


#: what the published layout says of SAM and of CLIP
WIDTH_OF_SAM: Final = Keys(
    values={
        "width": "vision.sam.embed_dim",
        "layers": "vision.sam.depth",
        "heads": "vision.sam.num_heads",
        "global_attn_indexes": "vision.sam.global_attn_indexes",
        "downsample_channels": "vision.sam.downsample_channels",
    }
)
WIDTH_OF_CLIP: Final = Keys(
    values={
        "width": "vision.clip.hidden_size",
        "layers": "vision.clip.num_layers",
        "heads": "vision.clip.num_attention_heads",
        "image_size": IMAGE,
        "patch_size": PATCH,
    }
)

#: SAM in the classes of transformers
SAM: Final = Keys(
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
)

#: what the image processors of transformers save, and the published ones beside them
PREPROCESSOR: Final = Keys(
    values={
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


def published_keys(
    *,
    towers: Mapping[str, Keys],
    projector: Keys,
    model_name: str = "deeplip_b_l",
    window: Mapping[str, str] | None = None,
) -> Keys:
    """The published layout. towers: the encoders by name; model_name: of both. window: keys of one model's decoder."""
    decoder = {**DECODER.values, **(window or {})}
    vision = Keys(
        values={"image_size": "vision.sam.pretrain_img_size"},
        fixed={"model_name": (model_name,)},
        harmless=("mlp_ratio",),  # of another tower: no code of this one reads it
        within={"width": Keys(within=towers)},
    )
    language = Keys(values=decoder, fixed=DECODER.fixed, harmless=DECODER.harmless, within=DECODER.within)
    return Keys(
        values=decoder,
        fixed={**DECODER.fixed, "tile_tag": ("2D",)},
        # candidate_resolutions: the sizes are those of the workload; global_view_pos: where the view's tokens stand
        harmless=(*DECODER.harmless, "candidate_resolutions", "global_view_pos", "image_token_id", "image_token_index"),
        within={
            **DECODER.within,
            "language_config": language,
            "vision_config": vision,
            "projector_config": projector,
        },
    )


def finish_towers(who: str, values: dict[str, Any]) -> None:
    """Put in what follows of sizes that were found, and take out what is no key of the configuration.

    Raises `ModelMeterError` where heads are not the hidden size in equal parts, as they are in this family.
    """
    for width, inner in (
        ("vision.sam.embed_dim", "vision.sam.mlp_dim"),
        ("vision.clip.hidden_size", "vision.clip.ffn_hidden_size"),
    ):
        if width in values:
            values.setdefault(inner, MLP_RATIO * values[width])
    image, patch = values.pop(IMAGE, IMAGE_SIDE), values.pop(PATCH, PATCH_SIDE)
    values["vision.clip.num_positions"] = (image // patch) ** 2 + 1
    finish_heads(who, values)


def finish_heads(who: str, values: dict[str, Any]) -> None:
    """Take out the width of the decoder's heads; raises where they are not the hidden size in equal parts."""
    head_dim, decoder = values.pop(HEAD, None), MoeDecoderSchema()
    hidden = values.get("decoder.hidden_size", decoder.hidden_size)
    heads = values.get("decoder.num_attention_heads", decoder.num_attention_heads)
    if head_dim is not None and head_dim * heads != hidden:
        raise ModelMeterError(
            f"{who}: head_dim={head_dim} times num_attention_heads={heads} is not hidden_size={hidden}; other heads "
            "are not modelled."
        )


def finish_layer_types(who: str, values: dict[str, Any]) -> None:
    """Put in how many layers are dense where a list says the type of each; raises for an order that is not modelled."""
    types = values.pop(MLP_TYPES, None)
    if types is None:
        return
    dense = types.count("dense")
    layers = values.get("decoder.num_hidden_layers", MoeDecoderSchema().num_hidden_layers)
    if types != ["dense"] * dense + ["sparse"] * (layers - dense):
        raise ModelMeterError(
            f"{who}: mlp_layer_types={shown(types)} is not modelled; one of num_hidden_layers={layers} entries is, "
            "the dense layers first."
        )
    values["decoder.first_k_dense_replace"] = dense


def check_stated(who: str, values: Mapping[str, Any], names: Sequence[str] = SIZES) -> None:
    """Raise `ModelMeterError` for a size of the decoder that the files leave out: other code has other defaults."""
    for name in names:
        if f"decoder.{name}" not in values:
            raise ModelMeterError(
                f"{who}: config.json has no {name}, neither at the top nor in language_config; add it."
            )
