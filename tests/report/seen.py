"""How a reader's screen shows a page, and what axe finds on it."""

from pathlib import Path
from typing import Any

import pytest

#: the accessibility engine, as `make axe` fetches it
AXE = Path(__file__).parents[2] / "outputs/axe-core/package/axe.min.js"


def seen(driver: Any, width: int, scheme: str) -> None:
    """Have the browser be so many pixels wide, and prefer a light or a dark scheme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def violations(page: Any, width: int, scheme: str) -> list[Any]:
    """The rules that axe finds broken; skips where it was not fetched."""
    if not AXE.is_file():
        pytest.skip(f"{AXE.name} is not there: make axe (npm) fetches it")
    seen(page, width, scheme)
    page.set_script_timeout(300)
    page.execute_script(AXE.read_text(encoding="utf-8"))
    passes, found = page.execute_async_script(
        "const done = arguments[0]; axe.run(document).then(each => done([each.passes.length, "
        "each.violations.map(rule => [rule.id, rule.nodes.map(node => node.html.slice(0, 120))])]))"
    )
    assert passes > 20
    return list(found)
