"""The benchmarks' report is what its JSON files say, and the plot comes out the same."""

import json
from pathlib import Path

from benchmarks import speed
from benchmarks.growth import draw
from benchmarks.summary import FOLDER, duration, write_summary

GROWTH = json.loads((FOLDER / "growth.json").read_text(encoding="utf-8"))
SPEED = json.loads((FOLDER / "speed.json").read_text(encoding="utf-8"))


def test_the_committed_report_is_of_the_committed_measurements(tmp_path: Path) -> None:
    for name in ("speed.json", "growth.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    write_summary(tmp_path)
    assert (tmp_path / "README.md").read_bytes() == (FOLDER / "README.md").read_bytes()


def test_a_part_that_was_not_measured_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "growth.json").write_bytes((FOLDER / "growth.json").read_bytes())
    write_summary(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "## Growth" in text
    assert "## Ratios" not in text


def test_every_measurement_is_shown_or_says_why_not() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert len(SPEED["ratios"]) + len(SPEED["skipped"]) == len(speed.MEASUREMENTS)
    assert all(each["rounds"] >= 20 for each in SPEED["ratios"])
    for each in SPEED["ratios"]:
        assert f"| {each['name']} |" in text
    for name, reason in SPEED["skipped"].items():
        assert f"- skipped, {name}: {reason}\n" in text


def test_the_plot_comes_out_the_same_byte_for_byte() -> None:
    drawn = draw(GROWTH)
    assert drawn == draw(GROWTH)
    assert {"growth.svg", "growth.png"} == drawn.keys() == {file.name for file in FOLDER.glob("growth.*g")}
    assert b"dc:date" not in drawn["growth.svg"]


def test_durations_in_the_unit_that_suits_them() -> None:
    assert [duration(seconds) for seconds in (12.0, 1.0, 0.0123, 4.5e-5, 2e-7)] == [
        "12 s",
        "1 s",
        "12.3 ms",
        "45 µs",
        "0.2 µs",
    ]
