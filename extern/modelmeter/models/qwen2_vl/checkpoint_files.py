"""How a folder with a checkpoint of Qwen2-VL is read: `config.json`, and what its image processor saved beside it."""

from typing import Final

from modelmeter.models.common.checkpoint_files import Keys
from modelmeter.models.common.packed_pages_files import checkpoint_files

VISION: Final = Keys(
    values={
        **{
            name: f"vision.{name}"
            for name in (
                "depth",
                "embed_dim",
                "hidden_size",
                "mlp_ratio",
                "num_heads",
                "in_channels",
                "patch_size",
                "spatial_merge_size",
                "temporal_patch_size",
            )
        },
        "in_chans": "vision.in_channels",
        "spatial_patch_size": "vision.patch_size",
    },
    fixed={"hidden_act": ("quick_gelu",)},
    within={"rope_parameters": Keys(fixed={"rope_type": ("axial",)}, harmless=("rope_theta",))},
)

FILES: Final = checkpoint_files(
    "Qwen2VLForConditionalGeneration",
    "qwen2_vl",
    VISION,
    {"workload.layout_image_size": None},
    ("vision.hidden_size",),
)
