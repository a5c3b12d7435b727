"""How a folder with a checkpoint of Idefics3 is read: the published layout, which is transformers'.

What the image processor saved beside `config.json` is read too; without it the published one is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.checkpoint_files import CheckpointFiles, ConfigClass, Keys
from modelmeter.models.common.siglip_files import ROPE, SAVED_PREPROCESSOR, TEXT_SIZES, TOWER_SIZES

_PATCH: Final = "workload.patch_size"
_SCALE: Final = "workload.scale_factor"
_TIED: Final = "decoder.tie_word_embeddings"
_TILE: Final = "workload.max_image_size"

#: sizes of the tower whose defaults in the library are another model's, as all of the decoder's are
_VISION_SIZES: Final = TOWER_SIZES[:3]

#: `LlamaConfig`, and what SmolLM's adds to it
TEXT: Final = Keys(
    values={
        **{name: f"decoder.{name}" for name in (*TEXT_SIZES, "head_dim", "max_position_embeddings")},
        "tie_word_embeddings": _TIED,
    },
    fixed={"attention_bias": (False,), "hidden_act": ("silu",), "mlp_bias": (False,)},
    harmless=(
        "is_llama_config",
        "pixel_shuffle_factor",
        "pretraining_tp",
        "rope_interleaved",
        "rope_theta",
        "transformers.js_config",
    ),
    within={"rope_parameters": ROPE, "rope_scaling": Keys()},
)

VISION: Final = Keys(
    values={
        **{name: f"vision.{name}" for name in TOWER_SIZES},
        "patch_size": _PATCH,
    },
    fixed={"hidden_act": ("gelu_pytorch_tanh",)},
    harmless=("size", "tie_word_embeddings", "use_base_siglip"),
    within={"max_image_size": Keys(values={"longest_edge": _TILE})},
)

CONFIG: Final = Keys(
    values={"scale_factor": _SCALE, "tie_word_embeddings": _TIED},
    harmless=("_pad_token_id", "image_token_id", "transformers.js_config", "vocab_size"),
    within={"text_config": TEXT, "vision_config": VISION},
)

#: what `Idefics3ImageProcessor` saves
PREPROCESSOR: Final = Keys(
    values={"do_image_splitting": "workload.do_image_splitting"},
    within={
        "size": Keys(values={"longest_edge": "workload.longest_edge"}),
        "max_image_size": Keys(values={"longest_edge": _TILE}),
    },
    fixed={"do_resize": (True, None), "do_pad": (True, None)},
    harmless=SAVED_PREPROCESSOR,
)


def finish(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that the files state."""
    for group, where, names in (("decoder", "text_config", TEXT_SIZES), ("vision", "vision_config", _VISION_SIZES)):
        for name in names:
            if f"{group}.{name}" not in values:
                raise ModelMeterError(
                    f"{who}: {where} has no {name}, and the library's default is another model's; add it."
                )
    for key, name in ((_PATCH, "vision_config has no patch_size"), (_SCALE, "config.json has no scale_factor")):
        if key not in values:
            raise ModelMeterError(f"{who}: {name}, and the library's default is another model's; add it.")
    width, heads = values["decoder.hidden_size"], values["decoder.num_attention_heads"]
    values.setdefault("decoder.head_dim", width // heads)
    values.setdefault(_TIED, False)
    return values


_CLASS: Final = ConfigClass(keys=CONFIG, finish=finish)

FILES: Final = CheckpointFiles(
    classes={"Idefics3ForConditionalGeneration": _CLASS},
    model_types={"idefics3": "Idefics3ForConditionalGeneration"},
    preprocessor=PREPROCESSOR,
)
