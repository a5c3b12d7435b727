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

    head: the positions that the head computes unless told otherwise: last or all.


    The traits by which executions differ come with the second execution; a trait that nothing reads would be a guess.
    """

    name: str
    head: str


EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {
        "transformers": Execution(name="transformers", head="last"),
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
