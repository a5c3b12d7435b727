"""The report of `modelmeter compare` in a real browser, light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from tests.report.seen import seen

pytestmark = pytest.mark.slow

ASKED = ("1275x1650", "--models", "deepseek_ocr,unlimited_ocr,olmocr_2_7b,lighton_ocr_2_1b", "--output-tokens", "500")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    file: Path = tmp_path_factory.mktemp("compare") / "compare.html"
    assert main(["compare", *ASKED, "--device", "H100-SXM", "--price", "2.5", "-o", str(file)]) == 0
    return file.as_uri()


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_says_nothing_on_the_console_and_nothing_is_wider_than_the_page(
    driver: Any, report: str, width: int, scheme: str
) -> None:
    seen(driver, width, scheme)
    driver.get(report)
    assert driver.get_log("browser") == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    front = driver.find_element("css selector", "#chart svg .front")
    assert front.is_displayed() and front.value_of_css_property("fill") == "none"
    names = [each.text for each in driver.find_elements("css selector", "#chart svg text")]
    assert {"deepseek_ocr", "unlimited_ocr", "olmocr_2_7b"} <= set(names) and "lighton_ocr_2_1b" not in names


def test_the_rows_can_be_sorted_by_what_was_published(driver: Any, report: str) -> None:
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get(report)
    table = driver.find_element("css selector", "#models-rows table")
    (place,) = [n for n, each in enumerate(table.find_elements("css selector", "th")) if "PureDocBench" in each.text]
    table.find_elements("css selector", "thead th")[place].click()
    shown = [
        row.find_elements("css selector", "th, td")[place].text
        for row in table.find_elements("css selector", "tbody tr")
    ]
    figures = [float(each) for each in shown if each != "-"]
    assert len(shown) == 4 and len(figures) == 3 and figures in (sorted(figures), sorted(figures, reverse=True))
