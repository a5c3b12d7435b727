"""What the laws of every model are held to."""

from collections.abc import Callable
from functools import reduce
from operator import add
from time import process_time
from typing import Any

from modelmeter.models.common.cost_model import CostModel
from tests.models.walked import walked_prefill, walked_step


def check_prompts_and_steps(model: CostModel[Any, Any, Any], longest: int) -> None:
    """Prompts without a page, steps and sums of steps, around lengths up to `longest`, are what walks are."""
    for tokens in (1, 2, 7, 100, longest):
        assert model.text(tokens).prefill == walked_prefill(model, tokens, None), tokens
        assert model.step(tokens) == walked_step(model, tokens), tokens
    for start, steps in ((1, 2), (5, 9), (longest, 3)):
        one_by_one = [walked_step(model, start + index) for index in range(steps)]
        assert model.text(start, steps).decode == reduce(add, one_by_one), (start, steps)


def laws_of(model: CostModel[Any, Any, Any], stage: str) -> int:
    """The laws that were found for a stage."""
    return sum(len(laws) for kind, laws in model._laws._laws.items() if kind[0] == stage)  # type: ignore[index]


def check_pace(load: Callable[[], CostModel[Any, Any, Any]]) -> None:
    """The first page within a second, a further size within a millisecond: of the processor, which others use too."""
    firsts = []
    for _ in range(3):
        model = load()
        start = process_time()
        model.page(1275, 1650, output_tokens=1000)
        firsts.append(process_time() - start)
    assert min(firsts) < 1
    further = []
    for width in range(600, 1400, 14):
        start = process_time()
        model.page(width, 1500, output_tokens=1000)
        further.append(process_time() - start)
    assert sorted(further)[len(further) // 2] < 0.001
