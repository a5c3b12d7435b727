"""Traffic and peaks over sizes, types and kernels: reports/verification/bytes.md, all walked, a part measured."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelmeter.models.deepseek_ocr.reference import byte_rows
from modelmeter.models.deepseek_ocr.reference.byte_rows import ByteRow, RowGroup, groups, rows, walks
from modelmeter.models.deepseek_ocr.scripts.verify import write_bytes_report
from modelmeter.reference.comparison import Compared

REPORT = Path(__file__).parents[4] / write_bytes_report.REPORT


LINES = set(REPORT.read_text(encoding="utf-8").splitlines())
GROUPS = dict(zip(("-".join(group) for group in groups()), groups(), strict=True))
#: the day's, as of the other measurements: tests/measured/test_measured_again.py
MEASURED = dict(list(GROUPS.items())[int(os.environ["MEASURED_PART"]) % 10 :: 10])


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_every_row_of_the_report_is_what_we_walk(group: RowGroup) -> None:
    """What was measured beside it is the same: the report has no difference."""
    for part, size, walk, given_bytes in walks(group):
        figures = (walk.bytes_read + walk.bytes_written, walk.peak_bytes, given_bytes + walk.resident_peak_bytes)
        io, peak, resident = (Compared(each, each) for each in figures)
        operators = (walk.peak_operator, walk.peak_operator)
        row = ByteRow(group=group, part=part, size=size, io=io, peak=peak, resident=resident, operators=operators)
        assert row.line() in LINES


@pytest.mark.parametrize("group", MEASURED.values(), ids=MEASURED)
def test_rows_measured_anew_agree_and_stand_in_the_report(group: RowGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """One size of each kind, another for each group; `make bytes` measures all, and fails where one differs."""
    number = groups().index(group)
    for name in ("SIDES", "VIEWS", "PROMPTS"):
        values: Sequence[int] = getattr(byte_rows, name)
        monkeypatch.setattr(byte_rows, name, [values[number % len(values)]])
    found = list(rows(group))
    assert len(found) == 3
    for row in found:
        assert row.agrees, row
        assert row.io.measured > 0 and row.peak.measured > 0 and row.operators[1]
        assert row.line() in LINES


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
