"""Published quality beside rows, and which of them are efficient."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter import quality
from modelmeter.compare.choice import choose
from modelmeter.errors import ModelMeterError
from modelmeter.search import efficient
from tests.compare.results import result


def figures(cost: float, **more: Any) -> dict[str, Any]:
    return {"page_s": cost, "engine": "vllm", **more}


def marked(rows: Any) -> list[bool]:
    return [row.efficient for row in rows]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_efficient_is_what_no_other_beats(points: list[tuple[int, int]]) -> None:
    """Held against the front: the best of all that cost as much or less, at the least cost that has it."""
    for (cost, good), found in zip(points, efficient([(c, -q) for c, q in points]), strict=True):
        best = max(other for price, other in points if price <= cost)
        cheapest = min(price for price, other in points if other >= good)
        assert found == (good == best and cost == cheapest)


def test_a_benchmark_of_which_lower_is_better_turns_round() -> None:
    """DeepSeek-OCR's edit distances by mode: gundam 0.127, base 0.137, large 0.138, tiny 0.386."""
    rows = [
        ("deepseek_ocr", mode, None, figures(cost)) for mode, cost in (("tiny", 1.0), ("base", 2.0), ("large", 3.0))
    ]
    choice = choose(result(*rows, ("deepseek_ocr", "gundam", None, figures(4.0))), "OmniDocBench v1.0 English")
    assert [row.published["OmniDocBench v1.0 English"].value for row in choice.rows] == [0.386, 0.137, 0.138, 0.127]
    assert marked(choice.rows) == [True, True, False, True]


def test_a_figure_of_no_mode_is_the_own_mode_s_alone() -> None:
    choice = choose(
        result(
            ("deepseek_ocr", "tiny", None, figures(1.0)),
            ("deepseek_ocr", "gundam", None, figures(2.0)),
            own_modes={"deepseek_ocr": "gundam"},
        )
    )
    tiny, gundam = choice.rows
    assert "PureDocBench" in gundam.published and "PureDocBench" not in tiny.published
    assert tiny.published["OmniDocBench v1.0 English"].mode == "tiny"


def test_the_benchmark_is_that_of_most_models_and_costs_are_money_first() -> None:
    rows = [
        ("unlimited_ocr", "tiles", "A", figures(2.0, cost_per_1000_pages=1.0)),
        ("olmocr_2_7b", "olmocr", "A", figures(1.0, cost_per_1000_pages=2.0)),
        ("infinity_parser_7b", "page", "A", figures(0.5, cost_per_1000_pages=0.1)),
    ]
    choice = choose(result(*rows))
    assert (choice.benchmark, choice.cost) == ("PureDocBench", "cost_per_1000_pages")
    assert marked(choice.rows) == [True, True, False]  # 63.69 for 1, 63.78 for 2; the last has no such figure
    assert [row.published["PureDocBench"].value for row in choice.rows[:2]] == [63.69, 63.78]


def test_seconds_of_two_devices_are_no_match_but_money_is() -> None:
    rows = [
        ("olmocr_2_7b", "olmocr", "A", figures(1.0)),
        ("olmocr_2_7b", "olmocr", "B", figures(9.0)),
        ("ocrflux_3b", "page", "B", figures(10.0)),
    ]
    assert marked(choose(result(*rows)).rows) == [True, True, False]
    priced = [
        (name, mode, device, {**each, "cost_per_1000_pages": each["page_s"]}) for name, mode, device, each in rows
    ]
    assert marked(choose(result(*priced)).rows) == [True, False, False]


@pytest.mark.parametrize(
    "more, why",
    [
        ({"pages_cut": 1}, "the output of some pages is cut off"),
        ({"pages_refused": 1}, "some pages are refused"),
        ({"regions": "none declared"}, "no regions are declared"),
        ({"engine": "best"}, "times are bounds"),
        ({"precision": "awq"}, "what was published is of weights and a cache of 16 bits, and this is awq"),
    ],
)
def test_rows_aside_beat_nobody(more: Mapping[str, Any], why: str) -> None:
    found = result(("olmocr_2_7b", "olmocr", "A", figures(1.0, **more)), ("ocrflux_3b", "page", "A", figures(2.0)))
    choice = choose(found._replace(engines={"vllm": ["ocrflux_3b"], "best": ["olmocr_2_7b"]}))
    assert str(choice.rows[0].aside).startswith(why) and choice.rows[1].aside is None
    assert marked(choice.rows) == [False, True]


def test_bounds_among_themselves_are_compared() -> None:
    found = result(("olmocr_2_7b", "olmocr", "A", figures(1.0, engine="best")))
    assert marked(choose(found._replace(engines={"best": ["olmocr_2_7b"]})).rows) == [True]


def test_a_refused_row_is_not_efficient() -> None:
    found = result(("olmocr_2_7b", "olmocr", "A", figures(1.0)), ("ocrflux_3b", "page", "A", figures(2.0)))
    refused = found._replace(rows=[replace(found.rows[0], refused="no"), found.rows[1]])
    assert marked(choose(refused).rows) == [False, True]


def test_a_benchmark_that_there_is_not() -> None:
    found = result(("olmocr_2_7b", "olmocr", None, figures(1.0)))
    with pytest.raises(ModelMeterError, match=r'there is no such benchmark; did you mean "OmniDocBench v1\.5"'):
        choose(found, "OmniDocBench v15")
    with pytest.raises(ModelMeterError, match="nobody published a figure of these models"):
        choose(found, "OmniDocBench v1.0 Chinese")


def test_two_versions_are_never_in_one_column() -> None:
    choice = choose(result(("deepseek_ocr2", "tiles", None, figures(1.0))))
    for name, figure in choice.rows[0].published.items():
        assert figure.benchmark == name and figure.part == quality.benchmarks()[name].headline
    assert {"OmniDocBench v1.5", "OmniDocBench v1.6"} <= set(choice.benchmarks)
