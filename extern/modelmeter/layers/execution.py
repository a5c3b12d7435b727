"""Executions: the same network as different code runs it, each a record of facts about that code."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from modelmeter.errors import ModelMeterError, near

ATTENTIONS: Final = ("flash", "eager")

#: executions of the design that cannot be computed yet
NOT_BUILT: Final = ("published", "serving")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What one code base does where code bases differ.

    relative_tables_always_resized: SAM's relative position tables pass through the interpolation even at their size.
    relative_bias_row_major: the two relative terms are laid out so that their sum is row-major, and no copy follows.
    fused_qkv: CLIP projects query, key and value by one product.
    clip_patch_convolution: CLIP's unused patch convolution exists, as parameters.
    head_positions: positions that the head computes by default.
    """

    name: str
    relative_tables_always_resized: bool
    fused_qkv: bool
    clip_patch_convolution: bool


EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {
        "transformers": Execution(
            name="transformers",
            relative_tables_always_resized=True,
            fused_qkv=False,
            clip_patch_convolution=False,
        ),
    }
)


def execution_named(who: str, name: str) -> Execution:
    """The record of an execution; raises `ModelMeterError` for one that is unknown or not built."""
    if name in NOT_BUILT:
        raise ModelMeterError(
            f"{who}: execution={name} is not built yet; use execution=transformers, the modules of that library."
        )
    if name not in EXECUTIONS:
        raise ModelMeterError(f"{who}: execution={name} is unknown; {near(name, (*EXECUTIONS, *NOT_BUILT))}")
    return EXECUTIONS[name]


def check_attention(who: str, attention: str) -> None:
    """Raise `ModelMeterError` unless `attention` is flash or eager."""
    if attention not in ATTENTIONS:
        raise ModelMeterError(f"{who}: attention={attention} is unknown; {near(attention, ATTENTIONS)}")
