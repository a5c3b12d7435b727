"""Pictures of a report: what each shows, and what is refused."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from modelmeter.errors import ModelMeterError
from modelmeter.report import screenshots
from modelmeter.report.screenshots import NoBrowser, Shot, browser, screenshot

Capture = pytest.CaptureFixture[str]

PAGE = """<!DOCTYPE html><style>
body { margin: 0; background: #fff; } @media (prefers-color-scheme: dark) { body { background: #000; } }
section { height: 500px; } #two { background: #0f0; }
</style><section id="one"></section><section id="two"></section><section id="three"></section>"""


def test_what_a_picture_shows(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text(PAGE)
    shot = Shot(name="a.png", width=300, scheme="light", first="two", last="two", height=2000)
    try:
        with browser() as driver:
            pictures = [
                Image.open(io.BytesIO(screenshot(driver, report, each)))
                for each in (shot, replace(shot, first=None, height=700, scheme="dark", width=600))
            ]
            with pytest.raises(ModelMeterError, match=r"report\.html has no section four; give what"):
                screenshot(driver, report, replace(shot, last="four"))
    except NoBrowser as error:
        pytest.skip(str(error))
    light, dark = pictures
    assert (light.size, dark.size) == ((300, 524), (600, 700))  # a margin of 12 above and below
    assert [light.getpixel((9, y)) for y in (3, 262, 520)] == [(255, 255, 255), (0, 255, 0), (255, 255, 255)]
    assert [dark.getpixel((9, y)) for y in (3, 600)] == [(0, 0, 0), (0, 255, 0)]


def test_what_is_refused(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert screenshots.main([]) == 2
    assert capsys.readouterr().err.startswith("error: screenshots: give a report and a folder")
    assert screenshots.main([str(tmp_path / "none.html"), str(tmp_path)]) == 2
    assert "none.html does not exist; make demo writes one." in capsys.readouterr().err
    (tmp_path / "report.html").write_text(PAGE)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert screenshots.main([str(tmp_path / "report.html"), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_browser_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.common.exceptions import SessionNotCreatedException

    def broken(**_: object) -> None:
        raise SessionNotCreatedException("This version supports Chrome 1 only\nStacktrace")

    monkeypatch.setattr(webdriver, "Chrome", broken)
    monkeypatch.setattr(screenshots.shutil, "which", lambda name: f"/usr/bin/{name}")
    with (
        pytest.raises(NoBrowser, match=r"does not start .*\(This version supports Chrome 1 only\); install both"),
        browser(),
    ):
        pass


def test_every_picture_is_shown_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs/report.md").read_text(encoding="utf-8")
    assert all(f"({shot.name})" in page for shot in screenshots.SHOTS)
