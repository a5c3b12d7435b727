"""The screen of a page: of every model in every mode it fits 80 columns and one screen, and loses no label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.output import rendered
from modelmeter.devices import load_device
from modelmeter.devices.stage_time import StageTimes
from modelmeter.models import MODELS, model_package
from modelmeter.page_sizes import PageSize, read_page_sizes
from modelmeter.report import page_screen
from modelmeter.report.page_rows import Row
from modelmeter.report.page_tables import readable_figure, stage_table
from modelmeter.report.page_times import OnDevice, on_device

pytestmark = pytest.mark.slow  # whole answers, one after another

PAGES = sorted(path for path in (Path(__file__).parents[2] / "examples/pages").iterdir() if path.suffix != ".py")
#: lines of one page's screen: of DeepSeek-OCR's default, of any model, and with times on a device
SHORTEST, ONE_SCREEN, WITH_TIMES = 23, 26, 29
MODES = [(model, mode) for model in MODELS for mode in model_package(model).MODES]


def asked(model: str, *overrides: str, steps: int = 0) -> page_screen.Asked:
    package = model_package(model)
    return page_screen.Asked(
        name=model,
        model=package.load_cost_model(list(overrides)),
        overrides=overrides,
        output_tokens=steps,
        show=readable_figure,
    )


def row(under: page_screen.Asked, size: PageSize) -> Row:
    page = under.model.page(size.width, size.height, under.steps)
    return Row(name="", size=size, count=1, page=page, vram=under.model.vram(size.width, size.height, under.steps))


def screen(under: page_screen.Asked, of: Row, found: OnDevice | str | None = None) -> str:
    assumptions = under.model.assumptions()
    return rendered(
        page_screen.head_lines(under, of.page),
        stage_table(of.page, assumptions, under.show, page_screen.SHORT),
        page_screen.result_lines(under, of.page, of.vram, found),
    )


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("model, mode", MODES)
def test_every_mode_fits_one_screen(model: str, mode: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    under = asked(model, f"workload={mode}", steps=1000)
    for path in PAGES:
        (size,) = read_page_sizes(path)
        out = screen(under, row(under, size))
        assert max(map(len, out.splitlines())) <= columns, out
        assert len(out.splitlines()) + 3 <= ONE_SCREEN, out  # the page's name, and a line around the table
        labels = "; ".join(each.label for each in under.model.assumptions())
        assert f"labels {labels} (--explain: what each means)" in " ".join(out.split())


def test_the_default_screen_is_the_shortest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    under = asked("deepseek_ocr")
    out = screen(under, row(under, PageSize(source="1275x1650", width=1275, height=1650)))
    assert len(out.splitlines()) + 3 <= SHORTEST, out


@pytest.mark.parametrize("engine", ["transformers", "vllm", "best"])
def test_times_fit_too(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    under = asked("deepseek_ocr", f"engine={engine}", steps=1000)
    of = row(under, PageSize(source="1275x1650", width=1275, height=1650))
    found = on_device(under.model, StageTimes(under.model, load_device("H100-SXM")), [of], 1000)
    out = screen(under, of, found)
    assert max(map(len, out.splitlines())) <= 80, out
    assert len(out.splitlines()) + 3 <= WITH_TIMES, out


def test_times_are_those_of_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    under = asked("deepseek_ocr", "engine=vllm", "host.seconds_per_page=0.25", "host.ngram=false", steps=1000)
    of = row(under, PageSize(source="1275x1650", width=1275, height=1650))
    found = on_device(under.model, StageTimes(under.model, load_device("H100-SXM")), [of], 1000)
    assert found.alone.batch_size == 1 < found.most.batch_size
    lines = screen(under, of, found).splitlines()
    (alone,) = [line for line in lines if " alone " in line]
    value, low, high = found.alone.interval("page_latency_s")
    assert f"alone {value:.2f} ({low:.2f}-{high:.2f}) s = host 250 ms + " in alone
    # a page alone waits for its host, its prefill and its steps, one after another
    assert value == pytest.approx(0.25 + found.alone.prefill_s + found.alone.decode_s)
    (rate,) = [line for line in lines if " pages/s" in line]
    most: Any = found.most
    assert f"{most.batch_size} at once: {most.pages_per_s:.2f} (" in rate
    assert rate.endswith(f"limited by {most.limited_by}")
    assert f"{most.batch_size} pages fit at once" in " ".join(" ".join(lines).split())


def test_why_there_is_no_time_stands_in_its_place() -> None:
    under = asked("deepseek_ocr")
    of = row(under, PageSize(source="5x5", width=5, height=5))
    assert "\ntime    it does not fit\n" in screen(under, of, "it does not fit")
    assert "\ntime    name a device: --device H100-SXM" in screen(under, of)


def test_no_digit_of_a_screen_is_cut_where_it_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    under = asked("deepseek_ocr")
    of = row(under, PageSize(source="a-very-long-name-of-a-page.png", width=1275, height=1650))
    out = rendered(page_screen.pages_table([(of.size.source, [of])], under, None))
    assert "4.267 T" in out and "8.604 GB" in out and "1275x1650" in out
