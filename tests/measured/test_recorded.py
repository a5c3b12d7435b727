"""The series of measurements: whole, as they are written, refused where they are stale; every layer is held to them."""

import pytest

from modelmeter.layers.decoder import mlp
from modelmeter.operators import clone, silu
from modelmeter.programs.verify.layers import walk_layer
from tests.measured import program, recorded
from tests.measured.inputs import parsed, reached
from tests.measured.recorded import SERIES, Recorded
from tests.measured.series import layers

#: lines by model, execution and class
BY_CLASS: dict[str, list[str]] = {}
for _key in layers.CASES:
    BY_CLASS.setdefault(" ".join(_key.split()[:3]), []).append(_key)


@pytest.mark.parametrize("cases", BY_CLASS.values(), ids=BY_CLASS)
def test_every_layer_does_what_its_module_was_measured_to_do(cases: list[str]) -> None:
    wrong = [key for key in cases if walked(key) != recorded.recorded("layers", key)]
    assert wrong == [], "modelmeter verify layers says what differs"


def walked(key: str) -> object:
    """A line's walk, as a measurement is stored."""
    case = layers.CASES[key]
    return layers.shown(case, walk_layer(case))


@pytest.mark.parametrize("name", SERIES)
def test_a_file_holds_the_cases_that_are_listed(name: str) -> None:
    assert list(recorded.known(name).measured) == list(recorded.cases_of(name))
    assert recorded.file_of(name).read_text(encoding="utf-8") == recorded.text(recorded.load(name))


def test_a_wrong_layer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    key = next(key for key in layers.CASES if key.startswith("deepseek_ocr transformers GatedMLP"))
    monkeypatch.setattr(mlp, "silu", lambda x: clone(silu(x)))
    case = dict(layers.lines())[key]  # with a layer that nobody has walked
    assert layers.shown(case, walk_layer(case)) != recorded.recorded("layers", key)


def test_what_is_stale_or_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = recorded.known("decoder").inputs
    with pytest.raises(AssertionError, match="decoder: 1 x 2 is not measured; run make measured ARGS=decoder"):
        recorded.recorded("decoder", "1 x 2")
    monkeypatch.setattr(recorded, "load", lambda _: Recorded({**inputs, "torch": "1.0"}, {}))
    recorded.known.cache_clear()
    try:
        with pytest.raises(
            AssertionError, match=r"stale: decoder: torch was 1.0, is .*; run make measured ARGS=decoder"
        ):
            recorded.recorded("decoder", "1 x 2")
    finally:
        recorded.known.cache_clear()


@pytest.mark.parametrize("name", SERIES)
def test_the_code_that_a_series_depends_on(name: str) -> None:
    file = recorded.FOLDER / f"{name}.py"
    names = ["/".join(each.parts[-3:]) for each in reached(parsed(file).body, {file})]
    assert {f"measured/series/{name}.py", "modelmeter/reference/flops.py"} <= set(names)
    assert any("/modeling_" in each or "replica" in each for each in names)


def test_what_a_commit_has_changed_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {name: recorded.load(name) for name in SERIES}
    changed, measured = next(iter(kept["decoder"].measured.items()))
    earlier = {**kept, "decoder": kept["decoder"]._replace(measured={**kept["decoder"].measured, changed: {}})}
    monkeypatch.setattr(program, "recorded_before", earlier.__getitem__)
    monkeypatch.setattr(program, "measure_parts", lambda parts: [(*each, measured) for each in parts])
    assert program.changed_series() == 0
    assert capsys.readouterr().out == "1 cases of series measured again, 0 differ\n"
    measured = {**measured, "flops": 1}
    assert program.changed_series() == 1
    assert capsys.readouterr().out.startswith(
        f"decoder {changed}: measured otherwise than it is stored; run make measured"
    )
