"""How long a call takes on a machine: warmed up, synchronised, several times over.

A time is that of one call among others like it, back to back, between two synchronisations: on a device that runs
behind the host it is the longer of the host's and the device's, as in a real pass.

    >>> times = time_call(lambda: left @ right, "cuda")
    >>> times.median_s, times.spread
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from statistics import median
from time import perf_counter

import torch

from modelmeter.errors import ModelMeterError, near

#: devices that are measured
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class CallTimes:
    """Seconds of one call, once for each repetition. calls: calls that each repetition is the mean of."""

    seconds: tuple[float, ...]
    calls: int

    @property
    def median_s(self) -> float:
        """The median, seconds."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """The longest less the shortest, as a share of the median: how quiet the machine was."""
        return (max(self.seconds) - min(self.seconds)) / self.median_s


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a time was taken on. memory_bytes: the device's whole memory. threads: of the host, that operators use.

    multiprocessors, l2_bytes: of a GPU, as it reports them; None of a CPU.
    """

    device: str
    name: str
    memory_bytes: int
    threads: int
    versions: dict[str, str]
    multiprocessors: int | None = None
    l2_bytes: int | None = None


def use_threads(threads: int | None) -> None:
    """Let PyTorch's operators on the CPU use so many threads; None: as many as it chose."""
    if threads is not None:
        torch.set_num_threads(threads)


def check_device(device: str) -> None:
    """Raise `ModelMeterError` unless PyTorch can run on "cpu" or "cuda" here, whichever is asked for."""
    if device not in DEVICES:
        raise ModelMeterError(f"device {device} cannot be measured; {near(device, DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelMeterError(
            f"device cuda: PyTorch {torch.__version__} finds no CUDA device here; install a CUDA build of PyTorch on a "
            "machine that has one, or measure --device cpu."
        )


def machine(device: str) -> Machine:
    """The machine at hand, as PyTorch sees it."""
    import os

    check_device(device)
    versions = {name: _version(name) for name in ("modelmeter", "torch", "transformers")}
    versions["python"] = platform.python_version()
    processors: int | None = None
    l2_bytes: int | None = None
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        processors, l2_bytes = properties.multi_processor_count, int(properties.L2_cache_size)
        versions["cuda"] = str(torch.version.cuda)
        name, memory_bytes = properties.name, properties.total_memory
    else:
        name = _processor()
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        device=device,
        name=name,
        memory_bytes=memory_bytes,
        threads=torch.get_num_threads(),
        versions=versions,
        multiprocessors=processors,
        l2_bytes=l2_bytes,
    )


def _version(name: str) -> str:
    """A package's version, in words where it is on the path and was not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's name: Linux keeps it in a file, other systems tell Python."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def time_call(
    call: Callable[[], object], device: str, *, repeats: int = 5, warmup: int = 2, least_s: float = 0.02
) -> CallTimes:
    """The times of `call`, without gradients.

    warmup: calls before the first that counts, at least one. least_s: a repetition makes as many calls as fill this
    time, so that the clock's own cost does not show.
    """
    with torch.no_grad():
        warm = [_seconds(call, device, 1) for _ in range(warmup)]
        calls = max(1, ceil(least_s / max(warm[-1], 1e-9)))
        return CallTimes(seconds=tuple(_seconds(call, device, calls) / calls for _ in range(repeats)), calls=calls)


def _seconds(call: Callable[[], object], device: str, calls: int) -> float:
    _synchronise(device)
    start = perf_counter()
    for _ in range(calls):
        call()
    _synchronise(device)
    return perf_counter() - start


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
