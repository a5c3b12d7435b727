"""The chart of quality against cost: where points stand, what their shapes mean, and the front."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from modelmeter.compare.choice import Choice, choose
from modelmeter.report.quality_chart import MOST_NAMES, quality_charts, standalone
from tests.compare.results import result

SVG = "{http://www.w3.org/2000/svg}"


def drawn(choice: Choice) -> ElementTree.Element:
    (chart,) = quality_charts(choice)
    return ElementTree.fromstring(chart.svg)


def figures(cost: float) -> dict[str, Any]:
    return {"page_s": cost, "page_s_low": cost / 2, "page_s_high": 2 * cost, "engine": "vllm"}


def places(root: ElementTree.Element) -> dict[str, tuple[str, float, float]]:
    """By the first word of its title: a point's shape, and where it stands."""
    found = {}
    for each in root.iter():
        title = each.find(f"{SVG}title")
        if title is None or title.text is None:
            continue
        if each.tag == f"{SVG}circle":
            at = float(each.attrib["cx"]), float(each.attrib["cy"])
        else:
            corners = [tuple(map(float, corner.split(","))) for corner in each.attrib["points"].split()]
            at = sum(x for x, _ in corners) / 4, sum(y for _, y in corners) / 4
        found[title.text.split(" on ")[0].split(":")[0]] = (each.tag.removeprefix(SVG), *at)
    return found


def test_dearer_is_to_the_right_better_is_higher_and_a_vendor_is_a_diamond() -> None:
    """olmOCR-bench: DeepSeek-OCR 75.7 by others, olmOCR-2 82.4 and Infinity-Parser 82.5 by their vendors."""
    rows = [
        ("deepseek_ocr", "gundam", "A", figures(1.0)),
        ("infinity_parser_7b", "page", "A", figures(3.0)),
        ("olmocr_2_7b", "olmocr", "A", figures(9.0)),
    ]
    found = places(drawn(choose(result(*rows), "olmOCR-bench")))
    deepseek, infinity, olmocr = (found[name] for name, *_ in rows)
    assert [each[0] for each in (deepseek, infinity, olmocr)] == ["circle", "polygon", "polygon"]
    assert deepseek[1] < infinity[1] < olmocr[1]
    assert abs((infinity[1] - deepseek[1]) - (olmocr[1] - infinity[1])) < 0.3  # equal factors, equal ways
    assert infinity[2] < olmocr[2] < deepseek[2]  # up is smaller


def test_the_front_goes_through_the_efficient_points_in_steps() -> None:
    rows = [
        ("deepseek_ocr", "gundam", "A", figures(1.0)),
        ("olmocr_2_7b", "olmocr", "A", figures(3.0)),
        ("nanonets_ocr2_3b", "page", "A", figures(9.0)),
    ]
    root = drawn(choose(result(*rows), "olmOCR-bench"))
    found = places(root)
    (front,) = [each.attrib["d"] for each in root.iter(f"{SVG}path") if each.attrib["class"] == "front"]
    first, second = found["deepseek_ocr"], found["olmocr_2_7b"]
    numbers = [float(each) for each in re.findall(r"[\d.]+", front)]
    for number, expected in zip(numbers, [first[1], first[2], second[1], second[2]], strict=False):
        assert abs(number - expected) < 0.2
    assert re.sub(r"[\d. ]", "", front) == "MHVH"
    hollow = [each for each in root.iter(f"{SVG}circle") if "hollow" in each.attrib["class"] and len(each)]
    assert len(hollow) == 1  # the third, which is beaten


def test_a_distance_stands_higher_the_smaller_it_is() -> None:
    rows = [("deepseek_ocr", mode, None, figures(cost)) for mode, cost in (("tiny", 1.0), ("gundam", 2.0))]
    found = places(drawn(choose(result(*rows), "OmniDocBench v1.0 English")))
    assert found["deepseek_ocr gundam"][2] < found["deepseek_ocr tiny"][2]


def of_two_devices(**more: float) -> list[Any]:
    return [
        (name, "x", device, figures(cost) | {key: value * cost for key, value in more.items()})
        for device, cost in (("A", 1.0), ("B", 5.0))
        for name, cost in (("deepseek_ocr", cost), ("olmocr_2_7b", 2 * cost))
    ]


def test_devices_whose_seconds_do_not_compare_have_a_chart_each() -> None:
    charts = quality_charts(choose(result(*of_two_devices()), "PureDocBench"))
    assert [chart.key for chart in charts] == ["quality_against_cost_A", "quality_against_cost_B"]
    assert [chart.title.rpartition(", ")[2] for chart in charts] == ["A", "B"]
    for chart, costs in zip(charts, ([1.0, 2.0], [5.0, 10.0]), strict=True):
        assert [point["cost"] for point in chart.data["points"]] == costs
        assert chart.svg.count('class="front"') == 1


def test_money_puts_all_devices_into_one() -> None:
    root = drawn(choose(result(*of_two_devices(cost_per_1000_pages=1.0)), "PureDocBench"))
    assert {each.text for each in root.iter(f"{SVG}text")} >= {"A", "B", "measured by others"}
    assert sum(each.attrib["class"] == "front" for each in root.iter(f"{SVG}path")) == 1


def test_of_many_points_those_on_the_front_are_named() -> None:
    rows = [
        ("olmocr_2_7b", "x", f"D{number}", figures(1.0) | {"cost_per_1000_pages": 1.0 + number}) for number in range(21)
    ]
    for count, named in ((MOST_NAMES, MOST_NAMES), (21, 1)):
        root = drawn(choose(result(*rows[:count]), "PureDocBench"))
        assert sum(each.text == "olmocr_2_7b" for each in root.iter(f"{SVG}text")) == named


def test_too_few_points_are_no_chart() -> None:
    assert quality_charts(choose(result(("deepseek_ocr", "gundam", "A", figures(1.0))), "PureDocBench")) == []


def test_a_file_of_its_own_has_the_colours_of_both_schemes() -> None:
    rows = [("deepseek_ocr", "gundam", "A", figures(1.0)), ("olmocr_2_7b", "olmocr", "A", figures(2.0))]
    (chart,) = quality_charts(choose(result(*rows), "PureDocBench"))
    root = ElementTree.fromstring(standalone(chart.svg))
    (style,) = [each.text or "" for each in root.iter(f"{SVG}style")]
    used = set(re.findall(r"var\((--\w+)\)", style))
    assert used and all(style.count(f"{name}:") == 2 for name in used)
