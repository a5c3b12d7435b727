"""How long operators take on a device: a roofline over the records of a walk.

time of an operator = max(matmul FLOPs / peak, vector FLOPs / peak, bytes / bandwidth) + launch overhead, each peak
times its efficiency. A stage is the sum over its operators, one after another; views are no operators and launch
nothing. The bytes are those of `operators.py`: no cache between operators. A collective takes no less than its link
needs for what must pass it (`collectives.least_link_bytes`), at the published rate; that counts as memory.

Which matmul peak: that of the operator's own type, so a float32 GEMM inside a bfloat16 model (a router's gate) runs
at the fp32 peak. `Roofline(device, float32="tf32")` takes the tf32 peak instead, for code that allows it; PyTorch does
not by default for products. Types that the device lists no peak for are refused.

What bounds an operator: "launch" where the overhead is longer than the rest, else "compute" or "memory" by the longer
of the two, compute where they are equal.

Exactness: times are integers. One tick is the fraction of a second of which every rate and overhead of the device
makes a whole number, so sums of times are exact; seconds are floats, made at the end.

    >>> from modelmeter.devices import Roofline, load_device
    >>> roofline = Roofline(load_device("A100-40G"))
    >>> roofline.stage(walk).seconds, roofline.stage(walk).share("memory")

Source of the model: Williams, Waterman, Patterson, "Roofline" (CACM 52, 4, 2009), operator by operator.
Left out: overlap of operators, partly filled tiles and waves, caches, clocks that fall under load.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm
from typing import Final, NamedTuple

from modelmeter.devices.collectives import least_link_bytes
from modelmeter.devices.device import PEAK_OF_DTYPE, Device
from modelmeter.errors import ModelMeterError, near
from modelmeter.kernel_classes import kernel_class
from modelmeter.walk import Call, OperatorRecord, Walk

COMPUTE: Final = "compute"
MEMORY: Final = "memory"
LAUNCH: Final = "launch"
BOUNDS: Final = (COMPUTE, MEMORY, LAUNCH)

#: peaks that a float32 GEMM may run at
FLOAT32_PEAKS: Final = ("fp32", "tf32")

#: walks whose time one roofline remembers
WALKS_KEPT: Final = 4096


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """The time of a stage, told apart by what bounds its operators. Ticks are exact integers, `ticks_per_s` a second.

    compute_ticks, memory_ticks, launch_ticks: time of the operators that each of them bounds, their launch overhead
    included; together they are the stage. operators: how many run.
    """

    ticks_per_s: int
    compute_ticks: int = 0
    memory_ticks: int = 0
    launch_ticks: int = 0
    operators: int = 0

    @property
    def ticks(self) -> int:
        """The whole stage."""
        return self.compute_ticks + self.memory_ticks + self.launch_ticks

    @property
    def exact_seconds(self) -> Fraction:
        """Seconds, exactly."""
        return Fraction(self.ticks, self.ticks_per_s)

    @property
    def seconds(self) -> float:
        """Seconds."""
        return self.ticks / self.ticks_per_s

    def share(self, bound: str) -> float:
        """The share of the stage's time in operators bound by "compute", "memory" or "launch"; 0 in an empty stage."""
        if bound not in BOUNDS:
            raise ModelMeterError(f"StageTime: bound {bound} is unknown; {near(bound, BOUNDS)}")
        ticks: int = getattr(self, f"{bound}_ticks")
        return ticks / self.ticks if self.ticks else 0.0

    def __add__(self, later: StageTime) -> StageTime:
        """This stage, then `later`, on the same device."""
        if self.ticks_per_s != later.ticks_per_s:
            raise ModelMeterError("StageTime: times of two devices cannot be added.")
        return StageTime(
            ticks_per_s=self.ticks_per_s,
            compute_ticks=self.compute_ticks + later.compute_ticks,
            memory_ticks=self.memory_ticks + later.memory_ticks,
            launch_ticks=self.launch_ticks + later.launch_ticks,
            operators=self.operators + later.operators,
        )


class OperatorTime(NamedTuple):
    """One operator's time. The parts run at once; the longest of them and the overhead are `ticks`."""

    record: OperatorRecord
    bound: str
    ticks: int
    compute_ticks: int
    memory_ticks: int
    share: float  # of the walk's time


class _Parts(NamedTuple):
    """Ticks of what an operator does at once."""

    matmul: int
    vector: int
    memory: int


class _Line(NamedTuple):
    """A number of ticks that grows evenly with the context: start + slope * context."""

    start: int
    slope: int

    def at(self, context: int) -> int:
        return self.start + self.slope * context


_Lines = tuple[_Line, _Line, _Line]  # matmul, vector, memory
_Steps = tuple[Walk, Walk, Walk]

_DIFFERENT: Final = "steps: the walks of two steps run different operators; their times cannot be summed."


