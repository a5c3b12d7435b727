"""Times and memory of the stages of the real modules, with random weights, beside what is predicted of them.

    python -m benchmarks.gpu.stages --shapes shapes.json --out FOLDER --seconds 170

Writes FOLDER/stages.json anew after every measurement. The modules are transformers' own, built by
`modelmeter.models.deepseek_ocr.reference.real_page`; where either cannot be
imported, the file says why and nothing else.

Memory is what PyTorch's allocator counted over one warm pass: `requested` are the bytes that were asked for, which a
prediction by shapes should meet; `allocated` are the same rounded up, each tensor to a multiple of 512 bytes;
`reserved` is what the allocator holds of the device. Libraries' workspaces are tensors of the allocator too: the
GEMMs' stay from the first call on (in `before`), those of convolutions come and go within the pass.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter
from typing import Any, Final

import torch

from benchmarks.gpu.kernels import NOT_HERE
from benchmarks.gpu.machine import missing, part_options
from modelmeter.reference.kernel_timing import capture, short, time_graph

Call = Callable[[], object]

#: decode steps of so many pages at once
BATCHES: Final = (1, 16, 64, 256)
#: tokens of a whole answer: the prefill's, and one a decode step
ANSWER_TOKENS: Final = 33
#: seconds that the repetitions of one pass may take, about
MOST_SECONDS: Final = 3.0
#: rows of a profile that are kept
PROFILE_ROWS: Final = 60


class Results:
    """A JSON file that is whole after every measurement."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {"stages": {}}

    def put(self, stage: str, what: str, value: Any) -> None:
        """Keep one result of a stage."""
        self.content["stages"].setdefault(stage, {})[what] = value
        self.save()

    def save(self) -> None:
        """Write the file."""
        self.path.write_text(json.dumps(self.content, indent=1), encoding="utf-8")


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def eager_times(call: Call, device: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of one call, synchronised before and after; the host's share; and of calls back to back."""
    for _ in range(2):
        call()
    synchronise(device)
    start = perf_counter()
    call()
    synchronise(device)
    repeats = max(1, min(repeats, int(MOST_SECONDS / max(perf_counter() - start, 1e-6))))
    whole: list[float] = []
    host: list[float] = []
    for _ in range(repeats):
        start = perf_counter()
        kept = call()
        issued = perf_counter()
        synchronise(device)
        whole.append((perf_counter() - start) * 1e3)
        host.append((issued - start) * 1e3)
        del kept
    start = perf_counter()
    for _ in range(repeats):
        call()
    synchronise(device)
    in_a_row = (perf_counter() - start) * 1e3 / repeats
    return {
        "median_ms": median(whole),
        "spread": (max(whole) - min(whole)) / median(whole),
        "host_ms": median(host),
        "in_a_row_ms": in_a_row,
        "repeats": repeats,
    }


def graph_times(call: Call, repeats: int) -> dict[str, Any]:
    """Milliseconds of a pass replayed as a CUDA graph. Index tables that the model makes on the host would stop the
    capture: they are made on the device, or, where that fails, wherever the model makes them.
    """
    from modelmeter.models.deepseek_ocr.reference.page import values_unchecked

    errors = []
    for on_device in (True, False):
        graph = None
        try:
            with values_unchecked():
                if on_device:
                    with torch.device("cuda"):
                        graph = capture(call)
                else:
                    graph = capture(call)
            seconds = time_graph(graph, repeats)
            return {
                "median_ms": median(seconds) * 1e3,
                "spread": (max(seconds) - min(seconds)) / median(seconds),
                "repeats": len(seconds),
                "tables_on_device": on_device,
            }
        except Exception as error:  # of capture, which has no common type
            errors.append(short(error))
            torch.cuda.synchronize()
        finally:
            del graph
            clean("cuda")
    return {"error": "; ".join(errors)}


def answer(page: Any, pages: int, tokens: int) -> dict[str, Any]:
    """Milliseconds until the first token of an answer, and from one to the next, in transformers' own loop."""
    at: list[float] = []
    page.answer(pages, 2, lambda: None)
    synchronise(page.device)
    start = perf_counter()
    page.answer(pages, tokens, lambda: at.append((perf_counter() - start) * 1e3))
    steps = [later - earlier for earlier, later in pairwise(at)]
    return {
        "median_ms": at[-1],
        "first_ms": at[0],
        "step_ms": median(steps),
        "spread": (max(steps) - min(steps)) / median(steps),
        "steps": len(steps),
    }


def clean(device: str) -> None:
    """Give back what nobody holds."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def counted(before: bool) -> dict[str, int]:
    """The allocator's counts, current or since the last reset at their largest."""
    stats = torch.cuda.memory_stats()
    moment = "current" if before else "peak"
    return {
        name: int(stats.get(f"{key}.all.{moment}", 0))
        for name, key in (
            ("allocated", "allocated_bytes"),
            ("requested", "requested_bytes"),
            ("reserved", "reserved_bytes"),
        )
    }


def memory(call: Call, rewind: Call) -> dict[str, Any]:
    """What one warm pass holds at its largest, and what was held before; `rewind` drops what the last pass left."""
    rewind()
    clean("cuda")
    before = counted(before=True)
    torch.cuda.reset_peak_memory_stats()
    kept = call()
    torch.cuda.synchronize()
    peak = counted(before=False)
    most = int(torch.cuda.max_memory_allocated())
    del kept
    return {
        "before": before,
        "peak": peak,
        "max_memory_allocated": most,
        "requested_by_pass": peak["requested"] - before["requested"],
        "allocated_by_pass": peak["allocated"] - before["allocated"],
    }


def largest_holders(call: Call, rewind: Call, rows: int = 14) -> dict[str, Any]:
    """What is alive when a pass holds most: the allocations made in it, largest first, with the line that made them."""
    rewind()
    clean("cuda")
    torch.cuda.memory._record_memory_history(enabled="all", stacks="python", max_entries=400_000)
    try:
        kept = call()
        torch.cuda.synchronize()
        trace = torch.cuda.memory._snapshot()["device_traces"][torch.cuda.current_device()]
        del kept
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
    live: dict[int, tuple[int, Any]] = {}
    total = most = 0
    at_most: list[tuple[int, Any]] = []
    for event in trace:
        if event["action"] == "alloc":
            live[event["addr"]] = (event["size"], event.get("frames", ()))
            total += event["size"]
            if total > most:
                most, at_most = total, list(live.values())
        elif event["action"] == "free_requested" and event["addr"] in live:
            total -= live.pop(event["addr"])[0]
    at_most.sort(key=lambda each: -each[0])
    return {
        "bytes": most,
        "allocations": len(at_most),
        "holders": [{"bytes": size, "line": _line(frames)} for size, frames in at_most[:rows]],
    }


def _line(frames: Any) -> str:
    """The innermost line of a model's code in a stack."""
    named = [f"{Path(frame['filename']).name}:{frame['line']} {frame['name']}" for frame in frames or ()]
    in_model = [name for name in named if name.startswith(("modeling_", "cache_utils", "moe", "masking", "sdpa"))]
    return (in_model or named or [""])[0]


def profile(call: Call) -> dict[str, Any]:
    """The device's kernels in a warm pass: how many, how long, and the longest by name; and operators of the host."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    with profiler(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    counts: Counter[str] = Counter()
    microseconds: defaultdict[str, float] = defaultdict(float)
    operators: Counter[str] = Counter()
    for event in seen.events():
        if event.device_type.name == "CUDA":
            counts[event.name] += 1
            microseconds[event.name] += float(event.time_range.elapsed_us())
        elif event.name.startswith("aten::"):
            operators[event.name] += 1
    longest = sorted(microseconds, key=lambda name: -microseconds[name])[:PROFILE_ROWS]
    return {
        "kernels": sum(counts.values()),
        "device_ms": sum(microseconds.values()) / 1e3,
        "rows": [[name[:160], counts[name], microseconds[name]] for name in longest],
        "host_operators": dict(operators.most_common(PROFILE_ROWS)),
    }


class Stages:
    """The measurements of a page, the most useful first, until the seconds are over."""

    def __init__(self, page: Any, results: Results, device: str, deadline: float, repeats: int) -> None:
        self.page = page
        self.results = results
        self.device = device
        self.deadline = deadline
        self.repeats = repeats

    def attempt(self, stage: str, what: str, measure: Callable[[], Any]) -> None:
        """One measurement, or the reason why there is none."""
        if monotonic() > self.deadline:
            self.results.put(stage, what, {"error": "out of time"})
            return
        start = monotonic()
        try:
            with torch.no_grad():
                value = measure()
        except Exception as error:  # whatever the device, the library or the profiler refuse
            value = {"error": short(error)}
        clean(self.device)
        self.results.put(stage, what, value)
        told = value.get("error") or value.get("median_ms") or value.get("requested_by_pass") or ""
        print(f"stages {stage} {what}: {told} ({monotonic() - start:.1f} s)", flush=True)

    def calls(self) -> Iterator[tuple[str, Call, Call]]:
        """A stage's name, its pass, and what puts the cache back before a pass."""
        yield "vision", self.page.vision, _nothing
        yield "prefill", self.page.prefill, _nothing
        yield "decode 1", self.page.steps, self.page.steps.rewind
        yield "text", self.page.text_prefill, _nothing

    def run(self, batches: Sequence[int]) -> None:
        """All of it."""
        for stage, call, rewind in self.calls():
            self.attempt(stage, "eager", partial(eager_times, call, self.device, self.repeats))
            if self.device == "cuda":
                self.attempt(stage, "memory", partial(memory, call, rewind))
        if self.device == "cuda":
            for stage, call, _ in self.calls():
                self.attempt(stage, "profile", partial(profile, call))
            for stage, call, rewind in self.calls():
                self.attempt(stage, "holders", partial(largest_holders, call, rewind))
            for stage, call, _ in self.calls():
                self.attempt(stage, "graph", partial(graph_times, call, self.repeats))
        for batch in (1, batches[0]):
            self.attempt(f"{batch} at once", "answer", partial(answer, self.page, batch, ANSWER_TOKENS))
        for batch in batches:
            self._decode(batch)
        for implementation in ("eager", "batched_mm"):
            with self._experts(implementation):
                stage = f"decode 1, experts {implementation}"
                self.attempt(stage, "eager", partial(eager_times, self.page.steps, self.device, self.repeats))
                if implementation == "eager":
                    stage = f"text, experts {implementation}"
                    self.attempt(stage, "eager", partial(eager_times, self.page.text_prefill, self.device, 5))

    def _decode(self, batch: int) -> None:
        """Steps of several pages at once."""
        stage = f"decode {batch}"
        held: list[Any] = []

        def copied() -> dict[str, Any]:
            held.append(self.page.steps_of(batch))
            return {}

        self.attempt(stage, "cache", copied)
        if held:
            self._steps(stage, held.pop())
        clean(self.device)

    def _steps(self, stage: str, steps: Any) -> None:
        self.attempt(stage, "eager", partial(eager_times, steps, self.device, self.repeats))
        if self.device == "cuda":
            self.attempt(stage, "memory", partial(memory, steps, steps.rewind))
            self.attempt(stage, "profile", partial(profile, steps))
            self.attempt(stage, "graph", partial(graph_times, steps, self.repeats))

    @contextmanager
    def _experts(self, implementation: str) -> Iterator[None]:
        """The routed experts computed another way; grouped GEMMs are transformers' own choice."""
        model = self.page.model
        try:
            model.set_experts_implementation(implementation)
        except Exception as error:
            self.results.put(f"experts {implementation}", "chosen", {"error": short(error)})
        try:
            yield
        finally:
            model.set_experts_implementation("grouped_mm")


def _nothing() -> None:
    """Before a pass that leaves no cache behind."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure until all is done or the seconds are over."""
    chosen = part_options(__doc__).parse_args(arguments)
    if reason := missing(chosen.device):
        print(f"stages: {reason}", flush=True)
        return NOT_HERE
    deadline = monotonic() + chosen.seconds
    results = Results(chosen.out / "stages.json")
    predicted = json.loads(chosen.shapes.read_text(encoding="utf-8"))["predicted"]
    try:
        import transformers

        from modelmeter.models.deepseek_ocr.reference.page import PageGeometry
        from modelmeter.models.deepseek_ocr.reference.real_page import RealPage
    except Exception as error:  # another release has no such modules, or lacks what they import
        results.content["not_run"] = f"the real modules cannot be imported here: {short(error)}"
        results.save()
        print(f"stages: {results.content['not_run']}", flush=True)
        return 0
    results.content["transformers"] = transformers.__version__
    results.save()
    start = monotonic()
    try:
        page = RealPage(
            chosen.device,
            predicted["dtype"],
            "flash",
            PageGeometry(**predicted["geometry"]),
            **predicted["architecture"],
        )
    except Exception as error:
        results.content["not_run"] = f"the real model could not be built here: {short(error)}"
        results.save()
        print(f"stages: {results.content['not_run']}", flush=True)
        return 0
    parameters = [*page.model.parameters(), *page.model.buffers()]
    results.content["weights"] = {
        "parameters": sum(each.numel() for each in page.model.parameters()),
        "bytes": sum(each.numel() * each.element_size() for each in page.model.parameters()),
        "with_buffers_bytes": sum(each.numel() * each.element_size() for each in parameters),
        "context": page.context,
        "seconds": monotonic() - start,
    }
    results.save()
    print(f"stages: model built in {monotonic() - start:.1f} s", flush=True)
    stages = Stages(page, results, chosen.device, deadline, repeats=1 if chosen.small else 20)
    stages.run((2,) if chosen.small else BATCHES[1:])
    if chosen.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        results.content["device_memory"] = {
            "total": total,
            "free": free,
            "reserved": int(torch.cuda.memory_reserved()),
            "outside_the_allocator": total - free - int(torch.cuda.memory_reserved()),
        }
        results.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
