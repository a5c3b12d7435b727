"""A small Qianfan-OCR: few layers, and unequal sizes, heads of which are multiples of 8."""

from typing import Final

OVERRIDES: Final = (
    "vision.hidden_size=48",
    "vision.intermediate_size=104",
    "vision.num_hidden_layers=3",
    "vision.num_attention_heads=3",
    "workload.size=84",
    "decoder.vocab_size=300",
    "decoder.hidden_size=80",
    "decoder.intermediate_size=136",
    "decoder.num_hidden_layers=2",
    "decoder.num_attention_heads=6",
    "decoder.num_key_value_heads=2",
    "decoder.head_dim=16",
)