def check_float32(who: str, float32: str) -> None:
    """Raise `ModelMeterError` unless float32 GEMMs may run at this peak."""
    if float32 not in FLOAT32_PEAKS:
        raise ModelMeterError(f"{who}: float32={float32} is unknown; {near(float32, FLOAT32_PEAKS)}")


def peak_of(dtype: str, float32: str) -> str:
    """The peak that GEMMs of a type run at, those in float32 at `float32`."""
    return float32 if dtype == "float32" else PEAK_OF_DTYPE.get(dtype, dtype)


class Roofline:
    """The times of walks on one device. Safe to share between threads."""

    def __init__(self, device: Device, *, float32: str = "fp32") -> None:
        check_float32("Roofline", float32)
        self.device = device
        self.float32 = float32
        launch_s = device.kernel_launch_s or Fraction(0)
        rates = {peak: device.matmul_rate(peak) for peak in device.matmul_flops_per_s}
        every = [*rates.values(), device.vector_rate, device.bandwidth]
        if device.link is not None:
            every.append(device.link.bandwidth_bytes_per_s)
        numerators = [rate.numerator for rate in every]
        self.ticks_per_s = lcm(launch_s.denominator, *numerators)
        self._matmul = {peak: self._ticks(1 / rate) for peak, rate in rates.items()}
        self._vector = self._ticks(1 / device.vector_rate)
        self._byte = self._ticks(1 / device.bandwidth)
        self._launch = self._ticks(launch_s)
        self._stages: OrderedDict[int, tuple[Walk, StageTime]] = OrderedDict()

    def _ticks(self, seconds: Fraction) -> int:
        ticks = seconds * self.ticks_per_s
        assert ticks.denominator == 1
        return ticks.numerator

    def _parts(self, record: OperatorRecord) -> _Parts:
        """Matmul, vector and memory ticks of one operator."""
        matmul = 0
        if record.tensor_core_flops:
            peak = peak_of(record.dtype, self.float32)
            if peak not in self._matmul:
                self.device.matmul_rate(peak)  # says what is missing
            matmul = record.tensor_core_flops * self._matmul[peak]
        memory = (record.bytes_read + record.bytes_written) * self._byte
        if record.kind == "collective":
            memory = max(memory, self._link(record))
        return _Parts(matmul, record.cuda_core_flops * self._vector, memory)

    def _link(self, record: OperatorRecord) -> int:
        """Ticks that the link needs for the whole bytes of a collective."""
        link = self.device.linked()
        nbytes = int(
            least_link_bytes(kernel_class(record), link, message_bytes=record.bytes_written, ranks=record.ranks)
        )
        return nbytes * self._ticks(1 / link.bandwidth_bytes_per_s)

    def stage(self, walk: Walk) -> StageTime:
        """The time of a walk; a walk within it that stands in several places is computed once."""
        known = self._stages.get(id(walk))
        if known is not None:  # the walk is kept beside its time, so no other can have its identity
            return known[1]
        ticks = dict.fromkeys(BOUNDS, 0)
        operators = 0
        for entry in walk.entries:
            if isinstance(entry, Call):
                inner = self.stage(entry.walk)
                ticks[COMPUTE] += inner.compute_ticks * entry.times
                ticks[MEMORY] += inner.memory_ticks * entry.times
                ticks[LAUNCH] += inner.launch_ticks * entry.times
                operators += inner.operators * entry.times
            else:
                parts = self._parts(entry)
                ticks[bound_of(parts, self._launch)] += max(parts) + self._launch
                operators += 1
        time = self._time(ticks, operators)
        self._stages[id(walk)] = (walk, time)
        if len(self._stages) > WALKS_KEPT:
            self._stages.popitem(last=False)
        return time

    def _time(self, ticks: Mapping[str, int], operators: int) -> StageTime:
        return StageTime(
            ticks_per_s=self.ticks_per_s,
            compute_ticks=ticks[COMPUTE],
            memory_ticks=ticks[MEMORY],
            launch_ticks=ticks[LAUNCH],
            operators=operators,
        )

    def operators(self, walk: Walk) -> list[OperatorTime]:
        """Every operator of a walk in order, with its full path; their ticks sum to the stage's."""
        total = self.stage(walk).ticks
        times = []
        for record in walk.records():
            parts = self._parts(record)
            ticks = max(parts) + self._launch
            bound = bound_of(parts, self._launch)
            share = ticks / total if total else 0.0
            times.append(OperatorTime(record, bound, ticks, max(parts.matmul, parts.vector), parts.memory, share))
        return times

    def steps(self, first: Walk, second: Walk, far: Walk, context: int, far_context: int) -> StepTimes:
        """Decode steps by their context, from the walks of three: after `context`, `context` + 1, `far_context` tokens.

        What each operator computes and moves must grow evenly with the context: the third walk is held against that.
        """
        lines = self._lines((first, second, far), context, far_context, {})
        return StepTimes(self.ticks_per_s, self._launch, lines)

    def _lines(
        self, walks: _Steps, context: int, far_context: int, known: dict[tuple[int, ...], Counter[_Lines]]
    ) -> Counter[_Lines]:
        """How often each triple of lines occurs among a step's operators; `known`: walks seen before, by identity."""
        identity = tuple(id(walk) for walk in walks)
        if identity in known:
            return known[identity]
        lines: Counter[_Lines] = Counter()
        if len({len(walk.entries) for walk in walks}) > 1:
            raise ModelMeterError(_DIFFERENT)
        for one, two, three in zip(*(walk.entries for walk in walks), strict=True):
            if isinstance(one, Call) and isinstance(two, Call) and isinstance(three, Call):
                if not one.times == two.times == three.times:
                    raise ModelMeterError(_DIFFERENT)
                inner = self._lines((one.walk, two.walk, three.walk), context, far_context, known)
                lines.update({line: count * one.times for line, count in inner.items()})
                continue
            if isinstance(one, Call) or isinstance(two, Call) or isinstance(three, Call):
                raise ModelMeterError(_DIFFERENT)
            if not one.aten == two.aten == three.aten:
                raise ModelMeterError(_DIFFERENT)
            parts, grown = self._parts(one), self._parts(two)
            each = tuple(
                _Line(start - (end - start) * context, end - start) for start, end in zip(parts, grown, strict=True)
            )
            if any(line.at(far_context) != ticks for line, ticks in zip(each, self._parts(three), strict=True)):
                raise ModelMeterError(
                    f"steps: {one.aten} at {one.path or 'the top'} does not grow evenly with the context from "
                    f"{context} to {far_context}; its steps cannot be summed in closed form."
                )
            lines[each[0], each[1], each[2]] += 1
        known[identity] = lines
        return lines


