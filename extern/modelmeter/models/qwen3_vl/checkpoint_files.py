"""How a folder with a checkpoint of Qwen3-VL is read: `config.json`, and what its image processor saved beside it."""

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
            "num_position_embeddings",
            "deepstack_visual_indexes",
        )
    },
    fixed={"hidden_act": ("gelu_pytorch_tanh",)},
    within={"rope_parameters": Keys(fixed={"rope_type": ("axial",)}, harmless=("rope_theta",))},
)

_ROPE: Final = Keys(fixed={"mrope_interleaved": (True,)})

#: what its text configuration says beside that of its family
TEXT: Final = Keys(
    values={"head_dim": "decoder.head_dim"},
    fixed={"attention_bias": (False,)},
    within={"rope_scaling": _ROPE, "rope_parameters": _ROPE},
)

FILES: Final = checkpoint_files(
    "Qwen3VLForConditionalGeneration",
    "qwen3_vl",
    VISION,
    {"workload.min_image_dim": None, "workload.fit_min_pixels": None, "workload.fit_max_pixels": None},
    (
        "decoder.head_dim",
        *(f"vision.{name}" for name in ("depth", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size")),
        "vision.deepstack_visual_indexes",
    ),
    text=TEXT,
)
