"""A small DeepSeek-OCR-2: few layers, and unequal sizes, heads of which are multiples of 8."""

from typing import Final

OVERRIDES: Final = [
    "vision.sam.embed_dim=32",
    "vision.sam.num_heads=2",
    "vision.sam.mlp_dim=48",
    "vision.sam.depth=2",
    "vision.sam.global_attn_indexes=[1]",
    "vision.sam.out_chans=24",
    "vision.sam.downsample_channels=[40,96]",
    "vision.encoder.hidden_size=96",
    "vision.encoder.intermediate_size=136",
    "vision.encoder.num_hidden_layers=2",
    "vision.encoder.num_attention_heads=6",
    "vision.encoder.num_key_value_heads=2",
    "decoder.vocab_size=200",
    "decoder.hidden_size=64",
    "decoder.intermediate_size=88",
    "decoder.moe_intermediate_size=40",
    "decoder.num_hidden_layers=2",
    "decoder.num_attention_heads=4",
    "decoder.num_key_value_heads=4",
    "decoder.n_routed_experts=8",
    "decoder.num_experts_per_tok=3",
]

#: SAM in small windows alone: the peak of vision is in the encoder
IN_ENCODER: Final = (
    "vision.sam.global_attn_indexes=[]",
    "vision.sam.window_size=4",
    "vision.sam.embed_dim=8",
    "vision.sam.num_heads=1",
    "vision.sam.mlp_dim=8",
    "vision.sam.out_chans=8",
    "vision.sam.downsample_channels=[8,480]",
    "vision.encoder.hidden_size=480",
    "vision.encoder.num_attention_heads=6",
)
