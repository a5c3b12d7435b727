"""Checks of what callers give: each refuses in words what is no number, or no list of overrides."""

from collections.abc import Mapping, Sequence

from modelmeter.errors import ModelMeterError, shown, type_of


def check_batch_size(who: str, batch_size: object) -> None:
    """Raise `ModelMeterError` unless a batch is a positive whole number."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ModelMeterError(f"{who}: batch_size={batch_size!r} is not a batch; give a positive whole number.")


def check_count(who: str, name: str, value: object) -> None:
    """Raise `ModelMeterError` unless `value` is a whole number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ModelMeterError(f"{who}: {name}={value!r} is no number of tokens; give a whole number of 0 or more.")


def check_overrides(overrides: object) -> None:
    """Raise `ModelMeterError` unless overrides are a list of texts; one text alone is none, and a dict is none."""
    if isinstance(overrides, str):
        fix = f"give [{shown(overrides)}]" if "=" in overrides else f"a model's name is model={shown(overrides)}"
        raise ModelMeterError(
            f"load_cost_model: overrides={shown(overrides)} is one text, and overrides are a list of them; {fix}."
        )
    if isinstance(overrides, Mapping):
        listed = ", ".join(f'"{key}={str(value).lower()}"' for key, value in overrides.items())
        raise ModelMeterError(
            f"load_cost_model: overrides={shown(overrides)} is {type_of(overrides)}; give a list of texts: [{listed}]."
        )
    if not isinstance(overrides, Sequence):
        raise ModelMeterError(
            f"load_cost_model: overrides={shown(overrides)} is {type_of(overrides)}; give a list of texts, as "
            'in ["workload=base"].'
        )
    for each in overrides:
        if not isinstance(each, str):
            raise ModelMeterError(
                f'load_cost_model: override {shown(each)} is {type_of(each)}; each is a text, as in "workload=base".'
            )
