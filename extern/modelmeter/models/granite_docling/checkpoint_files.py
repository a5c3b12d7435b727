"""How a folder with a checkpoint of Granite-Docling is read: the layout of transformers.

What the image processor saved beside `config.json` is read too; without it the library's own is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Whole
from modelmeter.models.common.checkpoint_files import CheckpointFiles, ConfigClass, Keys
from modelmeter.models.common.siglip_files import ROPE, SAVED_PREPROCESSOR, TEXT_SIZES, TOWER_SIZES

_TIED: Final = "decoder.tie_word_embeddings"
_WIDTH: Final = "vision.out_hidden_size"  # the decoder's

TEXT: Final = Keys(
    values={
        **{name: f"decoder.{name}" for name in (*TEXT_SIZES, "max_position_embeddings")},
        "tie_word_embeddings": _TIED,
    },
    fixed={"attention_bias": (False,), "hidden_act": ("silu",), "mlp_bias": (False,)},
    harmless=(  # whatever they are, they are multiplied by
        "attention_multiplier",
        "embedding_multiplier",
        "logits_scaling",
        "residual_multiplier",
        "rope_theta",
    ),
    within={"rope_parameters": ROPE},
)

VISION: Final = Keys(
    values={
        **{name: f"vision.{name}" for name in (*TOWER_SIZES, "deepstack_visual_indexes", "use_fine_route")},
        "out_hidden_size": _WIDTH,
        "patch_size": "workload.patch_size",
        "scale_factor": "workload.scale_factor",
    },
    fixed={"hidden_act": ("gelu_pytorch_tanh",)},
)

CONFIG: Final = Keys(
    values={"tie_word_embeddings": _TIED},
    fixed={"density_router_hidden_size": (None,)},
    harmless=("density_router_loss_weight", "density_router_threshold", "image_token_id"),
    within={"text_config": TEXT, "vision_config": VISION},
)

#: what `GraniteDoclingImageProcessor` saves
PREPROCESSOR: Final = Keys(
    values={name: f"workload.{name}" for name in ("crop_to_patches", "min_patches", "max_patches")},
    within={"size": Keys(values={"height": "workload.size", "width": "workload.size"})},
    fixed={
        "do_resize": (True, None),
        "dense_max_patches": (0, None),
        "fine_route": (False, None),
    },
    harmless=(*SAVED_PREPROCESSOR, "dense_max_aspect", "dense_max_scale", "dense_min_aspect"),
)


def finish(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that the files state."""
    width = values.pop(_WIDTH, None)
    if width is not None and width != values.get("decoder.hidden_size", 1024):
        raise ModelMeterError(
            f"{who}: vision_config.out_hidden_size={width} is not text_config.hidden_size="
            f"{values.get('decoder.hidden_size', 1024)}, which takes what it makes; make them the same."
        )
    return values


FILES: Final = CheckpointFiles(
    classes={"GraniteDoclingForConditionalGeneration": ConfigClass(keys=CONFIG, finish=finish)},
    model_types={"granite_docling": "GraniteDoclingForConditionalGeneration"},
    preprocessor=PREPROCESSOR,
    kinds={_WIDTH: Whole(1, 2**20)},
)
