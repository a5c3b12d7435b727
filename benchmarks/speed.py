"""Speed as ratios, measured in turns: what a page costs against running the modules, and what does not cost more.

    python -m benchmarks.speed

Writes reports/benchmarks/speed.json and, with what `growth` found, reports/benchmarks/README.md.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from benchmarks.clock import Ratio, Side, alternating
from benchmarks.summary import FOLDER, circumstances, write_summary
from modelmeter.files import write_whole
from modelmeter.models.deepseek_ocr import CostModel
from modelmeter.models.deepseek_ocr.config import CONFIGURATION

#: a letter page at 150 dpi, and one of another layout
PAGE: Final = (1275, 1650)
OTHER_PAGE: Final = (3000, 700)

#: pages of a layout seen before that are asked in one go, as one takes a few microseconds
SEEN_PAGES: Final = 1000

#: pages of the corpus, and how many of them are asked one by one
CORPUS_PAGES: Final = 1_000_000
ASKED_PAGES: Final = 10_000


def main() -> int:
    """The program; its exit status."""
    ratios, skipped = [], {}
    for name, measured in MEASUREMENTS.items():
        result = measured()
        if isinstance(result, Ratio):
            ratios.append(result.document())
            print(f"{name}: {result.ratio:.4g}", flush=True)
        else:
            skipped[name] = result
            print(f"{name}: skipped, {result}", flush=True)
    document = circumstances() | {"ratios": ratios, "skipped": skipped}
    write_whole(FOLDER / "speed.json", json.dumps(document, indent=2) + "\n")
    write_summary()
    return 0


#: what makes a call that is timed, from what makes cost models
Prepare = Callable[[Callable[[], CostModel]], Side]


def fresh_models(*overrides: str) -> Callable[[], CostModel]:
    """What makes cost models that have seen no page; the configuration is composed once, here."""
    return partial(CostModel, CONFIGURATION.compose(overrides))


def first_page(make: Callable[[], CostModel], output_tokens: int = 1000) -> Side:
    """The first page of a cost model."""
    return partial(make().page, *PAGE, output_tokens)


def new_layout(make: Callable[[], CostModel], output_tokens: int = 1000) -> Side:
    """A page of a layout that a cost model has not seen, after one of another."""
    model = make()
    model.page(*OTHER_PAGE, output_tokens)
    return partial(model.page, *PAGE, output_tokens)


def seen_pages(make: Callable[[], CostModel]) -> Side:
    """Many pages of a layout that a cost model has seen, of sizes and with numbers of output tokens of their own."""
    model = make()
    model.page(*PAGE, 1000)

    def ask() -> None:
        for number in range(SEEN_PAGES):
            model.page(PAGE[0] + number % 10, PAGE[1] + number // 10, number + 2)

    return ask


def against_modules(measuring: bool) -> Ratio:
    """A page of a new layout, and the whole model's prefill of it and one step on the meta device."""
    import torch
    from transformers.cache_utils import DynamicCache

    from modelmeter.models.deepseek_ocr.reference.page import PageGeometry, PageReference, values_unchecked
    from modelmeter.reference.fused_attention import FusedAttention

    reference = PageReference()
    inputs = reference.inputs(PageGeometry(global_side=1024, crop_side=640, columns=2, rows=3))
    token_ids, step = inputs.token_ids.to("meta"), torch.empty(1, 1, dtype=torch.long, device="meta")

    def run() -> None:
        cache = DynamicCache(config=reference.config.text_config)
        with torch.no_grad(), FusedAttention(), values_unchecked():
            reference.model(input_ids=token_ids, past_key_values=cache, logits_to_keep=1, **inputs.images)
            reference.model(input_ids=step, past_key_values=cache, logits_to_keep=1)

    def measure() -> None:
        _, cache = reference.prefill(inputs, experts_hit=64)
        reference.decode_step(cache, experts_hit=6)

    make = fresh_models()
    side, title = (measure, "modules, measured") if measuring else (run, "modules, run on meta")
    name = f"a page of a new layout against the modules {'under the instruments' if measuring else 'alone'}"
    return alternating(name, {"page, new layout": lambda: new_layout(make, 1), title: lambda: side})


def layouts(name: str, first: tuple[str, Prepare], second: tuple[str, Prepare]) -> Ratio:
    """Two pages of which a cost model has seen more or less."""
    make = fresh_models()
    return alternating(name, {title: partial(prepare, make) for title, prepare in (first, second)})


def output_tokens() -> Ratio:
    """8 and 8,000 output tokens; in the mode tiny, where both fit the context."""
    make = fresh_models("workload=tiny")
    return alternating(
        "8 output tokens against 8,000",
        {"8 tokens": lambda: first_page(make, 8), "8,000 tokens": lambda: first_page(make, 8000)},
    )


def processes(name: str, first: tuple[str, ...], second: tuple[str, ...]) -> Ratio:
    """Two command lines of this interpreter, each a process from start to end; compiled modules are kept, as usual."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def side(arguments: tuple[str, ...]) -> Side:
        command = [sys.executable, *arguments]
        return partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL, env=environment)

    return alternating(name, {" ".join(each): partial(side, each) for each in (first, second)})


def corpus() -> Ratio | str:
    """A million sizes at once, and a part of them one by one, scaled up."""
    if find_spec("modelmeter.corpus") is None:
        return "modelmeter.corpus is not there"
    import pyarrow as pa

    page_costs = import_module("modelmeter.corpus").page_costs
    make = fresh_models()
    sizes = list(random_sizes(CORPUS_PAGES))
    widths, heights = zip(*sizes, strict=True)
    batch = pa.RecordBatch.from_pydict({"width": widths, "height": heights})
    asked = sizes[:ASKED_PAGES]

    def one_by_one(model: CostModel) -> None:
        for size in asked:
            model.page(*size)

    return alternating(
        f"{CORPUS_PAGES:,} sizes at once against {ASKED_PAGES:,} one by one",
        {
            f"{CORPUS_PAGES:,} sizes, page_costs": lambda: partial(page_costs, batch, make()),
            f"{ASKED_PAGES:,} sizes, page()": lambda: partial(one_by_one, make()),
        },
    )


def random_sizes(count: int) -> Iterator[tuple[int, int]]:
    """Sizes in pixels, the same at every run."""
    generator = random.Random(0)
    return ((generator.randint(200, 4000), generator.randint(200, 4000)) for _ in range(count))


NOTHING: Final = ("-c", "pass")

MEASUREMENTS: Final[dict[str, Callable[[], Any]]] = {
    "modules": partial(against_modules, measuring=False),
    "measurement": partial(against_modules, measuring=True),
    "new layout": partial(
        layouts,
        "a page of a new layout against the first page of a cost model",
        ("page, new layout", new_layout),
        ("first page", first_page),
    ),
    "seen layout": partial(
        layouts,
        f"{SEEN_PAGES:,} pages of a layout seen before, each with other output, against one of a new layout",
        (f"{SEEN_PAGES:,} pages, layout seen", seen_pages),
        ("page, new layout", new_layout),
    ),
    "output tokens": output_tokens,
    "import": partial(
        processes, "import of modelmeter against a bare interpreter", NOTHING, ("-c", "import modelmeter")
    ),
    "shell": partial(
        processes,
        "one page from the shell against a bare interpreter",
        NOTHING,
        ("-m", "modelmeter", "page", f"{PAGE[0]}x{PAGE[1]}"),
    ),
    "corpus": corpus,
}
"""Each gives a ratio, or says why there is none."""


if __name__ == "__main__":
    raise SystemExit(main())
