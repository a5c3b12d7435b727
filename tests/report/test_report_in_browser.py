"""The HTML report in a real browser: no console message, the tree opens, the sort sorts, nothing is cut off.

Needs selenium (the extra `browser`) and a Chromium or Chrome with its driver; without them these tests do not run.
axe, which checks contrast, labels and the like, is fetched by `make axe`; without it its test is reported as skipped.
"""

from __future__ import annotations

import base64
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.main import main
from modelmeter.pdf_pages import read_pdf_page_sizes
from tests.report.seen import violations

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    file: Path = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["report", "1275x1650", "600x220", "--output-tokens", "10", "-o", str(file)]) == 0
    return file.as_uri()


@pytest.fixture
def page(driver: Any, report: str) -> Any:
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    driver.get(report)
    return driver


def test_it_loads_one_file_and_says_nothing_on_the_console(page: Any, report: str) -> None:
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').map(each => each.name)") == []
    requests = [entry["message"] for entry in page.get_log("performance") if "Network.requestWillBeSent" in str(entry)]
    assert all(report in message or '"url":"data:,"' in message for message in requests)
    assert len(page.find_elements("css selector", "main > section")) == 10


def test_the_tree_opens(page: Any) -> None:
    tree = page.find_element("css selector", "#modules-prefill")
    top = tree.find_element("xpath", ".//div[@class='modules']/details[summary//code='layers']")
    inner = top.find_element("css selector", "details")
    assert not inner.is_displayed()
    top.find_element("css selector", "summary").click()
    assert inner.is_displayed() and inner.text.split()[0] == "0"
    assert "1-11 (11 ×)" in top.text
    buttons = tree.find_elements("css selector", "button[data-fold]")
    for button, opened in zip(buttons, (True, False), strict=True):
        button.click()
        states = {each.get_property("open") for each in tree.find_elements("css selector", "details")}
        assert states == {opened}