class StepTimes:
    """The time of a decode step by the tokens before it, and of many steps without a loop over them.

    An operator's time is the longest of three lines over the context, so a run of steps falls into stretches on each
    of which one line is the longest; the sum over a stretch is that of an arithmetic series.
    """

    def __init__(self, ticks_per_s: int, launch: int, lines: Mapping[_Lines, int]) -> None:
        self.ticks_per_s = ticks_per_s
        self._launch = launch
        self._growing = {each: count for each, count in lines.items() if any(line.slope for line in each)}
        self._still = dict.fromkeys(BOUNDS, 0)
        for each, count in lines.items():
            if each not in self._growing:
                parts = _Parts(*(line.start for line in each))
                self._still[bound_of(parts, launch)] += (max(parts) + launch) * count
        self._operators = sum(lines.values())

    def at(self, context: int) -> StageTime:
        """One step with `context` tokens before it."""
        return self.total(context, 1)

    def total(self, context: int, steps: int) -> StageTime:
        """`steps` steps, the first with `context` tokens before it, each with one more than the last."""
        ticks = {bound: still * steps for bound, still in self._still.items()}
        for each, count in self._growing.items():
            for start, stop in self._stretches(each, context, context + steps):
                parts = _Parts(*(line.at(start) for line in each))
                longest = each[parts.index(max(parts))]
                series = (longest.at(start) + longest.at(stop - 1)) * (stop - start)  # twice the sum
                assert series % 2 == 0
                ticks[bound_of(parts, self._launch)] += count * (series // 2 + self._launch * (stop - start))
        return StageTime(
            ticks_per_s=self.ticks_per_s,
            compute_ticks=ticks[COMPUTE],
            memory_ticks=ticks[MEMORY],
            launch_ticks=ticks[LAUNCH],
            operators=self._operators * steps,
        )

    def _stretches(self, each: _Lines, start: int, stop: int) -> list[tuple[int, int]]:
        """The contexts from start to stop, cut wherever two lines cross: their order is the same all over a stretch."""
        lines = (*each, _Line(self._launch, 0))
        cuts = {start, stop}
        for number, one in enumerate(lines):
            for other in lines[number + 1 :]:
                if one.slope != other.slope:
                    before, remainder = divmod(one.start - other.start, other.slope - one.slope)
                    # equal at `before` itself if nothing remains: that context is a stretch of its own
                    cuts |= {before + 1} if remainder else {before, before + 1}
        inside = sorted(cut for cut in cuts if start <= cut <= stop)
        return list(pairwise(inside))


def bound_of(parts: tuple[int, int, int], launch: int) -> str:
    """What bounds an operator of these matmul, vector and memory ticks and this launch overhead."""
    if launch > max(parts):
        return LAUNCH
    return COMPUTE if max(parts[0], parts[1]) >= parts[2] else MEMORY
