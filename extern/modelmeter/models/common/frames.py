"""A page's cost as a pandas DataFrame: a row for each stage, module or operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from modelmeter.errors import ModelMeterError, near, shown
from modelmeter.kernel_classes import kernel_class
from modelmeter.models.common.breakdown import OperatorCost, stage_operators
from modelmeter.models.common.stage_cost import StageCost

if TYPE_CHECKING:
    import pandas as pd

    from modelmeter.models.common.cost_model import TextCost

#: what adds up: figures of `StageCost`
_SUMS: Final = (
    "tensor_core_flops",
    "cuda_core_flops",
    "io_bytes",
    "io_weight_bytes",
    "io_activation_bytes",
    "io_kv_bytes",
)


def frame(page: TextCost, by: str) -> pd.DataFrame:
    """The DataFrame of a page by "stage", "module" or "operator"; raises `ModelMeterError` without pandas."""
    if by not in _FRAMES:
        raise ModelMeterError(f"to_pandas: by={shown(by)} is unknown; {near(str(by), _FRAMES)}")
    try:
        import pandas
    except ImportError as error:
        raise ModelMeterError(
            f"to_pandas needs pandas ({error}); pip install pandas, or take to_dict(), which needs nothing."
        ) from error
    return _FRAMES[by](pandas, page)


def _by_stage(pandas: Any, page: TextCost) -> pd.DataFrame:
    rows = {name: cost.as_dict() for name, cost in page.stages().items()}
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("stage")


def _by_module(pandas: Any, page: TextCost) -> pd.DataFrame:
    rows: dict[tuple[str, str], tuple[int, StageCost]] = {}
    for stage in _stages(page):
        for operator in stage_operators(page, stage):
            key = stage, operator.record.path
            times, cost = rows.get(key, (0, StageCost()))
            rows[key] = times + operator.times, cost + operator.cost
    index = pandas.MultiIndex.from_tuples(rows, names=("stage", "module"))
    return pandas.DataFrame([{"operators": times} | _sums(cost) for times, cost in rows.values()], index=index)


def _by_operator(pandas: Any, page: TextCost) -> pd.DataFrame:
    rows = [_operator(stage, each) for stage in _stages(page) for each in stage_operators(page, stage)]
    return pandas.DataFrame(rows)


def _operator(stage: str, operator: OperatorCost) -> dict[str, Any]:
    record = operator.record
    return {
        "stage": stage,
        "module": record.path,
        "operator": record.aten,
        "kernel_class": kernel_class(record),
        "dtype": record.dtype,
        "inputs": record.inputs,
        "outputs": record.outputs,
        "times": operator.times,
    } | _sums(operator.cost)


def _stages(page: TextCost) -> list[str]:
    """The stages that have operators."""
    return [name for name in page.stages() if name != "total"]


def _sums(cost: StageCost) -> dict[str, int]:
    return {name: getattr(cost, name) for name in _SUMS}


_FRAMES: Final[Mapping[str, Callable[[Any, TextCost], pd.DataFrame]]] = MappingProxyType(
    {"stage": _by_stage, "module": _by_module, "operator": _by_operator}
)
