"""Pictures of an HTML report, as a reader's browser shows it: `python -m modelmeter.report.screenshots REPORT FOLDER`.

Needs selenium (the extra `browser`) and a Chromium or Chrome with its chromedriver. Pixels depend on the browser's
version and the machine's fonts: the pictures are to look at, not to compare.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.process import tell_error

if TYPE_CHECKING:
    from collections.abc import Iterator

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

_FLAGS: Final = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")

#: around a section, in pixels
_MARGIN: Final = 12


class NoBrowser(ModelMeterError):
    """There is no browser here that a program can drive."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture: from the top of section `first` (None: of the page) to the end of `last`, at most `height` pixels."""

    name: str
    width: int
    scheme: str
    first: str | None
    last: str
    height: int


SHOTS: Final = (
    Shot(name="report.png", width=1200, scheme="light", first=None, last="modes", height=1262),
    Shot(name="report-dark.png", width=1200, scheme="dark", first="roofline", last="memory", height=1880),
    Shot(name="report-narrow.png", width=390, scheme="light", first=None, last="devices", height=1275),
)


@contextmanager
def browser(width: int = 1200, height: int = 900) -> Iterator[Any]:
    """A headless Chromium as a selenium driver, which keeps its console's messages and its requests."""
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
    except ImportError as error:
        raise NoBrowser("screenshots need selenium; pip install selenium.") from error
    program = next((path for path in map(shutil.which, BROWSERS) if path), None)
    service = shutil.which("chromedriver")
    if program is None or service is None:
        raise NoBrowser("no Chromium with its chromedriver was found; apt-get install chromium chromium-driver.")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    except WebDriverException as error:
        reason = (error.msg or type(error).__name__).splitlines()[0]
        raise NoBrowser(f"{program} does not start with {service} ({reason}); install both in one version.") from error
    try:
        yield driver
    finally:
        driver.quit()


def screenshot(driver: Any, report: Path, shot: Shot) -> bytes:
    """The picture as PNG."""
    size = {"width": shot.width, "height": 900, "deviceScaleFactor": 1, "mobile": shot.width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": shot.scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(report.resolve().as_uri())
    top = 0.0 if shot.first is None else _edges(driver, report, shot.first)[0] - _MARGIN
    bottom = _edges(driver, report, shot.last)[1] + _MARGIN
    clip = {"x": 0, "y": top, "width": shot.width, "height": min(bottom - top, shot.height), "scale": 1}
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return _smaller(base64.b64decode(taken["data"]))


def _edges(driver: Any, report: Path, section: str) -> tuple[float, float]:
    """Top and bottom of a section on the page."""
    found: list[float] | None = driver.execute_script(
        "const box = document.getElementById(arguments[0])?.getBoundingClientRect();"
        "return box ? [box.top + scrollY, box.bottom + scrollY] : null",
        section,
    )
    if found is None:
        raise ModelMeterError(f"screenshots: {report} has no section {section}; give what `modelmeter report` wrote.")
    return found[0], found[1]


def _smaller(png: bytes) -> bytes:
    """The same pixels in fewer bytes."""
    from PIL import Image

    packed = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(packed, "PNG", optimize=True)
    return min(png, packed.getvalue(), key=len)


def main(arguments: Sequence[str]) -> int:
    """REPORT FOLDER: take all pictures of an HTML report; the exit status."""
    try:
        if len(arguments) != 2:
            raise ModelMeterError("screenshots: give a report and a folder, as in outputs/report.html docs.")
        report, folder = map(Path, arguments)
        if not report.is_file():
            raise ModelMeterError(f"screenshots: report {report} does not exist; make demo writes one.")
        with browser() as driver:
            for shot in SHOTS:
                picture = screenshot(driver, report, shot)
                write_whole(folder / shot.name, picture)
                print(f"{folder / shot.name}: {len(picture):,} bytes")
    except ModelMeterError as error:
        tell_error(error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
