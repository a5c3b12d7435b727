"""docs/explore.html: every model on every GPU in one file that computes in the reader's browser and loads nothing.

    python -m modelmeter.programs.explore.write_explore docs/explore.html

`laws.js` evaluates the laws (docs/laws-format.md), which are packed into the page; `explore.js` shows what comes of it.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelmeter.devices import bundled_devices
from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.laws.document import LawsFile
from modelmeter.models import MODELS, model_package
from modelmeter.models.common.engines import EXECUTION_OF
from modelmeter.process import tell_error

if TYPE_CHECKING:
    pass

#: engines in the order of the page; published code runs experts one by one, and its times are no laws
ENGINES: Final = ("vllm", "sglang", "transformers", "best")
#: the largest that the page may be, bytes
MOST_BYTES: Final = 3_000_000


def cost_models(models: Sequence[str] = tuple(MODELS)) -> Iterator[Any]:
    """Every checkpoint of these models in every mode, by every engine whose code is written down for it.

    A checkpoint's own mode comes first, and the engine that people serve with.
    """
    for name in models:
        package = model_package(name)
        for checkpoint in package.CHECKPOINTS:
            for engine in ENGINES:
                if EXECUTION_OF[engine] not in package.EXECUTIONS:
                    continue
                chosen = [f"checkpoint={checkpoint}", f"engine={engine}"]
                own = package.load_cost_model(chosen)
                if not own.steps_by_context and engine == "transformers":
                    continue  # a window in eager code has more laws than a page should hold
                modes = {mode: package.load_cost_model([*chosen, f"workload={mode}"]) for mode in package.MODES}
                yield from sorted(modes.values(), key=lambda each: each.workload != own.workload)


def laws_content(models: Sequence[str] = tuple(MODELS)) -> dict[str, Any]:
    """The laws of all of them, with every device that has constants of kernels."""
    file = LawsFile([device for device in bundled_devices() if device.kernels], vision_times=False)
    for cost_model in cost_models(models):
        file.add(cost_model)
    return file.to_dict()


def explore_html(content: dict[str, Any]) -> str:
    """The page with these laws in it."""
    own = resources.files(__package__)
    style = (resources.files("modelmeter.report") / "templates" / "report.css").read_text(encoding="utf-8")
    packed = zlib.compress(json.dumps(content, separators=(",", ":"), allow_nan=False).encode(), 9)
    parts = {
        "style": f"{style}{(own / 'explore.css').read_text(encoding='utf-8')}",
        "data": base64.b64encode(packed).decode(),
        "laws": (own / "laws.js").read_text(encoding="utf-8"),
        "script": (own / "explore.js").read_text(encoding="utf-8"),
    }
    page = (own / "explore.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"/*{name}*/", text)
    return page


def main(arguments: Sequence[str]) -> int:
    """FILE: write the page; the exit status."""
    try:
        if len(arguments) != 1:
            raise ModelMeterError("explore: give the file to write, as in docs/explore.html.")
        page = explore_html(laws_content()).encode()
        if len(page) > MOST_BYTES:
            raise ModelMeterError(
                f"explore: the page has {len(page):,} bytes, more than {MOST_BYTES:,}; leave some out."
            )
        write_whole(Path(arguments[0]), page)
    except ModelMeterError as error:
        tell_error(error)
        return 2
    print(f"{arguments[0]}: {len(page):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
