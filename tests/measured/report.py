"""reports/verification/models.md: what of each model was measured on its real modules, and how the cost model compares.

`make measured` writes it, with the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.measured import stored
from tests.measured.account import Stage, differences
from tests.measured.cases import CASES, MODELS, Case
from tests.measured.inputs import LIBRARIES
from tests.measured.stored import Measured

REPORT: Final = Path(__file__).parents[2] / "reports/verification/models.md"
INTRODUCTION: Final = """# Models: the cost model beside transformers' modules

Whole stages of the real modules on the meta device, and the cost model's figures of the same pages. Each stage compares
tensor-core and vector FLOPs, traffic (weights, activations, KV cache, all), activation and resident peak with
the operator and the module that it is at, weights, the cache held and added, elements by operator, and every operator
in order with its module and bytes. `execution` is transformers where it is not named. A small model is one of few
layers or of other sizes, as its overrides say (`tests/measured/cases.py`).
"""


#: differences of a case's cost model from its measured stages
Differences = Callable[[Case, Mapping[str, Stage]], Iterable[str]]


def report_text(measurements: Mapping[str, Mapping[str, Measured]], differ: Differences = differences) -> str:
    """The report of what is stored, held against the cost model of today."""
    return "\n".join((INTRODUCTION, *_models(measurements, differ), *_published(measurements)))


def _models(measurements: Mapping[str, Mapping[str, Measured]], differ: Differences) -> Iterator[str]:
    yield "| model | cases | page sizes | types | attention | pages at once | stages | differences |"
    yield "|---|---:|---:|---|---|---|---:|---:|"
    for model in MODELS:
        cases = [case for case in CASES if case.model == model]
        stages = sum(len(measurements[model][case.name].stages) for case in cases)
        wrong = sum(len(list(differ(case, measurements[model][case.name].stages))) for case in cases)
        pages = {case.size or case.layout for case in cases if not case.text_alone}
        kinds = (_values(cases, key, usual) for key, usual in (("dtype", "bfloat16"), ("attention", "flash")))
        row = (f"`{model}`", len(cases), len(pages), *kinds, _values(cases, "batch_size", "1"), stages, wrong)
        yield f"| {' | '.join(map(str, row))} |"
    versions = {
        tuple(each.inputs[name] for name in LIBRARIES) for model in MODELS for each in measurements[model].values()
    }
    words = "; ".join(
        " and ".join(f"{name} {each}" for name, each in zip(LIBRARIES, pair, strict=True)) for pair in sorted(versions)
    )
    yield f"\nMeasured with {words}.\n"


def _values(cases: Sequence[Case], key: str, usual: str) -> str:
    """What the cases have for a key of `runtime`."""
    return ", ".join(sorted({_value(case, key, usual) for case in cases}))


def _value(case: Case, key: str, usual: str) -> str:
    given = [each.partition("=")[2] for each in case.overrides if each.startswith(f"runtime.{key}=")]
    return given[-1] if given else usual


def _published(measurements: Mapping[str, Mapping[str, Measured]]) -> Iterator[str]:
    """The measured figures of the largest case of each model: that with most FLOPs in a prefill."""
    yield "The case of each model with the longest pass, as measured:\n"
    yield "| model | case | stage | tensor-core FLOPs | bytes moved | activation peak, bytes | at | KV cache, bytes |"
    yield "|---|---|---|---:|---:|---:|---|---:|"
    for model in MODELS:
        name, largest = max(
            measurements[model].items(), key=lambda item: int(item[1].stages["prefill"]["tensor_core_flops"])
        )
        for stage, figures in largest.stages.items():
            numbers = (f"{int(figures[key]):,}" for key in ("tensor_core_flops", "io_bytes", "activation_peak_bytes"))
            place = f"`{figures['peak_path'] or '.'}` `{figures['peak_operator']}`"
            row = (f"`{model}`", name, stage, *numbers, place, f"{int(figures['kv_bytes']):,}")
            yield f"| {' | '.join(row)} |"
    yield ""


def write() -> None:
    """Write the report of what is stored."""
    REPORT.write_text(report_text({model: stored.load(model) for model in MODELS}), encoding="utf-8")
