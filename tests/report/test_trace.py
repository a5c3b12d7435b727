"""The trace of a page: as the trace event format has it, spans nested, times and counts those of the stages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.devices import load_device
from modelmeter.devices.stage_time import StageTimes
from modelmeter.page_sizes import PageSize
from modelmeter.report.page_rows import Row
from modelmeter.report.page_times import on_device
from modelmeter.report.parts import walked_stages
from modelmeter.report.trace import trace_document, trace_text

#: what an event of each phase must have, as the trace event format says: complete, counter, metadata
NEEDED = {"X": {"name", "ts", "dur", "pid", "tid"}, "C": {"name", "ts", "pid", "args"}, "M": {"name", "pid", "args"}}
CASES = {
    "eager": ("deepseek_ocr", "engine=transformers", 3),
    "vllm": ("deepseek_ocr", "engine=vllm", 3),
    "a bound": ("qwen2_vl", "engine=best", 1),
    "no steps": ("lighton_ocr", "engine=best", 0),
}


def trace(name: str, engine: str, steps: int) -> tuple[dict[str, Any], Any, Any, Any]:
    model = load_cost_model([engine], model=name)
    size = PageSize(source="700x500", width=700, height=500)
    page, vram = model.page(700, 500, steps), model.vram(700, 500, steps)
    times = StageTimes(model, load_device("H100-SXM"))
    found = on_device(model, times, [Row(name="", size=size, count=1, page=page, vram=vram)], steps)
    stages = walked_stages(model, page, steps, times)
    document = trace_document(stages, found.alone, model, page)
    return json.loads(trace_text(document)), stages, found.alone, page


def nanoseconds(event: dict[str, Any]) -> tuple[int, int]:
    start = round(event["ts"] * 1000)
    return start, start + round(event["dur"] * 1000)


@pytest.mark.parametrize("name, engine, steps", CASES.values(), ids=CASES)
def test_a_trace(name: str, engine: str, steps: int) -> None:
    document, stages, alone, page = trace(name, engine, steps)
    events = document["traceEvents"]
    assert document["displayTimeUnit"] == "ms"
    for event in events:
        assert set(event) >= NEEDED[event["ph"]]
        assert all(isinstance(event[key], int | float) and event[key] >= 0 for key in ("ts", "dur") if key in event)
        if event["ph"] == "C":
            assert all(isinstance(value, int) for value in event["args"].values())

    spans = [event for event in events if event["ph"] == "X" and event["tid"] == 1]
    open_spans: list[tuple[int, int]] = []
    for event in spans:  # a span that is inside another comes after it, begins and ends within it
        start, end = nanoseconds(event)
        while open_spans and open_spans[-1][1] <= start and (start, end) != open_spans[-1]:
            open_spans.pop()
        assert not open_spans or (open_spans[-1][0] <= start and end <= open_spans[-1][1]), event
        open_spans.append((start, end))

    operators = [event for event in spans if event["cat"] == "operator"]
    assert len(operators) == sum(len(stage.operators) for stage in stages)
    of_prefill = operators[: len(stages[0].operators)]
    assert sum(each["args"]["tensor_core_flops"] for each in of_prefill) == page.prefill.tensor_core_flops
    moved = sum(each["args"]["bytes_read"] + each["args"]["bytes_written"] for each in of_prefill)
    assert moved == page.prefill.io_bytes
    seconds = sum(each.seconds for each in stages[0].operators)
    assert sum(each["dur"] for each in of_prefill) == pytest.approx(seconds * 1e6, rel=1e-6)

    named = {event["name"]: event for event in spans if event["cat"] in ("stage", "module")}
    assert named["prefill"]["ts"] == pytest.approx(alone.host_s * 1e6)
    assert named["prefill"]["dur"] == pytest.approx(alone.prefill_s * 1e6, rel=1e-6)
    vision = [
        each
        for each in of_prefill
        if nanoseconds(named["vision"])[0] <= nanoseconds(each)[0]
        and nanoseconds(each)[1] <= nanoseconds(named["vision"])[1]
    ]
    assert sum(each["args"]["tensor_core_flops"] for each in vision) == page.vision.tensor_core_flops
    assert ("lm_head" in named) and any(each.startswith("layers.1") for each in named)
    live = [event["args"]["bytes"] for event in events if event["ph"] == "C"][: len(of_prefill)]
    assert live == [record.live_bytes for record in stages[0].walk.records()]
    decode = [event for event in spans if event["name"] == f"decode, {steps} steps"]
    assert len(decode) == bool(steps)
    if steps:
        assert decode[0]["dur"] == pytest.approx(alone.decode_s * 1e6, rel=1e-6)


def test_times_are_told_as_what_they_are() -> None:
    document, *_ = trace("deepseek_ocr", "engine=vllm", 1)
    assert document["otherData"]["times"] == "estimate, nothing was run"
    assert document["otherData"]["engine"] == "vllm"
    prefill = next(event for event in document["traceEvents"] if event["name"] == "prefill")
    assert prefill["args"]["low_s"] < prefill["args"]["seconds"] < prefill["args"]["high_s"]
    document, *_ = trace("deepseek_ocr", "engine=best", 1)
    assert document["otherData"]["times"] == "bound, nothing was run"
