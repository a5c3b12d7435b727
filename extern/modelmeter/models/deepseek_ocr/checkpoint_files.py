"""How a folder with a checkpoint of DeepSeek-OCR is read: the published layout, from `config.json` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelmeter.models.common.checkpoint_files import CheckpointFiles, ConfigClass, Keys
from modelmeter.models.common.deep_encoder_files import (
    KINDS,
    WIDTH_OF_CLIP,
    WIDTH_OF_SAM,
    check_stated,
    finish_towers,
    published_keys,
)

PROJECTOR: Final = Keys(
    values={
        name: f"vision.projector.{name}" for name in ("projector_type", "input_dim", "n_embed", "depth", "mlp_ratio")
    },
    fixed={"token_pooling": (False,)},
)


#: the encoders, by their names
TOWERS: Final = {"sam_vit_b": WIDTH_OF_SAM, "clip-l-14-224": WIDTH_OF_CLIP}


def finish(who: str, values: dict[str, Any]) -> Mapping[str, Any]:
    """The values of the configuration that the file states."""
    check_stated(who, values)
    finish_towers(who, values)
    return values


FILES: Final = CheckpointFiles(
    classes={
        "DeepseekOCRForCausalLM": ConfigClass(keys=published_keys(towers=TOWERS, projector=PROJECTOR), finish=finish)
    },
    # of processor_config.json nothing is read: what a page becomes are arguments of the published infer()
    kinds=KINDS,
)
