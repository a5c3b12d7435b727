"""The cost model against every measurement that is stored: arithmetic alone, no torch."""

from pathlib import Path

import pytest

from modelmeter.operators import FLOPS_PER_ELEMENT
from modelmeter.reference import comparison
from tests.measured import program, report, stored
from tests.measured.account import differences
from tests.measured.cases import CASES, MODELS, Case
from tests.measured.inputs import code_of, digest, stale
from tests.measured.stored import Measured, parse, text

MEASURED = {model: stored.load(model) for model in MODELS}


def wrong(case: Case, measured: Measured | None) -> list[str]:
    """What is wrong with a measurement, or with the cost model beside it."""
    if measured is None:
        return ["not measured: run make measured"]
    if why := stale(measured.inputs, case.model):
        return [f"stale: {why}; run make measured"]
    return list(differences(case, dict(measured.stages)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model} {case.name}")
def test_the_cost_model_says_what_was_measured(case: Case) -> None:
    assert wrong(case, MEASURED[case.model].get(case.name)) == []


@pytest.mark.parametrize("model", MODELS)
def test_a_file_holds_the_cases_that_are_listed(model: str) -> None:
    assert list(MEASURED[model]) == [case.name for case in CASES if case.model == model]
    assert stored.file_of(model).read_text(encoding="utf-8") == stored.text(MEASURED[model])


def test_the_report_is_of_these_measurements() -> None:
    """And of no difference: each case is held against the cost model above."""
    text = report.report_text(MEASURED, differ=lambda *_: ())
    assert report.REPORT.read_text(encoding="utf-8") == text
    one_more = report.report_text(MEASURED, differ=lambda case, _: ["x"] if case is CASES[0] else ())
    assert one_more != text


def test_a_wrong_figure_and_a_wrong_account_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in CASES if case.text_alone)
    measured = MEASURED[case.model][case.name]
    stages = {name: dict(stage) for name, stage in measured.stages.items()}
    stages["prefill"]["io_kv_bytes"] += 1
    stages["prefill"]["elements"] = {**stages["prefill"]["elements"], "aten.silu.default": 1}
    del stages["step 0"]
    lines = wrong(case, measured._replace(stages=stages))
    kv_bytes = measured.stages["prefill"]["io_kv_bytes"]
    assert lines[0].startswith("stages ['prefill', 'step 0', ")
    assert f"prefill: io_kv_bytes: {kv_bytes}, measured {kv_bytes + 1}" in lines
    assert "prefill: elements of aten.silu.default: " in "".join(lines)
    figures = [line.split(": ")[1] for line in lines[1:]]
    assert figures == ["io_kv_bytes", "cuda_core_flops", "elements of aten.silu.default"]
    monkeypatch.setattr(comparison, "FLOPS_PER_ELEMENT", {**FLOPS_PER_ELEMENT, "silu": 5})
    assert all("cuda_core_flops" in line for line in wrong(case, measured))


def test_a_stale_measurement_is_told() -> None:
    case = CASES[0]
    measured = MEASURED[case.model][case.name]
    assert wrong(case, None) == ["not measured: run make measured"]
    older = measured._replace(inputs={**measured.inputs, "transformers": "4.0"})
    (line,) = wrong(case, older)
    now = measured.inputs["transformers"]
    assert line == f"stale: transformers was 4.0, is {now}; run make measured"
    assert wrong(case, measured._replace(inputs={}))[0].startswith("stale: torch was None")


def test_code_counts_and_words_do_not(tmp_path: Path) -> None:
    texts = {
        "plain": "def f(x):\n    return x + 1\n",
        "words": '"""A file."""\n\n\ndef f(x):  # adds\n    """One more."""\n    return (x + 1)\n',
        "other": "def f(x):\n    return x + 2\n",
        "none": "def f(x):\n    return None\n",
        "empty": "def f(x):\n    return []\n",
    }
    for name, code in texts.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    digests = {name: digest([tmp_path / name]) for name in texts}
    assert digests["plain"] == digests["words"]
    assert len(set(digests.values())) == 4


@pytest.mark.parametrize("model", MODELS)
def test_the_code_that_a_measurement_depends_on(model: str) -> None:
    names = ["/".join(file.parts[-3:]) for file in code_of(model)]
    for name in ("modelmeter/reference/memory.py", "tests/measured/measuring.py"):
        assert name in names
    assert any("/reference/" in name and "modelmeter" not in name for name in names)
    assert any(name.startswith("models/") and "/modeling_" in name for name in names)


def test_large_numbers_are_text() -> None:
    large = 2**53 + 1
    content = text({"a case": Measured({"torch": "1"}, {"vision": {"io_bytes": str(large)}})})
    assert f'"io_bytes": "{large}"' in content
    assert parse(content)["a case"].stages == {"vision": {"io_bytes": str(large)}}


def test_what_a_commit_has_changed_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, stages = CASES[1], dict(MEASURED[CASES[1].model][CASES[1].name].stages)
    earlier = {model: dict(measured) for model, measured in MEASURED.items()}
    del earlier[changed.model][changed.name]
    monkeypatch.setattr(program, "before", earlier.__getitem__)
    monkeypatch.setattr(program, "measure_all", lambda cases: [(case, stages) for case in cases])
    assert program.changed_models() == 0
    assert capsys.readouterr().out == f"1 of {len(CASES)} cases measured again, 0 differ\n"
    stages["vision"] = {**stages["vision"], "io_bytes": 1}
    assert program.changed_models() == 1
    told = f"{changed.model} {changed.name}: measured otherwise than it is stored; run make measured\n"
    assert capsys.readouterr().out.startswith(told)
