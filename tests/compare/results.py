"""Results of comparisons, made by hand."""

from collections.abc import Mapping
from typing import Any

from modelmeter.compare import Comparison, Given, Pages, Result
from modelmeter.sweep import Point

#: a row: model, mode, device, figures
Row = tuple[str, str, str | None, Mapping[str, Any]]


def result(*rows: Row, own_modes: Mapping[str, str] | None = None) -> Result:
    names = [name for name, *_ in rows]
    return Result(
        comparison=Comparison(pages=Pages.of([(10, 10, 1, Given.of(1))]), models=()),
        rows=[
            Point(settings={"model": name, "mode": mode} | ({"device": device} if device else {}), figures=figures)
            for name, mode, device, figures in rows
        ],
        assumptions={},
        engines={"vllm": names},
        checkpoints={name: name for name in names},
        own_modes=own_modes or {name: mode for name, mode, *_ in rows},
        bound=False,
    )
