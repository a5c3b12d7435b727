"""How a folder with a checkpoint of the toy is read."""

from collections.abc import Mapping
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Whole
from modelmeter.models.common.checkpoint_files import CheckpointFiles, ConfigClass, Keys

_HEAD_DIM: Final = "decoder.head_dim"  # no key of the configuration: heads follow from the hidden size
_TEXT: Final = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")

CONFIG: Final = Keys(
    within={
        "text_config": Keys(
            values={**{name: f"decoder.{name}" for name in _TEXT}, "head_dim": _HEAD_DIM},
            fixed={"hidden_act": ("silu",), "tie_word_embeddings": (False,)},
            harmless=("rope_theta",),
            required=("hidden_size",),
        ),
        "vision_config": Keys(values={"hidden_size": "vision.hidden_size", "depth": "vision.depth"}),
    }
)
PREPROCESSOR: Final = Keys(values={"patch_size": "workload.patch_size", "max_patches": "workload.max_patches"})


def finish(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that the files state."""
    head_dim = values.pop(_HEAD_DIM, None)
    if (
        head_dim is not None
        and head_dim * values.get("decoder.num_attention_heads", 4) != values["decoder.hidden_size"]
    ):
        raise ModelMeterError(f"{who}: heads of head_dim={head_dim} are not modelled; take it out.")
    return values


FILES: Final = CheckpointFiles(
    classes={"ToyForConditionalGeneration": ConfigClass(keys=CONFIG, finish=finish)},
    model_types={"toy": "ToyForConditionalGeneration"},
    preprocessor=PREPROCESSOR,
    preprocessor_required=True,
    kinds={_HEAD_DIM: Whole(1, 1024)},
)
