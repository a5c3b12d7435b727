"""What `print`, `repr` and notebooks show of a page and of a cost model, and what goes into a dict."""

import gc
import json
import pickle
import re
import weakref
from html.parser import HTMLParser
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.models import MODELS, model_package
from modelmeter.models.common.stage_cost import StageCost


class Tables(HTMLParser):
    """The cells of each row of the tables of an HTML text, which closes what it opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data


def test_a_page_is_a_table_of_its_stages() -> None:
    page = load_cost_model(["workload=gundam"]).page(1275, 1650, output_tokens=1000)
    shown = str(page).splitlines()
    # the figures are those of reports/modes.md
    assert shown[3] == "7 views, crops 2 x 3: 903 image + 10 prompt (declared) = 913 tokens in prefill,"
    assert shown[5].split() == ["vision", "prefill", "decode", "total"]
    table = {line[:32].strip(): line[32:].split() for line in shown[6:16]}
    assert table["tensor-core FLOPs"] == ["3.469", "T", "4.267", "T", "1.235", "T", "5.502", "T"]
    assert table["traffic (no cache)"] == ["34.60", "GB", "46.12", "GB", "1.423", "TB", "1.469", "TB"]
    assert table["activation peak (tensors only)"][-2:] == ["859.3", "MB"]
    assert table["KV cache at the end"][-2:] == ["117.5", "MB"]
    assert {"vector FLOPs (by convention)", "weights (experts_hit=max)"} < set(table)
    assert shown[-2].startswith("Memory of a GPU: 8.604 GB = weights 6.671 GB + ")  # README's 8604036096 bytes


def test_a_page_and_a_cost_model_are_a_line() -> None:
    cost_model = load_cost_model(["workload.base_size=512", "runtime.batch_size=2"])
    assert repr(cost_model) == (
        "<CostModel deepseek_ocr workload=gundam workload.base_size=512 execution=transformers "
        "runtime.attention=flash runtime.dtype=bfloat16 runtime.batch_size=2>"
    )
    page = load_cost_model(["workload=base"]).page(1275, 1650)  # 1.376 tensor-core TFLOPs, 20.9 GB: reports/modes.md
    assert re.fullmatch(
        r"<PageCost deepseek_ocr workload=base: 283 tokens, 0 decode steps, 1\.376 TFLOPs on tensor cores, "
        r"20\.9\d GB moved>",
        repr(page),
    )
    assert "2 pages at once, each: " in str(cost_model.page(1275, 1650))


def test_a_prompt_without_an_image_has_no_vision() -> None:
    text = load_cost_model().text(500, output_tokens=1)
    shown = str(text)
    assert "500 tokens in prefill, 1 decode step\n" in shown
    assert "vision" not in shown
    assert repr(text).startswith("<TextCost deepseek_ocr workload=gundam: 500 tokens, 1 decode step, ")
    assert list(text.to_dict()["stages"]) == ["prefill", "decode", "total"]


@pytest.mark.parametrize("name", MODELS)
def test_it_fits_a_terminal_and_says_what_it_rests_on(name: str) -> None:
    for checkpoint in model_package(name).CHECKPOINTS:
        cost_model = load_cost_model(["runtime.batch_size=3"], model=checkpoint)
        shown = str(cost_model.page(2480, 3508, output_tokens=1000))
        lines = shown.splitlines()
        assert max(map(len, lines)) <= 80 and len(lines) <= 20
        together = " ".join(shown.split())
        assert all(f"({each.label})" in together for each in cost_model.assumptions())
        assert len(repr(cost_model)) < 250


@pytest.mark.parametrize("execution", ["published", "vllm", "serving"])
def test_what_an_execution_assumes_stands_in_it(execution: str) -> None:
    cost_model = load_cost_model([f"execution={execution}", "runtime.load=float32_on_device", "workload=gundam_m"])
    shown = str(cost_model.page(1275, 1650, output_tokens=3000))
    assert max(map(len, shown.splitlines())) <= 80 and len(shown.splitlines()) <= 20
    together = " ".join(shown.split())
    assert all(f"({each.label})" in together for each in cost_model.assumptions())


def test_a_notebook_shows_the_same_figures() -> None:
    page = load_cost_model(["workload=base"]).page(1275, 1650, output_tokens=10)
    rows = Tables(page._repr_html_()).rows
    lines = str(page).splitlines()[5:]
    assert ["".join("".join(row).split()) for row in rows] == ["".join(line.split()) for line in lines[: len(rows)]]
    assert rows[0][1:] == ["vision", "prefill", "decode", "total"]


def test_a_dict_has_what_json_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "1275x1650", "--output-tokens", "1000", "workload=base", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    cost_model = load_cost_model(["workload=base"])
    page = cost_model.page(1275, 1650, output_tokens=1000)
    (of_page,) = document["pages"]
    figures = page.to_dict()
    assert figures == {key: of_page[key] for key in figures}
    assert set(of_page) - set(figures) == {"source", "width", "height", "dpi"}
    assert cost_model.to_dict() == {key: document[key] for key in cost_model.to_dict()}
    assert isinstance(figures["stages"]["total"]["io_bytes"], int)


def test_a_page_keeps_its_model_and_no_model_its_pages() -> None:
    cost_model = load_cost_model(["workload=tiny"])
    page = cost_model.page(1275, 1650, output_tokens=5)
    again = pickle.loads(pickle.dumps(page))
    assert again == page and str(again) == str(page)
    assert page.vram() == cost_model.vram(1275, 1650, output_tokens=5)
    seen = weakref.ref(cost_model)
    gc.disable()
    try:
        del cost_model
        assert seen() is not None
        del page
        assert seen() is None
    finally:
        gc.enable()


def test_stages_are_named() -> None:
    page = load_cost_model(["workload=tiny"]).page(1275, 1650, output_tokens=5)
    assert list(page.stages()) == ["vision", "prefill", "decode", "total"]
    assert page.stages()["total"] == page.prefill + page.decode
    assert all(isinstance(cost, StageCost) for cost in page.stages().values())
