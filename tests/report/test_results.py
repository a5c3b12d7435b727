"""Saved results read back: every key that is compared is held against what it may be."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.report.json_document import json_text
from modelmeter.report.results import read_result


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """What `modelmeter page 600x800 --json` says."""
    model = load_cost_model(["workload=tiny"])
    page = {"width": 600, "height": 800} | model.page(600, 800).to_dict()
    content = model.to_dict() | {"output_tokens": 0, "pages": [page]}
    document: dict[str, Any] = json.loads(json_text("page", content))
    return document


def changed(whole: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The result with one value changed; `path` has its keys and indexes."""
    document = json.loads(json.dumps(whole))
    *outer, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    reduce(lambda node, key: node[key], outer, document)[last] = value
    return dict(document)


def test_a_result_is_read_with_what_is_compared(whole: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(whole | {"of_a_later_version": {}}))
    read = read_result(path)
    assert (read["model"], read["output_tokens"], len(read["pages"])) == ("deepseek_ocr", 0, 1)
    assert read["configuration"] == asdict(load_cost_model(["workload=tiny"]).config)
    page, given = read["pages"][0], whole["pages"][0]
    assert page["stages"]["prefill"].items() <= given["stages"]["prefill"].items()
    assert (page["layout"], page["prefill_tokens"]) == (given["layout"], given["prefill_tokens"])


def test_integers_beyond_floats_are_read_from_text(whole: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(changed(whole, "pages.0.stages.total.tensor_core_flops", str(2**53 + 1))))
    assert read_result(path)["pages"][0]["stages"]["total"]["tensor_core_flops"] == 2**53 + 1


WRONG = {  # the key, its value, what is said
    "command": ("command", [1], "is of no command ([1])"),
    "version": ("schema_version", True, "has schema version True"),
    "model": ("model", 5, "model=5 is no text"),
    "configuration": ("configuration", [], "configuration=[] is no mapping"),
    "output_tokens": ("output_tokens", "abc", "output_tokens='abc' is no whole number"),
    "output_tokens_float": ("output_tokens", 1e308, "output_tokens=1e+308 is no whole number"),
    "output_tokens_null": ("output_tokens", None, "output_tokens is missing"),
    "pages": ("pages", {}, "pages={} is no list"),
    "no_pages": ("pages", [], "pages has 0 entries"),
    "page": ("pages.0", 3, "pages[0] holds 3"),
    "width": ("pages.0.width", [1], "pages[0].width=[1] is no whole number"),
    "side": ("pages.0.height", 0, "pages[0].height=0 is too small"),
    "layout": ("pages.0.layout.w_crop", -1, "pages[0].layout.w_crop=-1 is too small"),
    "tokens": ("pages.0.tokens", {}, "pages[0].tokens.total is missing"),
    "stages": ("pages.0.stages", [], "pages[0].stages holds []"),
    "stage": ("pages.0.stages.total", {}, "pages[0].stages.total.tensor_core_flops is missing"),
    "figure": ("pages.0.stages.total.io_bytes", True, "pages[0].stages.total.io_bytes=True is no whole number"),
    "negative_figure": ("pages.0.stages.total.kv_bytes", -5, "pages[0].stages.total.kv_bytes=-5 is too small"),
    "path": ("pages.0.stages.vision.peak_path", "\x1b[31m", "has characters that do not print"),
    "long_path": ("pages.0.stages.vision.peak_path", "x" * 9999, "has 9,999 characters; give 500 or less"),
}


@pytest.mark.parametrize("path, value, text", WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_named(path: str, value: Any, text: str, whole: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(changed(whole, path, value)))
    with pytest.raises(ModelMeterError, match=re.escape(text)):
        read_result(file)


FILES: dict[str, tuple[Callable[[str], bytes], str]] = {
    "byte_order_mark": (lambda text: b"\xef\xbb\xbf" + text.encode(), ""),
    "not_a_number": (
        lambda text: text.replace('"output_tokens": 0', '"output_tokens": NaN').encode(),
        "NaN is no number",
    ),
    "huge": (lambda text: text.encode() + b" " * 2**24, "at most 16,777,216 are read"),
}


@pytest.mark.parametrize("make, text", FILES.values(), ids=FILES)
def test_the_file_itself(make: Callable[[str], bytes], text: str, whole: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(make(json.dumps(whole)))
    if not text:
        assert read_result(file)["pages"]
        return
    with pytest.raises(ModelMeterError, match=text):
        read_result(file)
