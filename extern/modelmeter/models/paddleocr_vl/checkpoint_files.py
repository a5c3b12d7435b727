"""How a folder with a checkpoint of PaddleOCR-VL is read: `config.json`, and what its processor saved."""

from typing import Final

from modelmeter.models.common.checkpoint_files import Keys
from modelmeter.models.common.packed_pages_files import checkpoint_files

VISION: Final = Keys(
    values={
        name: f"vision.{name}"
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_channels",
            "image_size",
            "patch_size",
            "spatial_merge_size",
        )
    },
    fixed={"hidden_act": ("gelu_pytorch_tanh",)},
    harmless=("temporal_patch_size", "tokens_per_second"),  # of videos
    within={"rope_parameters": Keys(fixed={"rope_type": ("axial",)}, harmless=("rope_theta",))},
)

TEXT: Final = Keys(
    values={"head_dim": "decoder.head_dim"},
    fixed={"use_bias": (False,), "use_3d_rope": (True,), "compression_ratio": (1.0,)},
    harmless=("rope_is_neox_style", "weight_share_add_bias"),  # the order of a head's elements; of biases, none
)

FILES: Final = checkpoint_files(
    "PaddleOCRVLForConditionalGeneration", "paddleocr_vl", VISION, {}, (), text=TEXT, frames=1
)
