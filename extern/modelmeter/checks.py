"""Checks of numbers that callers give: each refuses in words what is none."""

from modelmeter.errors import ModelMeterError


def check_batch_size(who: str, batch_size: object) -> None:
    """Raise `ModelMeterError` unless a batch is a positive whole number."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ModelMeterError(f"{who}: batch_size={batch_size!r} is not a batch; give a positive whole number.")


def check_count(who: str, name: str, value: object) -> None:
    """Raise `ModelMeterError` unless `value` is a whole number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ModelMeterError(f"{who}: {name}={value!r} is no number of tokens; give a whole number of 0 or more.")
