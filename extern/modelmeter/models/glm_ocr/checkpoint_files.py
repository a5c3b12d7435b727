"""How a folder with a checkpoint of GLM-OCR is read: `config.json`, and what its image processor saved beside it."""

from typing import Final

from modelmeter.models.common.checkpoint_files import Keys
from modelmeter.models.common.packed_pages_files import checkpoint_files

VISION: Final = Keys(
    values={
        name: f"vision.{name}"
        for name in (
            "depth",
            "hidden_size",
            "intermediate_size",
            "num_heads",
            "in_channels",
            "patch_size",
            "spatial_merge_size",
            "temporal_patch_size",
            "out_hidden_size",
        )
    },
    fixed={"hidden_act": ("silu",), "attention_bias": (True,)},
    harmless=("hidden_dropout_prob", "image_size"),
    within={"rope_parameters": Keys(fixed={"rope_type": ("axial",)}, harmless=("rope_theta",))},
)

_ROPE: Final = Keys(fixed={"partial_rotary_factor": (1, 1.0)})

#: what its text configuration says beside that of its family
TEXT: Final = Keys(
    values={"head_dim": "decoder.head_dim"},
    # one further layer is what runtime.draft=mtp runs; transformers leaves it out
    fixed={"attention_bias": (False,), "num_nextn_predict_layers": (0, 1)},
    harmless=(
        "image_end_token_id",
        "image_start_token_id",
        "pad_token_id",
        "video_end_token_id",
        "video_start_token_id",
    ),
    within={"rope_scaling": _ROPE, "rope_parameters": _ROPE},
)

FILES: Final = checkpoint_files(
    "GlmOcrForConditionalGeneration",
    "glm_ocr",
    VISION,
    {},
    ("decoder.head_dim", "vision.out_hidden_size"),
    text=TEXT,
)
