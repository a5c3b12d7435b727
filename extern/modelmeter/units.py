"""What a unit is: bytes of an element, powers of ten, and the ceiling of a quotient.

Inside the library counts are `int`: elements, FLOPs, bytes. Prefixes appear at the edge only (`quantities`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.errors import ModelMeterError, near

MEGA: Final = 10**6
GIGA: Final = 10**9
TERA: Final = 10**12
BITS_PER_BYTE: Final = 8

#: bytes of one element by the type's name in PyTorch
ITEMSIZE: Final[Mapping[str, int]] = MappingProxyType(
    {
        "float32": 4,
        "bfloat16": 2,
        "float16": 2,
        "float8_e4m3fn": 1,
        "float4_e2m1fn_x2": 1,  # a pair
        "int64": 8,
        "uint64": 8,
        "int32": 4,
        "int8": 1,
        "uint8": 1,
        "bool": 1,
    }
)
#: the types that a model's weights and activations may have
MODEL_DTYPES: Final = ("bfloat16", "float16", "float32")


def check_model_dtype(who: str, dtype: str) -> None:
    """Raise `ModelMeterError` unless `dtype` names a type that the model runs in."""
    if dtype not in MODEL_DTYPES:
        raise ModelMeterError(f"{who}: dtype={dtype} is not a type the model runs in; {near(dtype, MODEL_DTYPES)}")


def ceil_div(dividend: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-dividend // divisor)
