"""Stages measured on two cards beside what is predicted of them."""

from pathlib import Path

import pytest

from benchmarks.timing.ours import OURS
from benchmarks.timing.stages import Stage, main, report, stages

COMMITTED = Path("reports/timing/stages.md")


@pytest.fixture(scope="module")
def cards() -> dict[str, list[Stage]]:
    return {name: stages(name) for name in OURS}


def test_the_report_is_what_the_constants_say_today(cards: dict[str, list[Stage]]) -> None:
    assert COMMITTED.read_text(encoding="utf-8") == report(cards), (
        "written with other constants; python -m benchmarks.timing.stages reports/timing/stages.md writes it anew"
    )


def test_every_stage_is_near_and_nearly_all_are_held(cards: dict[str, list[Stage]]) -> None:
    every = [stage for each in cards.values() for stage in each]
    assert all(0.8 < stage.ratio < 1.25 for stage in every)
    assert sum(stage.held for stage in every) >= 0.8 * len(every)


def test_a_stage_that_takes_twice_as_long_is_not_held(cards: dict[str, list[Stage]]) -> None:
    stage = cards["H100-SXM"][0]._replace(graph_ms=None, device_ms=2 * cards["H100-SXM"][0].measured_ms)
    assert not stage.held


def test_the_program_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "python -m benchmarks.timing.stages" in capsys.readouterr().out
