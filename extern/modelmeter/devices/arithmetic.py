"""The larger and the smaller of two numbers, or of each pair of two arrays: the same arithmetic for both."""

from typing import Any


def larger_of(left: Any, right: Any) -> Any:
    """The larger one."""
    return (left + right + abs(left - right)) / 2


def smaller_of(left: Any, right: Any) -> Any:
    """The smaller one."""
    return (left + right - abs(left - right)) / 2
