"""How a folder with a checkpoint of Qwen2.5-VL is read: `config.json`, and what its image processor saved beside it."""

from typing import Final

from modelmeter.models.common.checkpoint_files import Keys
from modelmeter.models.common.packed_pages_files import checkpoint_files

VISION: Final = Keys(
    values={
        **{
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
                "window_size",
                "out_hidden_size",
                "fullatt_block_indexes",
            )
        },
        "in_chans": "vision.in_channels",
        "spatial_patch_size": "vision.patch_size",
    },
    fixed={"hidden_act": ("silu",)},
    harmless=("tokens_per_second",),
    within={"rope_parameters": Keys(fixed={"rope_type": ("axial",)}, harmless=("rope_theta",))},
)

FILES: Final = checkpoint_files(
    "Qwen2_5_VLForConditionalGeneration",
    "qwen2_5_vl",
    VISION,
    {"workload.target_longest_image_dim": None},
    ("vision.hidden_size", "vision.out_hidden_size"),
)
