"""A small LightOnOCR, the same on both sides: unequal sizes, a head's of which are multiples of 8."""

from typing import Any, Final

#: by the names of the library's configurations
TEXT: Final[dict[str, Any]] = {
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
}
VISION: Final[dict[str, Any]] = {
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
}
OVERRIDES: Final = [
    *(f"decoder.{name}={value}" for name, value in TEXT.items()),
    *(f"vision.{name}={value}" for name, value in VISION.items()),
]
