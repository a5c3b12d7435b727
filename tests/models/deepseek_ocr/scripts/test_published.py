"""reports/published.md: written by its program, sources named, ratios that the reader can redo."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.scripts.published.measurements import NOT_USED, RUNS
from modelmeter.models.deepseek_ocr.scripts.published.write_published import (
    FILE,
    predicted,
    value_and_reached,
    write_published,
)

ROOT = Path(__file__).parents[4]
PROGRAM = "modelmeter.models.deepseek_ocr.scripts.published.write_published"


def test_regenerated_to_the_byte(tmp_path: Path) -> None:
    write_published([str(tmp_path / "out.md")])
    assert (tmp_path / "out.md").read_bytes() == (ROOT / FILE).read_bytes()


def test_the_command(tmp_path: Path) -> None:
    code = f"import runpy, sys; sys.argv[1:] = ['a', 'b']; runpy.run_module('{PROGRAM}', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert (
        done.stderr == "error: write_published: 'a b' is no output file; give one, or none for reports/published.md.\n"
    )


def test_every_figure_has_its_source_and_stands_in_the_report() -> None:
    text = (ROOT / FILE).read_text(encoding="utf-8")
    for run in RUNS:
        assert run.source and run.url.startswith("https://") and run.stated
        assert run.url in text
        assert all(figure.where in text for figure in run.figures)
    assert all(each.source and each.reason and each.figure in text for each in NOT_USED)


def test_the_ratios_of_the_report() -> None:
    rows = re.findall(
        r"^\| [^|]+ \| (?:transformers|serving) \| \d+ \| ([\d,.]+) (tokens/s|pages/day) \| (\d+)% \|",
        (ROOT / FILE).read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    published = {"pages/day": 200_000}
    pages = [(value, share) for value, unit, share in rows if unit == "pages/day"]
    assert len(pages) >= 9
    for value, share in pages:
        assert abs(int(share) - 100 * published["pages/day"] / float(value.replace(",", ""))) <= 0.51


def test_an_engines_measurement_stands_beside_the_execution_of_engines_and_below_it() -> None:
    for run in RUNS:
        assert run.executions == (("transformers", "serving") if run.software == "not stated" else ("serving",))
        for case in run.cases:
            result = predicted(case, run.device, "serving")
            assert all(value_and_reached(figure, result)[1] < 1 for figure in run.figures)


def test_a_rate_is_reached_and_a_time_is_undercut() -> None:
    run = RUNS[2]
    result = predicted(run.cases[0], run.device, "serving")
    for figure in run.figures:
        value, reached = value_and_reached(figure, result)
        assert reached < 1
        assert reached == (value / figure.value if figure.unit == "ms" else figure.value / value)
    # the published rate is that of the published times: 278.4 tokens, the first of them after the prefill
    rate, tpot, ttft = (figure.value for figure in run.figures)
    tokens = Fraction(2784, 10)
    assert tokens / ((ttft + (tokens - 1) * tpot) / 1000) == pytest.approx(float(rate), rel=0.06)


def test_bad_arguments(tmp_path: Path) -> None:
    for arguments in (["a", "b"], ["--out", "a"], ["-h"]):
        with pytest.raises(ModelMeterError, match=f"'{' '.join(arguments)}' is no output file; give one, or none for"):
            write_published(arguments)
    (tmp_path / "file").touch()
    with pytest.raises(ModelMeterError, match="cannot be written"):
        write_published([str(tmp_path / "file" / "out.md")])
