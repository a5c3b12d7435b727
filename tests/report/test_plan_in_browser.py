"""The report of a plan in a real browser, light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from tests.report.seen import seen, violations

pytestmark = pytest.mark.slow

ASKED = ("letter@150", "--pages", "5/second", "--output-tokens", "500", "--requests", "200", "--max-latency", "30s")
WAYS = ("--models", "deepseek_ocr,lighton_ocr_2_1b,qwen2_vl", "--device", "H100-SXM,L40S,T4", "--price", "L40S=0.9")
PRICES = ("--price", "H100-SXM=2.5", "--price", "T4=0.2")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    file: Path = tmp_path_factory.mktemp("plan") / "plan.html"
    assert main(["plan", *ASKED, *WAYS, *PRICES, "-o", str(file)]) == 0
    return file.as_uri()


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_decision_is_on_the_first_screen(driver: Any, report: str, width: int, scheme: str) -> None:
    """Answer, what was asked, GPUs and money, above the fold; and nothing is wider than the page."""
    seen(driver, width, scheme)
    driver.get(report)
    assert driver.get_log("browser") == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    plan = driver.find_element("css selector", "main > section")
    assert plan.get_attribute("id") == "plan"
    for each in (".lead", "#plan-asked", "#plan-best .tiles > div:nth-child(2)"):
        place = plan.find_element("css selector", each).rect
        assert place["y"] + place["height"] <= 900, each


def test_the_ways_can_be_sorted_by_their_latency(driver: Any, report: str) -> None:
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get(report)
    table = driver.find_element("css selector", "#plan-ways table")
    heads = [each.text for each in table.find_elements("css selector", "thead th")]
    (place,) = [number for number, each in enumerate(heads) if each.startswith("latency p95")]

    def column() -> list[float]:
        cells = table.find_elements("css selector", f"tbody tr > :nth-child({place + 1})")
        return [float(each.get_attribute("data-value")) for each in cells]

    before = column()
    table.find_elements("css selector", "thead th")[place].find_element("css selector", "button").click()
    assert column() == sorted(before, reverse=True) != before


@pytest.mark.parametrize("width, scheme", [(1200, "light"), (1200, "dark"), (390, "light")])
def test_axe_finds_nothing(driver: Any, report: str, width: int, scheme: str) -> None:
    driver.get(report)
    assert violations(driver, width, scheme) == []
