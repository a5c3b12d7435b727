"""A page's run on a device as a trace that Perfetto and chrome://tracing open: estimated times, nothing was run.

The format is Chrome's trace event format, JSON with `traceEvents`; times are in microseconds. One page alone: the host
prepares it, then the device runs the prefill, with vision, modules and operators nested in it, and the decode steps,
of which the last is opened. An operator takes the seconds of its kernel (`devices.stage_time`); its args hold FLOPs,
bytes, shapes, the class of its kernel and what bounds it. Where a stage waits for its host, it ends later than its
operators. The live set is a counter.

    >>> document = trace_document(stages, alone, model, page)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from modelmeter.kernel_classes import kernel_class
from modelmeter.report.parts import shapes_text

if TYPE_CHECKING:
    from modelmeter.devices import Throughput
    from modelmeter.models.common.contract import CostModel, PageCost
    from modelmeter.report.parts import TimedOperator, WalkedStage
    from modelmeter.walk import Walk

Event = dict[str, Any]

_DEVICE: Final = 1
_RUN: Final = 1
_HOST: Final = 2
_NANO: Final = 1e9
#: spans of time, names of processes and threads, values of counters
_SPAN, _NAME, _COUNTER = "X", "M", "C"


def trace_document(
    stages: Sequence[WalkedStage], alone: Throughput, model: CostModel, page: PageCost
) -> dict[str, Any]:
    """The trace of a page: stages are its `walked_stages` with times; alone: what the device makes of it alone."""
    events = [
        _named("process_name", f"{alone.device.name}, {alone.origin}"),
        _named("thread_name", "stages, modules, operators", _RUN),
        _named("thread_name", "host", _HOST),
    ]
    if alone.host_s:
        events.append(_span("prepare the page", "host", 0.0, alone.host_s, {"origin": alone.host_origin}, _HOST))
    start = alone.host_s
    for stage in stages:
        events += _prefill(stage, start, alone, model, page) if stage.key == "prefill" else _decode(stage, start, alone)
        start += alone.prefill_s
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "written_by": "modelmeter",
            "times": f"{alone.origin}, nothing was run",
            "device": alone.device.name,
            "engine": alone.engine,
            **{name: str(value) for name, value in model.settings().items()},
        },
    }


def trace_text(document: dict[str, Any]) -> str:
    """The file."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"


def _prefill(stage: WalkedStage, start: float, alone: Throughput, model: CostModel, page: PageCost) -> Iterator[Event]:
    times = alone.interval("prefill_s")
    ends = _ends(stage.operators, start)
    yield _span("prefill", "stage", start, max(start + times.value, ends[-1]), _interval(times))
    seen = _place_of(model.stage_walk("vision", page=page), stage.walk)
    yield from _operators(stage.operators, ends, "vision", seen)


def _decode(stage: WalkedStage, start: float, alone: Throughput) -> Iterator[Event]:
    """All steps as one span, and in it those before the last, and the last with its operators."""
    times = alone.interval("decode_s")
    steps = round(alone.output_tokens)
    end = start + times.value
    last = max(end - stage.seconds, start)
    ends = _ends(stage.operators, last)
    yield _span(f"decode, {steps:,} steps", "stage", start, max(end, ends[-1]), _interval(times))
    if steps > 1:
        yield _span(f"decode steps 1 to {steps - 1:,}", "steps", start, last, {})
    yield _span(stage.title, "steps", last, ends[-1], {})
    yield from _operators(stage.operators, ends, "", range(0))


def _interval(times: Any) -> dict[str, float]:
    return {"seconds": times.value, "low_s": times.low, "high_s": times.high}


def _ends(operators: Sequence[TimedOperator], start: float) -> list[float]:
    """When the first operator begins, and when each ends."""
    ends = [start]
    for each in operators:
        ends.append(ends[-1] + each.seconds)
    return ends


def _operators(
    operators: Sequence[TimedOperator], times: Sequence[float], outer: str, inside: range
) -> Iterator[Event]:
    """Operators one after another; modules around them, and around those `inside` the span `outer`."""
    paths = [
        ((outer,) if number in inside else ()) + tuple(each.record.path.split(".") if each.record.path else ())
        for number, each in enumerate(operators)
    ]
    before: tuple[str, ...] = ()
    for number, (each, path) in enumerate(zip(operators, paths, strict=True)):
        same = _common(before, path)
        for depth in range(same, len(path)):
            last = number
            while last + 1 < len(paths) and paths[last + 1][: depth + 1] == path[: depth + 1]:
                last += 1
            name = ".".join(path[depth - 1 : depth + 1]) if depth and path[depth].isdecimal() else path[depth]
            yield _span(name, "module", times[number], times[last + 1], {"operators": last + 1 - number})
        yield _span(each.record.aten, "operator", times[number], times[number + 1], _args(each))
        yield _live(times[number + 1], each.record.live_bytes)
        before = path


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many names two paths begin with alike."""
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length


def _args(operator: TimedOperator) -> dict[str, Any]:
    record = operator.record
    return {
        "module": record.path,
        "shapes": shapes_text(record),
        "dtype": record.dtype,
        "kernel_class": kernel_class(record),
        "tensor_core_flops": record.tensor_core_flops,
        "cuda_core_flops": record.cuda_core_flops,
        "bytes_read": record.bytes_read,
        "bytes_written": record.bytes_written,
        "bound_by": operator.bound,
    }


def _place_of(part: Walk, whole: Walk) -> range:
    """Which operators of a walk another walk is, one after another; none where it is not in it."""
    inner, outer = ([(record.path, record.aten, record.inputs) for record in walk.records()] for walk in (part, whole))
    for start in range(len(outer) - len(inner) + 1):
        if outer[start] == inner[0] and outer[start : start + len(inner)] == inner:
            return range(start, start + len(inner))
    return range(0)


def _named(what: str, name: str, thread: int = 0) -> Event:
    return {"ph": _NAME, "name": what, "pid": _DEVICE, "tid": thread, "args": {"name": name}}


def _span(name: str, category: str, start: float, end: float, args: dict[str, Any], thread: int = _RUN) -> Event:
    """A span; its ends are whole nanoseconds, so that what is inside another stays inside it."""
    first, last = round(start * _NANO), round(end * _NANO)
    return {
        "ph": _SPAN,
        "name": name,
        "cat": category,
        "ts": first / 1000,
        "dur": (last - first) / 1000,
        "pid": _DEVICE,
        "tid": thread,
        "args": args,
    }


def _live(time: float, nbytes: int) -> Event:
    return {
        "ph": _COUNTER,
        "name": "live tensors, weights and given cache not counted",
        "ts": round(time * _NANO) / 1000,
        "pid": _DEVICE,
        "tid": 0,
        "args": {"bytes": nbytes},
    }
