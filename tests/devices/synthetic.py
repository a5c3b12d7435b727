"""A device, walks and a model whose times can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from modelmeter.devices import Device, load_device
from modelmeter.devices.stage_time import Estimate, EstimateArrays
from modelmeter.models.common.engines import ClientSchema, EngineSchema, HostSchema
from modelmeter.models.common.profile_run import ProfileRun
from modelmeter.models.common.request import Request
from modelmeter.models.common.runs import StepRun
from modelmeter.walk import Call, OperatorRecord, Walk

SOURCE = {
    "figures": ["matmul_flops_per_s", "vector_flops_per_s", "memory_bandwidth_bytes_per_s", "memory_bytes"],
    "document": "made up",
    "where": "here",
}
#: between devices, 10 bytes a second one way
LINK: dict[str, Any] = {"name": "Wire", "kind": "direct", "bandwidth_bytes_per_s": 10.0}
CONTENT: dict[str, Any] = {
    "name": "Slow",
    "title": "A slow device",
    "matmul_flops_per_s": {"bf16": 1000.0, "fp32": 100.0, "tf32": 400},
    "vector_flops_per_s": 50.0,
    "memory_bandwidth_bytes_per_s": 20.0,
    "memory_bytes": 1000,
    "sources": [SOURCE],
}


def write_device(folder: Path, **changes: Any) -> Path:
    """The synthetic device's file with some keys changed; None takes a key away."""
    content = {key: value for key, value in (CONTENT | changes).items() if value is not None}
    path = folder / "slow.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def slow_device(folder: Path, **changes: Any) -> Device:
    return load_device(write_device(folder, **changes))


def operator(
    name: str, *, matmul: int = 0, vector: int = 0, nbytes: int = 0, dtype: str = "bfloat16"
) -> OperatorRecord:
    """An operator of these FLOPs and bytes, half of them read."""
    read = nbytes // 2
    return OperatorRecord(
        name, name, f"aten.{name}", "", dtype, (), (), matmul, vector, 0, read, nbytes - read, 0, 0, 0
    )


def walk(*entries: OperatorRecord | Walk) -> Walk:
    """A walk of operators and of walks within it."""
    calls = tuple(Call(f"call{n}", each, 0) if isinstance(each, Walk) else each for n, each in enumerate(entries))
    count = sum(each.operator_count if isinstance(each, Walk) else 1 for each in entries)
    return Walk(calls, 0, 0, 0, 0, 0, 0, 0, 0, "", "", count)


@dataclass(frozen=True, kw_only=True)
class Stage:
    weight_bytes: int = 100
    resident_peak_bytes: int = 0
    kv_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of `seq_len` positions; a token of cache takes 2 bytes, a prefill 50 more.

    parts: positions of its passes, where it has several, of which the last says all.
    """

    seq_len: int
    parts: tuple[int, ...] = ()
    prefill: Stage = field(init=False)

    @property
    def layout(self) -> int:
        return self.seq_len

    def passes(self, output_tokens: int) -> list[tuple[Page, int]]:
        if not self.parts:
            return [(self, output_tokens)]
        return [
            (Page(seq_len=each), output_tokens if number == len(self.parts) else 0)
            for number, each in enumerate(self.parts, start=1)
        ]

    def __post_init__(self) -> None:
        prefill = Stage(resident_peak_bytes=2 * self.seq_len + 50, kv_bytes=2 * self.seq_len)
        object.__setattr__(self, "prefill", prefill)


class TinyModel:
    """Prefill moves 20 bytes a position; a step moves 100 bytes of weights, and 2 bytes of cache a page and token."""

    max_position_embeddings = 20
    devices = 1

    def __init__(
        self,
        batch_size: int = 1,
        reserve_bytes: int | None = 100,
        load_bytes: int = 0,
        *,
        engine: EngineSchema | None = None,
        host: HostSchema | None = None,
        client: ClientSchema | None = None,
        graphs: Sequence[str] = ("prefill", "decode"),
        request: Request | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.reserve_bytes = reserve_bytes
        self.load_bytes = load_bytes
        self.engine = engine or EngineSchema(name="best")
        self.host = host or HostSchema(seconds_per_page=0.0, spread=0.0)
        self.client = client or ClientSchema()
        self.graphs = graphs
        self.request = request or Request()

    def batched(self, pages: int) -> TinyModel:
        return TinyModel(pages, self.reserve_bytes, self.load_bytes, engine=self.engine, request=self.request)

    def graphed(self, stage: str) -> bool:
        return stage in self.graphs

    def profile_run(self, max_num_batched_tokens: int, max_num_seqs: int, sampler: str) -> ProfileRun:
        """A run whose sampler holds a byte for each request."""
        return ProfileRun(
            layout=None,
            budget=None,
            requests=max_num_seqs,
            vision_bytes=0,
            decoder_bytes=0,
            sampler_bytes=max_num_seqs,
        )

    steps_by_context = True

    def decode_runs(self, steps: int) -> list[StepRun]:
        return [StepRun(0, 1, steps)]

    def step(self, context: int, generated: int = 0) -> Stage:
        kv_bytes = self.batch_size * 2 * (context + 1)
        return Stage(resident_peak_bytes=kv_bytes + 10 * self.batch_size, kv_bytes=kv_bytes)

    def stage_walk(self, stage: str, *, page: Page | None = None, context: int = 0, generated: int = 0) -> Walk:
        if stage == "decode":
            return walk(operator("weights", nbytes=100), operator("cache", nbytes=self.batch_size * 2 * context))
        assert page is not None
        return walk(operator("prefill", nbytes=20 * page.seq_len))


class TinyTimes:
    """What that takes at 20 bytes a second: a prefill its positions in seconds, a step 5 and a tenth of all tokens.

    The interval goes from two thirds of it to three halves.
    """

    def __init__(self, *, bound: bool = False, launches: int = 0) -> None:
        self.bound = bound
        self.launches = launches

    def of(self, seconds: Any, kernel_class: str) -> EstimateArrays:
        values = np.asarray(seconds, float)
        width = 0.0 if self.bound else 0.5
        return EstimateArrays(
            by_class={kernel_class: values},
            widths={kernel_class: values * width},
            launches=np.full(len(values), self.launches),
        )

    def stages(self, stage: str, layouts: Sequence[int], cached: int = 0) -> EstimateArrays:
        return self.of([layout - cached if isinstance(layout, int) else 1 for layout in layouts], "gemm")

    def prompt(self, tokens: int, cached: int = 0) -> Estimate:
        return self.of([(tokens - cached) / 2], "gemm").one(0)

    def decode_many(self, seq_lens: Any, steps: Any, *, batch: int | None = None) -> EstimateArrays:
        pairs = zip(seq_lens, steps, strict=True)
        return self.of(
            [sum(5 + (batch or 1) * (start + n) / 10 for n in range(count)) for start, count in pairs], "moe"
        )
