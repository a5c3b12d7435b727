"""docs/explore.html in a real browser: its integers are the library's, its times too, and every control matters.

Needs selenium (the extra `browser`) and a Chromium or Chrome with its driver; without them these tests do not run.
A committed page whose figures are no longer the library's fails here: `make explore` writes it anew.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from modelmeter.devices import PageKind, compute_throughput, load_device
from modelmeter.errors import ModelMeterError
from modelmeter.models import MODELS, model_package
from modelmeter.models import find as find_model
from modelmeter.report.screenshots import NoBrowser, browser

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("explore")]

PAGE = Path(__file__).parents[2] / "docs/explore.html"
AXE = Path(__file__).parents[2] / "outputs/axe-core/package/axe.min.js"
CHECKPOINTS = [checkpoint for name in MODELS for checkpoint in model_package(name).CHECKPOINTS]
#: random pages in all, shared out evenly among the checkpoints that the page has
PAGES = 10_000
FIGURES = ("vision", "prefill", "decode", "total")


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            started = stack.enter_context(browser())
        except NoBrowser as error:
            pytest.skip(str(error))
        started.set_script_timeout(600)
        yield started


def opened(driver: Any, link: str = "") -> Any:
    driver.get("about:blank")
    driver.get(f"{PAGE.as_uri()}{link}")
    driver.implicitly_wait(60)
    driver.find_element("css selector", "body[data-ready]")
    driver.implicitly_wait(0)
    return driver


@pytest.fixture
def page(driver: Any) -> Any:
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    return opened(driver)


def entries(page: Any) -> list[dict[str, Any]]:
    """The models of the page, as its laws have them."""
    return page.execute_script(
        "return laws.content.models.map(({model, checkpoint, mode, engine}) => ({model, checkpoint, mode, engine}))"
    )


def drawn(seed: str, number: int) -> list[tuple[int, int, int]]:
    """Widths, heights and output tokens of random pages."""
    draws = random.Random(seed)
    sides = [[int(2 ** draws.uniform(3, 13.3)) for _ in range(2)] for _ in range(number)]
    return [(width, height, draws.choice((0, 1, 2, draws.randrange(4000)))) for width, height in sides]


def cost_model(entry: dict[str, Any], *more: str) -> Any:
    overrides = [f"{key}={entry[name]}" for key, name in (("engine", "engine"), ("workload", "mode"))]
    found = find_model(entry["checkpoint"])
    return model_package(found.model).load_cost_model([*found.overrides, *overrides, *more])


def test_it_has_every_model_and_checkpoint(page: Any) -> None:
    assert list(dict.fromkeys(each["checkpoint"] for each in entries(page))) == CHECKPOINTS
    assert {(each["checkpoint"], each["mode"]) for each in entries(page)} == {
        (checkpoint, mode) for name in MODELS for checkpoint in model_package(name).CHECKPOINTS
        for mode in model_package(name).MODES
    }  # fmt: skip
    assert PAGE.stat().st_size < 3_000_000


IN_PAGES = """
const [number, asked] = arguments;
return asked.map(([width, height, steps]) => {
  try {
    const page = laws.page(number, width, height, steps);
    const stages = ["vision", "prefill", "decode", "total"];
    const figures = stages.flatMap((stage) => FIGURES.map((name) => String(page.stages[stage][name])));
    return [page.imageTokens, page.seqLen, ...figures];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return null;
  }
});
"""


def test_its_integers_are_the_librarys_over_random_pages_of_every_model(page: Any) -> None:
    firsts = {each["checkpoint"]: number for number, each in reversed(list(enumerate(entries(page))))}
    every = entries(page)
    share = -(-PAGES // len(firsts))
    compared = 0
    for checkpoint, number in firsts.items():
        asked = drawn(checkpoint, share)
        model = cost_model(every[number])
        found = page.execute_script(IN_PAGES, number, asked)
        for (width, height, steps), got in zip(asked, found, strict=True):
            assert got == expected(model, width, height, steps), (checkpoint, width, height, steps)
        compared += len(asked)
    assert compared >= PAGES and set(firsts) == set(CHECKPOINTS)


def expected(model: Any, width: int, height: int, steps: int) -> list[Any] | None:
    try:
        page = model.page(width, height, steps)
    except ModelMeterError:
        return None
    stages = page.stages()
    figures = [str(value) for name in FIGURES for value in asdict(stages[name]).values()]
    return [page.tokens.total, page.seq_len, *figures]


def test_its_integers_are_the_librarys_in_every_mode_and_engine(page: Any) -> None:
    for number, entry in enumerate(entries(page)):
        model = cost_model(entry)
        asked = drawn(str(entry), 12)
        for one, got in zip(asked, page.execute_script(IN_PAGES, number, asked), strict=True):
            assert got == expected(model, *one), (entry, one)


def test_a_wrong_coefficient_is_seen(page: Any) -> None:
    page.execute_script(
        "laws.content.polynomials = laws.content.polynomials.map(each => each.replace('*rows', '*rows^2'))"
    )
    asked = drawn("wrong", 20)
    model = cost_model(entries(page)[0])
    assert page.execute_script(IN_PAGES, 0, asked) != [expected(model, *each) for each in asked]


IN_TIMES = """
const [number, device, width, height, steps, workers] = arguments;
try {
  const page = laws.page(number, width, height, steps);
  const batch = laws.largestBatch(number, device, page);
  return batch ? [batch, laws.throughput(number, device, page, batch, 2.5, {workers}).figures] : null;
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  return null;
}
"""
NEAR = 1e-9


def test_its_times_and_batches_are_the_librarys(page: Any) -> None:
    draws = random.Random(5)
    names = page.execute_script("return Object.keys(laws.content.devices)")
    answered = 0
    for number, entry in enumerate(entries(page)):
        if draws.random() > 0.3:
            continue
        device, (width, height, _) = draws.choice(names), drawn(str(number), 1)[0]
        steps = draws.choice((0, 1, 60, 400))
        workers = draws.choice((None, 1, 5))
        got = page.execute_script(IN_TIMES, number, device, width, height, steps, workers)
        model = cost_model(entry, *([] if workers is None else [f"host.workers={workers}"]))
        try:
            kinds = [PageKind(page=model.page(width, height, steps), output_tokens=steps)]
            result = compute_throughput(model, load_device(device), kinds, price_per_hour=2.5)
        except ModelMeterError as error:
            assert got is None, (entry, device, str(error))
            continue
        answered += 1
        assert got is not None, (entry, device, width, height, steps)
        batch, figures = got
        assert batch == result.batch_size, (entry, device)
        for name, ends in figures.items():
            if steps or name != "tpot_s":
                assert ends == pytest.approx(list(result.interval(name)), rel=NEAR), (entry, device, name)
    assert answered > 20


def test_it_loads_one_file_and_says_nothing_on_the_console(page: Any) -> None:
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').map(each => each.name)") == []


def test_every_control_changes_what_is_shown(page: Any) -> None:
    def shown() -> str:
        return page.execute_script("return document.querySelector('main').innerText")

    numbers = ("width", "height", "output", "price", "workers")
    for name in ("preset", *numbers, "model", "mode", "engine", "device", "exact"):
        opened(page)
        before, link = shown(), page.current_url
        control = page.find_element("id", name)
        if control.tag_name == "select":
            options = [each.get_attribute("value") for each in control.find_elements("tag name", "option")]
            chosen = next(each for each in reversed(options) if each not in ("", control.get_property("value")))
            page.execute_script(CHANGE, control, chosen)
        elif name == "exact":
            control.click()
        else:
            number = control.get_property("value") or control.get_property("placeholder")
            page.execute_script(CHANGE, control, str(2 * int(float(number)) + 1))
        assert shown() != before, name
        assert page.current_url != link, name
    assert page.get_log("browser") == []


CHANGE = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"


def test_a_link_restores_its_state(page: Any) -> None:
    link = "#model=olmocr_2_7b&mode=olmocr&engine=sglang&device=L4&width=2000&height=900"
    link += "&output=77&price=0.8&workers=3&exact=1"
    opened(page, link)
    state = page.execute_script("return state")
    assert state == {
        "model": "olmocr_2_7b", "mode": "olmocr", "engine": "sglang", "device": "L4",
        "width": 2000, "height": 900, "output": 77, "price": 0.8, "workers": 3, "exact": 1,
    }  # fmt: skip
    assert page.current_url.endswith(link)
    for name in ("model", "mode", "engine", "device", "width", "height", "output", "price", "workers"):
        assert page.find_element("id", name).get_property("value") == str(state[name])
    text = page.execute_script("return document.querySelector('main').innerText")
    page.execute_script("location.hash = ''")
    page.execute_script("location.hash = arguments[0]", link)
    page.implicitly_wait(5)
    page.find_element("css selector", "#exact:checked")
    page.implicitly_wait(0)
    assert page.execute_script("return document.querySelector('main').innerText") == text


def test_a_link_that_names_nothing_there_falls_back(page: Any) -> None:
    opened(page, "#model=gpt&device=abacus&width=-3&height=x&output=1e99&price=NaN")
    state = page.execute_script("return state")
    assert (state["model"], state["device"], state["price"]) == (CHECKPOINTS[0], "A10", 2.5)
    assert page.find_element("id", "refused").is_displayed()  # so many output tokens
    assert page.get_log("browser") == []


@pytest.mark.parametrize(
    "name, wrong, takes, last",
    [
        ("width", "0", "Width, px takes a whole number from 1 to 100,000", "of 1275"),
        ("output", "1.5", "Output tokens takes a whole number from 0 to 131,072", "of 1000"),
        ("price", "", "Its price an hour takes a number from 0 to 1,000,000", "of 2.5"),
        ("workers", "0", "Host workers takes a whole number from 1 to 1,024", "of the engine's"),
    ],
)
def test_a_field_says_what_it_takes(page: Any, name: str, wrong: str, takes: str, last: str) -> None:
    before, link = page.find_element("id", "answer").text, page.current_url
    page.execute_script(CHANGE, page.find_element("id", name), wrong)
    assert page.find_element("id", "refused").text == f"{takes}: the figures below are still {last}."
    assert (page.find_element("id", "answer").text, page.current_url) == (before, link)
    page.execute_script(CHANGE, page.find_element("id", name), "7")
    assert not page.find_element("id", "refused").is_displayed()


def test_what_a_model_refuses_is_said(page: Any) -> None:
    opened(page, "#model=olmocr_2_7b&width=9000&height=20")
    assert "longer than 200 times" in page.find_element("id", "refused").text
    assert not page.find_element("id", "answer").is_displayed()
    opened(page, "#model=olmocr_2_7b&device=RTX-3070")
    assert "RTX-3070 does not hold one such page" in page.find_element("id", "lead").text


def test_the_download_is_the_answer(page: Any) -> None:
    text = page.execute_script("return JSON.stringify(plain(state, shown))")
    content = json.loads(text)
    model = cost_model({"checkpoint": "deepseek_ocr", "engine": "vllm", "mode": "gundam"})
    cost = model.page(1275, 1650, 1000)
    assert content["stages"]["total"] == {name: str(value) for name, value in asdict(cost.total).items()}
    assert content["image_tokens"] == cost.tokens.total and content["link"] == page.current_url
    assert page.find_element("id", "download").is_enabled()


@pytest.mark.parametrize("width", [390, 768, 1200])
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width, scheme", [(1200, "light"), (1200, "dark"), (390, "light")])
def test_axe_finds_nothing(page: Any, width: int, scheme: str) -> None:
    if not AXE.is_file():
        pytest.skip(f"{AXE.name} is not there: make axe (npm) fetches it")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page.execute_script(AXE.read_text(encoding="utf-8"))
    found = page.execute_async_script(
        "const done = arguments[0]; axe.run(document).then(each => done([each.passes.length, "
        "each.violations.map(rule => [rule.id, rule.nodes.map(node => node.html.slice(0, 120))])]))"
    )
    assert found[0] > 20 and found[1] == []
