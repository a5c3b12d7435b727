"""One count by one tool in this process, as JSON: what `compare_tools` starts once for every cell of its table.

    python -m benchmarks.counters TOOL WORKLOAD RESULT_FILE

Each tool is called as its own documentation says; `CALLS` quotes it. FLOPs are converted to multiply-add = 2. What
fails on the meta device is tried once more with real tensors on the CPU, and the result says which.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.workloads import WORKLOADS, Workload

if TYPE_CHECKING:
    from torch import Tensor, nn

#: this library's row; and the reference, which has none
OURS: Final = "modelmeter"
REFERENCE: Final = "reference"


@dataclass(frozen=True, kw_only=True)
class Count:
    """What a tool says of one pass.

    flops: multiply-add = 2. extras: FLOPs among them that the tool itself says are of something else than GEMMs.
    left_out: operators that it says it did not count, with how often they ran.
    """

    flops: int
    extras: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


def count_torch(module: nn.Module, tensor: Tensor) -> Count:
    """PyTorch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        module(tensor)
    return Count(flops=counter.get_total_flops())


def count_torchinfo(module: nn.Module, tensor: Tensor) -> Count:
    """Multiply-adds of torchinfo's summary, twice."""
    import torchinfo

    summary = torchinfo.summary(module, input_data=tensor, device=tensor.device, verbose=0)
    return Count(flops=2 * summary.total_mult_adds)


def count_fvcore(module: nn.Module, tensor: Tensor) -> Count:
    """fvcore's flops, twice: it calls a multiply-add one. A norm's are told apart by its own breakdown."""
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(module, tensor)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    norms = {name: 2 * int(count) for name, count in analysis.by_operator().items() if name.endswith("_norm") and count}
    unsupported = {str(name): int(times) for name, times in analysis.unsupported_ops().items()}
    return Count(flops=int(2 * analysis.total()), extras=norms, left_out=unsupported)


def count_calflops(module: nn.Module, tensor: Tensor) -> Count:
    """Multiply-adds of calflops, twice; its "FLOPs" add the elementwise work that it knows."""
    from calflops import calculate_flops

    _, multiply_adds, _ = calculate_flops(module, args=[tensor], print_results=False, output_as_string=False)
    return Count(flops=2 * int(multiply_adds))


def count_ptflops(module: nn.Module, tensor: Tensor) -> Count:
    """Multiply-adds of ptflops, twice; its verbose output lists what it does not count."""
    import inspect

    from ptflops import get_model_complexity_info

    (name, *_) = inspect.signature(module.forward).parameters
    output = StringIO()
    with redirect_stdout(output):
        multiply_adds, _ = get_model_complexity_info(
            module,
            tuple(tensor.shape[1:]),
            input_constructor=lambda _: {name: tensor},
            as_strings=False,
            print_per_layer_stat=False,
            backend="aten",
            verbose=True,
            ost=output,
        )
    if multiply_adds is None:
        raise RuntimeError(output.getvalue().strip().splitlines()[-1])
    warnings = [line.split() for line in output.getvalue().splitlines() if line.endswith("treated as a zero-op")]
    return Count(flops=2 * int(multiply_adds), left_out=Counter(words[1] for words in warnings))


COUNTERS: Final[Mapping[str, Callable[[nn.Module, Tensor], Count]]] = {
    "torch": count_torch,
    "torchinfo": count_torchinfo,
    "fvcore": count_fvcore,
    "calflops": count_calflops,
    "ptflops": count_ptflops,
}

CALLS: Final[Mapping[str, str]] = {
    OURS: "the layers' `forward_tensor_core_flops()` for vision; `load_cost_model(['runtime.head=none']).text(913, 1)`",
    "torch": "`with FlopCounterMode(display=False) as counter: module(x)`; `counter.get_total_flops()`",
    "torchinfo": "`2 * summary(module, input_data=x, verbose=0).total_mult_adds`",
    "fvcore": "`2 * FlopCountAnalysis(module, x).total()`: its documentation counts a multiply-add as one",
    "calflops": "`2 * macs` of `calculate_flops(module, args=[x], output_as_string=False)`",
    "ptflops": "`2 * macs` of `get_model_complexity_info(…, backend='aten', verbose=True)`, the backend that it "
    "recommends for transformers",
}
"""How each tool was called, as its documentation says."""


def exact_parts(module: nn.Module, tensor: Tensor) -> dict[str, int]:
    """FLOPs of the measured pass by what does them, and, apart from these, of the additions of biases."""
    from torch import nn

    from modelmeter.reference.measurement import measure

    biases = 0

    def note_bias(layer: nn.Module, _given: object, output: Tensor) -> None:
        nonlocal biases
        biases += 2 * output.numel() if layer.bias is not None else 0

    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(note_bias)
    measured = measure({"": module}, lambda: module(tensor))
    parts: Counter[str] = Counter()
    for each in measured.operator_flops:
        parts[part_of(each.operator, each.path)] += each.flops
    assert parts.total() == measured.flops
    return {**parts, BIASES: biases}


BIASES: Final = "additions of biases"


def part_of(operator: str, path: str) -> str:
    """What an operator with multiply-adds is, in the words of the table."""
    if "scaled_dot_product" in operator:
        return next((f"{name} attention" for part, name in TOWERS.items() if part in path), "attention")
    return PARTS[operator.split(".")[1]]


TOWERS: Final = {"sam_encoder": "SAM", "vision_encoder": "CLIP"}

PARTS: Final = {
    "addmm": "linear layers",
    "mm": "linear layers",
    "bmm": "relative positions",
    "convolution": "convolutions",
    "_grouped_mm": "grouped experts",
}


def counted(tool: str, workload: Workload) -> dict[str, Any]:
    """The result of one tool on one pass: its count, or its error; seconds of the count alone; where it ran."""
    if tool == OURS:
        return timed(lambda: Count(flops=workload.analytic())) | {"ran_on": "shapes"}
    import torch

    torch.set_grad_enabled(False)
    module, tensor = workload.build()
    try:
        return timed(partial(COUNTERS[tool], module, tensor)) | {"ran_on": "meta"}
    except Exception as error:  # whatever a tool raises is its row's text
        failure = told(error)
    module.to_empty(device="cpu")
    for weight in (*module.parameters(), *module.buffers()):
        weight.zero_()
    given = torch.zeros(tensor.shape, dtype=tensor.dtype)
    try:
        return timed(partial(COUNTERS[tool], module, given)) | {"ran_on": "real tensors", "meta_error": failure}
    except Exception as error:
        return {"error": told(error), "meta_error": failure}


def timed(count: Callable[[], Count]) -> dict[str, Any]:
    """A count as a dictionary, and the seconds that it took."""
    start = time.perf_counter()
    result = count()
    return {**vars(result), "count_seconds": time.perf_counter() - start}


def told(error: Exception) -> str:
    """The first line of an error, and its type."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def peak_bytes() -> int:
    """Largest resident memory of this process so far (Linux): not `getrusage`, which inherits the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of installed distributions, without a build's suffix."""
    return {name: version(name).partition("+")[0] for name in names}


def main(tool: str, name: str, file: str) -> None:
    """Write one result."""
    workload = WORKLOADS[name]
    if tool == REFERENCE:
        module, tensor = workload.build()
        result: dict[str, Any] = {"parts": exact_parts(module, tensor)}
        result["versions"] = versions(("torch", "transformers"))
    else:
        result = counted(tool, workload) | {"versions": versions([tool])}
    Path(file).write_text(json.dumps(result | {"peak_bytes": peak_bytes()}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
