"""Traffic and peaks over sizes, types and kernels: reports/verification/bytes.md, and a part of its rows measured."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from modelmeter.models.deepseek_ocr.reference import byte_rows
from modelmeter.models.deepseek_ocr.reference.byte_rows import RowGroup, groups, rows
from modelmeter.models.deepseek_ocr.scripts.verify import write_bytes_report
from modelmeter.reference.comparison import Compared

REPORT = Path(__file__).parents[4] / write_bytes_report.REPORT


#: how many of the sizes of a kind one group measures here
MEASURED = {"SIDES": 1, "VIEWS": 2, "PROMPTS": 1}


def some(name: str, index: int) -> list[int]:
    """Some of the sizes of a kind, others for each group."""
    values: Sequence[int] = getattr(byte_rows, name)
    return [values[(index + more) % len(values)] for more in range(MEASURED[name])]


def test_the_groups_together_measure_every_size() -> None:
    for stage, names in (("vision", ("SIDES", "VIEWS")), ("text", ("PROMPTS",))):
        for name in names:
            chosen = [
                size for index, group in enumerate(groups()) if group.stage == stage for size in some(name, index)
            ]
            assert set(chosen) == set(getattr(byte_rows, name))


@pytest.mark.parametrize("index, group", list(enumerate(groups())), ids=["-".join(group) for group in groups()])
def test_rows_measured_anew_agree_and_stand_in_the_report(
    index: int, group: RowGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make bytes` measures all rows, and fails where one does not agree."""
    chosen = {name: some(name, index) for name in MEASURED}
    for name, sizes in chosen.items():
        monkeypatch.setattr(byte_rows, name, sizes)
    lines = REPORT.read_text().splitlines()
    found = list(rows(group))
    assert len(found) == (2 * 3 if group.stage == "vision" else 3)
    for row in found:
        assert row.agrees, row
        assert row.io.measured > 0 and row.peak.measured > 0 and row.operators[1]
        assert row.line() in lines


def test_the_report_holds_every_group_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for line in REPORT.read_text().splitlines() if line.startswith("| ")][1:]
    expected = sum(84 if group.stage == "vision" else 15 for group in groups())
    assert len(lines) == len(set(lines)) == expected
    assert f"{expected} rows, 0 with a difference." in REPORT.read_text()


def test_a_difference_is_shown_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = RowGroup("transformers", "bfloat16", "flash", "text")
    monkeypatch.setattr(byte_rows, "PROMPTS", (100,))
    right = list(rows(group))
    wrong = byte_rows.ByteRow(
        group=group,
        part="decoder_prefill",
        size="100",
        io=right[0].io,
        peak=Compared(right[0].peak.analytic + 1, right[0].peak.measured),
        resident=right[0].resident,
        operators=("aten.add.Tensor", "aten.mm.default"),
    )
    monkeypatch.setattr(write_bytes_report, "groups", lambda: [group])
    monkeypatch.setattr(write_bytes_report, "rows", lambda _group: [*right, wrong])
    target = tmp_path / "bytes.md"
    assert write_bytes_report.main([str(target)]) == 1
    assert "4 rows, 1 with a difference." in target.read_text()
    assert wrong.line() in target.read_text()
    assert "| aten.add.Tensor / aten.mm.default |" in capsys.readouterr().err


def test_an_analytic_model_that_is_wrong_makes_rows_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelmeter.layers.decoder import mlp
    from modelmeter.operators import clone, silu

    monkeypatch.setattr(byte_rows, "PROMPTS", (100,))
    monkeypatch.setattr(mlp, "silu", lambda x: clone(silu(x)))
    differing = [row.part for row in rows(RowGroup("transformers", "bfloat16", "flash", "text")) if not row.agrees]
    assert differing == ["decoder_prefill", "decode_step"]