def by_numbers(text: str) -> list[str | int]:
    """A key that has the H20 before the H100."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


@pytest.mark.parametrize("by", ["button", "keyboard"])
def test_the_sort_sorts(page: Any, by: str) -> None:
    table = page.find_element("css selector", "#devices-devices table")
    heads = table.find_elements("css selector", "th")
    (place,) = [number for number, each in enumerate(heads) if each.text.startswith("device alone")]
    head = heads[place]

    def column() -> list[float]:
        cells = page.execute_script(
            "return [...arguments[0].tBodies[0].rows].map(row => row.cells[arguments[1]].dataset.value ?? null)",
            table,
            place,
        )
        assert cells[-1] is None  # a device without a result stays at the end
        return [float(cell) for cell in cells if cell is not None]

    before = column()
    button = head.find_element("css selector", "button")

    def press() -> None:
        if by == "button":
            button.click()
        else:
            button.send_keys("\ue007")

    press()
    assert column() == sorted(before, reverse=True) != before
    assert head.get_attribute("aria-sort") == "descending"
    press()
    assert column() == sorted(before)
    names = table.find_elements("css selector", "th")[0]
    names.click()
    assert head.get_attribute("aria-sort") is None
    shown = [row.text for row in table.find_elements("css selector", "tbody th")]
    assert shown == sorted(shown, key=by_numbers, reverse=True) != sorted(shown, key=by_numbers)


def test_the_tree_sorts(page: Any) -> None:
    tree = page.find_element("css selector", "#modules-prefill")

    def lines(parent: Any) -> list[tuple[str, float]]:
        return page.execute_script(
            "return [...arguments[0].children].filter(each => each.tagName === 'DETAILS').map(each => "
            "[each.querySelector('code').textContent, Number(each.querySelector('[data-label=time]').dataset.value)])",
            parent,
        )

    top = tree.find_element("css selector", ".modules")
    layers = tree.find_element("xpath", ".//div[@class='modules']/details[summary//code='layers']")
    layer = layers.find_element("css selector", "details details")
    as_run = [lines(each) for each in (top, layer)]
    heads = tree.find_elements("css selector", ".heads > span")
    (time,) = (head for head in heads if head.text.startswith("time"))
    for down in (True, False):
        time.find_element("css selector", "button").click()
        assert time.get_attribute("data-sort") == ("descending" if down else "ascending")
        for parent, before in zip((top, layer), as_run, strict=True):
            seconds = [value for _, value in lines(parent)]
            assert seconds == sorted((value for _, value in before), reverse=down)
            assert len(seconds) > 3
    heads[0].click()
    assert [lines(each) for each in (top, layer)] == as_run
    assert time.get_attribute("data-sort") is None
    folded = tree.find_elements("css selector", "details:has(> .operators)")
    assert all(
        page.execute_script("return arguments[0].lastElementChild.className", each) == "operators"
        for each in folded[:9]
    )


@pytest.mark.parametrize("width", [390, 768, 1200])
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    # what is wider than its place scrolls inside it
    wide = page.execute_script(
        "return [...document.querySelectorAll('section *')].filter(each => !each.closest('.wide') && "
        "each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_labels_of_a_chart_do_not_overlap(page: Any) -> None:
    overlapping = page.execute_script(
        """
        const bad = [];
        for (const svg of document.querySelectorAll("svg")) {
          const texts = [...svg.querySelectorAll("text:not([transform])")].map(each => [each.textContent,
            each.getBoundingClientRect()]);
          const frame = svg.getBoundingClientRect();
          texts.forEach(([one, a], index) => {
            if (a.left < frame.left - 1 || a.right > frame.right + 1) bad.push([one, "cut off"]);
            for (const [two, b] of texts.slice(index + 1))
              if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
                bad.push([one, two]);
          });
        }
        return bad;
        """
    )
    assert overlapping == []


def test_it_is_dark_where_the_reader_wants_that(page: Any) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        style = "const style = getComputedStyle(document.querySelector('section')); "
        rgb = page.execute_script(style + "return [style.backgroundColor, style.color].map(c => c.match(/\\d+/g)[1])")
        colours[scheme] = [int(each) for each in rgb]
    assert colours["light"][0] > 200 > 100 > colours["light"][1]
    assert colours["dark"][0] < 100 < 200 < colours["dark"][1]


def test_it_prints_on_paper(page: Any) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = page.execute_script(
        "return [...document.querySelectorAll('nav, .buttons')].map(each => getComputedStyle(each).display)"
    )
    assert set(shown) == {"none"}


def test_a_page_prints_on_six_sheets(driver: Any, tmp_path: Path) -> None:
    file, sheets = tmp_path / "one.html", tmp_path / "one.pdf"
    price = ("--price", "2.5", "--device", "H100-SXM")
    assert main(["report", "1275x1650", "--output-tokens", "1000", *price, "-o", str(file)]) == 0
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    driver.get(file.as_uri())
    pdf = driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    sheets.write_bytes(base64.b64decode(pdf["data"]))
    assert 3 <= len(read_pdf_page_sizes(sheets)) <= 6


def test_the_tree_is_searched(page: Any) -> None:
    tree = page.find_element("css selector", "#modules-prefill")
    field, found = (tree.find_element("css selector", each) for each in ("input[type=search]", "[role=status]"))
    before = [each.is_displayed() for each in tree.find_elements("css selector", "details")]

    def shown() -> list[str]:
        names = tree.find_elements("css selector", "summary code")
        return [each.text for each in names if each.is_displayed()]

    field.send_keys("qkv_proj")
    assert shown()[0] == "global" and "qkv_proj" in shown() and "mlp" not in shown()
    count = sum(name == "qkv_proj" for name in shown())
    assert found.text == f"{count} line{'s' * (count > 1)} found"
    field.clear()
    field.send_keys("moe")  # an operator: the module that runs it opens
    (module,) = (
        each
        for each in tree.find_elements("css selector", "details[open]")
        if "fused.moe" in each.text and not each.find_elements("css selector", "details")
    )
    assert module.find_element("css selector", "summary code").text == "experts"
    field.clear()
    field.send_keys("nothing like it")
    assert (shown(), found.text) == ([], "0 lines found")
    field.send_keys("\ue003" * len("nothing like it"))
    assert [each.is_displayed() for each in tree.find_elements("css selector", "details")] == before
    assert found.text == ""


def test_the_navigation_stays_and_says_where_one_is(page: Any) -> None:
    link = page.find_element("css selector", "nav a[href='#roofline']")
    link.click()
    page.implicitly_wait(5)
    current = page.find_element("css selector", "nav a[aria-current][href='#roofline']")
    assert current.text == "Roofline"
    top = page.execute_script("return document.querySelector('nav').getBoundingClientRect().top")
    heading = page.execute_script("return document.querySelector('#roofline h2').getBoundingClientRect().top")
    bottom = page.execute_script("return document.querySelector('nav').getBoundingClientRect().bottom")
    page.implicitly_wait(0)
    assert top == 0 and heading >= bottom


def test_headings_are_in_order(page: Any) -> None:
    levels = page.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3, h4')].map(each => +each.tagName[1])"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


@pytest.mark.parametrize("width, scheme", [(1200, "light"), (1200, "dark"), (390, "light")])
def test_axe_finds_nothing(page: Any, width: int, scheme: str) -> None:
    assert violations(page, width, scheme) == []
