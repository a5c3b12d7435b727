"""A small Granite-Docling: few layers, and unequal sizes, heads of which are multiples of 8."""

from typing import Final

OVERRIDES: Final = [
    "vision.hidden_size=48",
    "vision.intermediate_size=88",
    "vision.num_hidden_layers=5",
    "vision.num_attention_heads=3",
    "vision.image_size=128",
    "vision.deepstack_visual_indexes=[1,3]",
    "decoder.vocab_size=200",
    "decoder.hidden_size=96",
    "decoder.intermediate_size=104",
    "decoder.num_hidden_layers=4",
    "decoder.num_attention_heads=6",
    "decoder.num_key_value_heads=2",
    "workload.size=128",
]
