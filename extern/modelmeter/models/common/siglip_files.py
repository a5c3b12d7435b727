"""What files of checkpoints with SigLIP tiles have in common: sizes of decoder and tower, keys of the processor."""

from typing import Final

from modelmeter.models.common.checkpoint_files import Keys

#: sizes of a decoder, by the names of a text_config
TEXT_SIZES: Final = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)

#: sizes of the tower, by the names of a vision_config
TOWER_SIZES: Final = (
    "hidden_size",
    "num_attention_heads",
    "image_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_channels",
)

#: where frequencies of positions come from; how they are scaled, if they are, costs nothing a page
ROPE: Final = Keys(fixed={"rope_type": ("default",)}, harmless=("rope_theta",))

#: keys of an image processor's file that change no cost
SAVED_PREPROCESSOR: Final = (
    "data_format",
    "do_convert_rgb",
    "do_normalize",
    "do_rescale",
    "image_mean",
    "image_processor_type",
    "image_std",
    "resample",
    "rescale_factor",
)
