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

FILES: Final = checkpoint_files("GlmOcrForConditionalGeneration", "glm_ocr", VISION, {}, ("vision.out_hidden_size",))
