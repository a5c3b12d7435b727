"""How folders with checkpoints of models of packed pages are read: what the files of the Qwen family have in common.

Their text configuration stands at the top of `config.json` (as the hub has it), within `text_config`, or in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Choice, Kind, ListOf
from modelmeter.models.common.checkpoint_files import CheckpointFiles, ConfigClass, Keys
from modelmeter.models.common.configuration import LAYERS

_LAYER_TYPES: Final = "decoder.layer_types"  # no key of the configuration: every layer sees all before it

_ROPE: Final = Keys(
    values={"mrope_section": "decoder.mrope_section"},
    fixed={"rope_type": ("default",), "type": ("default", "mrope")},
    harmless=("rope_theta",),
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
                "max_position_embeddings",
                "tie_word_embeddings",
            )
        },
        "layer_types": _LAYER_TYPES,
    },
    fixed={"hidden_act": ("silu",), "use_sliding_window": (False,)},
    harmless=(
        "image_token_id",
        "max_window_layers",  # of a sliding window, which is not used
        "rope_theta",
        "sliding_window",
        "video_token_id",
        "vision_end_token_id",
        "vision_start_token_id",
        "vision_token_id",
    ),
    within={"rope_scaling": _ROPE, "rope_parameters": _ROPE},
)

#: what of the text configuration a file must state: the library's own defaults are those of another model
_STATED: Final = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)

_PIXELS: Final = {"min_pixels": "workload.min_pixels", "max_pixels": "workload.max_pixels"}

#: what `Qwen2VLImageProcessor` saves, but for the frames that a picture stands for
_PREPROCESSOR: Final = Keys(
    values={**_PIXELS, "patch_size": "workload.patch_size", "merge_size": "workload.merge_size"},
    within={
        "size": Keys(
            values={**_PIXELS, "shortest_edge": "workload.min_pixels", "longest_edge": "workload.max_pixels"},
        )
    },
    fixed={
        "do_convert_rgb": (True, None),
        "do_normalize": (True, None),
        "do_rescale": (True, None),
        "do_resize": (True, None),
    },
    harmless=(
        "data_format",
        "image_mean",
        "image_processor_type",
        "image_std",
        "input_data_format",
        "resample",
        "rescale_factor",
    ),
)


def checkpoint_files(
    class_name: str,
    model_type: str,
    vision: Keys,
    own: Mapping[str, Any],
    required: Sequence[str],
    *,
    text: Keys = Keys(),  # noqa: B008 (frozen)
    frames: int = 2,
) -> CheckpointFiles:
    """How a model of this class is read.

    vision: what its vision configuration says; text: what its text configuration says beside those of the family. Of
    both, `required` must be stated: keys of our configuration. own: values of a user's checkpoint, whose pipeline
    nobody knows, by key. frames: that a picture stands for.
    """
    text = _TEXT.joined(text)

    def finish(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
        """The values of the configuration that the files state."""
        for key in (*(f"decoder.{name}" for name in _STATED), *required):
            if key not in values:
                raise ModelMeterError(
                    f"{who}: config.json does not say {key.rpartition('.')[2]} of its "
                    f"{'text' if key.startswith('decoder') else 'vision'} model; add it."
                )
        types = values.pop(_LAYER_TYPES, None)
        if types is not None and len(types) != values["decoder.num_hidden_layers"]:
            raise ModelMeterError(
                f"{who}: layer_types has {len(types)} entries for "
                f"num_hidden_layers={values['decoder.num_hidden_layers']}; give as many."
            )
        return {**own, **values}

    keys = text.joined(Keys(within={"text_config": text, "vision_config": vision}))
    kinds: dict[str, Kind[Any]] = {_LAYER_TYPES: ListOf(Choice(("full_attention",)), 1, LAYERS.most)}
    return CheckpointFiles(
        classes={class_name: ConfigClass(keys=keys, finish=finish)},
        model_types={model_type: class_name},
        preprocessor=_PREPROCESSOR.joined(Keys(fixed={"temporal_patch_size": (frames,)})),
        preprocessor_required=True,
        kinds=kinds,
    )
